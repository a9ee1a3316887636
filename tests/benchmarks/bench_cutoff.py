"""Early cut-off: what an edit costs that changes no byte, and what the index of content keys costs a cold build.

200 tasks in four levels, of 50 ms each, under ``code_version = "auto"``: after an edit of the root's helper, whose result stays
equal, the root runs, and all others take the artifacts of the equal runs. The cold build of 1,001 trivial tasks is measured with
and without equal runs (``[kart] reuse_equal_inputs``), in alternating rounds.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, Facts, alternate, median_of, print_table, run_case, verdict

LEVEL, SECONDS = 66, 0.05
AFTER_EDIT_AT_MOST = 0.15
INDEX_AT_MOST_TIMES = 1.05
ROUNDS = 7


def main() -> int:
    """Measure, print, and return the exit code."""
    edited = run_case("cutoff.py", LEVEL, SECONDS)
    print(
        f"{edited['made']} tasks cold: {edited['seconds']:.2f} s; after the edit {edited['after_edit']:.2f} s, {edited['again']} run"
    )
    runs = alternate({name: partial(cold, name) for name in ("True", "False")}, ROUNDS)
    with_index, without = (median_of(runs[name], "cpu_seconds") for name in ("True", "False"))
    print_table(("cold build of 1,001 tasks", "CPU s"), [("with the index", with_index), ("without", without)])
    return verdict(
        [
            Budget("runs after the edit", edited["again"], 1),
            Budget("build after the edit, of cold", edited["after_edit"] / edited["seconds"], AFTER_EDIT_AT_MOST),
            Budget("CPU of a cold build with the index, of one without", with_index / without, INDEX_AT_MOST_TIMES),
        ]
    )


def cold(reuse: str) -> Facts:
    """Build 1,001 tasks in an empty workspace."""
    return run_case("layers_kart.py", 100, reuse_equal_inputs=reuse)


if __name__ == "__main__":
    sys.exit(main())
