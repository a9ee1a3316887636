"""``build()`` of 1,000 trivial tasks, cold and warm, against gokart's of the same graph.

Ten layers of a hundred tasks, each of which loads two of the layer below, and a root that loads the last layer. Cold
is the time of ``build()`` in an empty workspace, sidecars included. Warm is a whole process in which everything is
there already: what a user waits for who runs a script again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from side_by_side import Budget, Facts, alternate, median_of, print_table, run_case, temporary_directory, verdict

COLD_AT_LEAST_TIMES_FASTER = 8.0
WARM_AT_MOST_TIMES_AS_LONG = 1.0
COLD_ROUNDS, WARM_ROUNDS = 3, 5
TASKS = 1_001
CASES = {"airflow_kart": "layers_kart.py", "gokart": "layers_gokart.py"}

Runs = Mapping[str, Sequence[Facts]]


def main() -> int:
    """Measure, print, and return the exit code."""
    cold = alternate({name: partial(run_case, case) for name, case in CASES.items()}, COLD_ROUNDS - 1)
    with temporary_directory() as parent:
        workspaces = {name: Path(parent, name) for name in CASES}
        for workspace in workspaces.values():
            workspace.mkdir()
        builds = {name: partial(run_case, CASES[name], directory=str(workspaces[name])) for name in CASES}
        last = alternate(builds, 1)
        warm = alternate(builds, WARM_ROUNDS)
        files = {name: [file.name for file in workspaces[name].rglob("*") if file.is_file()] for name in CASES}
    cold = {name: [*cold[name], *last[name]] for name in CASES}
    sidecars = sum(name.endswith(".kart.json") for name in files["airflow_kart"])
    require_comparable([*cold.values(), *warm.values()], sidecars)
    return report(cold, warm, {name: len(found) for name, found in files.items()}, sidecars)


def require_comparable(all_runs: Sequence[Sequence[Facts]], sidecars: int) -> None:
    """Stop where the cases did not compute the same, or a task has no sidecar."""
    results = {run["result"] for runs in all_runs for run in runs}
    if len(results) != 1 or sidecars != TASKS:
        raise SystemExit(f"not comparable: the results are {results}; {TASKS} tasks have {sidecars} sidecars")


def report(cold: Runs, warm: Runs, files: Mapping[str, int], sidecars: int) -> int:
    """Print the medians and the budgets; return the exit code."""
    rows = {
        "cold build(), s": {name: median_of(cold[name]) for name in CASES},
        "cold process, CPU s": {name: median_of(cold[name], "cpu_seconds") for name in CASES},
        "warm build(), s": {name: median_of(warm[name]) for name in CASES},
        "warm process, s": {name: median_of(warm[name], "process_seconds") for name in CASES},
        "files": files,
    }
    ratios = {label: row["gokart"] / row["airflow_kart"] for label, row in rows.items()}
    print_table(
        ["", *CASES, "ratio"], [[label, *(row[name] for name in CASES), ratios[label]] for label, row in rows.items()]
    )
    print(f"{sidecars:,} of airflow_kart's files are sidecars")
    faster = Budget("gokart's cold build() / ours:", ratios["cold build(), s"], COLD_AT_LEAST_TIMES_FASTER, at_least=True)
    as_long = Budget("our warm process / gokart's:", 1 / ratios["warm process, s"], WARM_AT_MOST_TIMES_AS_LONG)
    return verdict([faster, as_long])


if __name__ == "__main__":
    sys.exit(main())
