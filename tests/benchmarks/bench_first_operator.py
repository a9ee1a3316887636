"""The first KartOperator of a process, beside a plain operator: a task's process pays this before and after ``run()``.

Airflow's task SDK is imported before. *Execute* is the operator's ``execute`` with a trivial task in an empty workspace on
disk: lock, run, artifact, sidecar. *Import and make* is what a process pays in any case that parses the DAG file.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

AT_MOST_SECONDS = 0.05
ROUNDS = 9
KINDS = ("kart", "plain")


def main() -> int:
    """Measure, print, and return the exit code."""
    runs = alternate({kind: partial(run_case, "first_operator.py", kind) for kind in KINDS}, ROUNDS)
    rows = {
        "execute, ms": "seconds",
        "execute, CPU ms": "execute_cpu",
        "import and make, ms": "to_make",
        "import and make, CPU ms": "make_cpu",
    }
    medians = {label: {kind: median_of(runs[kind], fact) * 1000 for kind in KINDS} for label, fact in rows.items()}
    print_table(
        ["", *KINDS, "more"],
        [[label, *(row[kind] for kind in KINDS), row["kart"] - row["plain"]] for label, row in medians.items()],
    )
    print(f"{runs['kart'][0]['modules']} more modules; numpy is {'' if runs['kart'][0]['numpy'] else 'not '}imported")
    own = medians["execute, CPU ms"]["kart"] - medians["execute, CPU ms"]["plain"]
    return verdict([Budget("CPU of a first execute beyond a plain operator's:", own / 1000, AT_MOST_SECONDS, " s")])


if __name__ == "__main__":
    sys.exit(main())
