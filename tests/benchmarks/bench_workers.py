"""``build(workers=2)`` beside ``build(workers=1)``: what processes cost where tasks are trivial, and gain where they are not.

2,001 trivial tasks are 20 layers of a hundred, each of which loads two of the layer before, and a root. The 16 other tasks
sleep, so that the gain does not depend on how many processors are free.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

TRIVIAL_AT_MOST_TIMES_AS_LONG = 1.3
NAPS_AT_LEAST_TIMES_FASTER = 1.7
ROUNDS = 5
GRAPHS = {"layers": "2,001 trivial tasks", "naps": "16 tasks of 0.25 s"}


def main() -> int:
    """Measure, print, and return the exit code."""
    cases = {(graph, workers): partial(run_case, "workers.py", graph, workers) for graph in GRAPHS for workers in (1, 2)}
    runs = alternate({f"{graph} {workers}": case for (graph, workers), case in cases.items()}, ROUNDS)
    rows, ratios = [], {}
    for graph, label in GRAPHS.items():
        one, two = runs[f"{graph} 1"], runs[f"{graph} 2"]
        if len({run["result"] for run in (*one, *two)}) != 1:
            raise SystemExit(f"not comparable: {label} gave different results")
        for fact, unit in {"seconds": "s", "cpu_seconds": "CPU s of all processes"}.items():
            numbers = [median_of(one, fact), median_of(two, fact)]
            rows.append([f"{label}, {unit}", *numbers, numbers[1] / numbers[0]])
        ratios[graph] = median_of(two) / median_of(one)
    print_table(["", "workers=1", "workers=2", "ratio"], rows)
    return verdict(
        [
            Budget(f"{GRAPHS['layers']}, workers=2 / workers=1:", ratios["layers"], TRIVIAL_AT_MOST_TIMES_AS_LONG),
            Budget(
                f"{GRAPHS['naps']}, workers=1 / workers=2:", 1 / ratios["naps"], NAPS_AT_LEAST_TIMES_FASTER, at_least=True
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
