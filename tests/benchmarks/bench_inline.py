"""1,000 inline tasks inside one operator, against ``build()`` of the same graph.

The operator's time is that of its task instance: Airflow's start of a process for it does not count.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

AT_MOST_TIMES_AS_LONG = 3.0
ROUNDS = 3


def main() -> int:
    """Measure, print, and return the exit code."""
    runs = alternate({name: partial(run_case, "inline_tasks.py", name) for name in ("operator", "build")}, ROUNDS)
    if len({(run["result"], run["sidecars"]) for found in runs.values() for run in found}) != 1:
        raise SystemExit(f"not comparable: {runs}")
    operator, build = median_of(runs["operator"]), median_of(runs["build"])
    print_table(["", "operator", "build()", "ratio"], [["1,000 inline tasks, s", operator, build, operator / build]])
    return verdict([Budget("operator / build():", operator / build, AT_MOST_TIMES_AS_LONG)])


if __name__ == "__main__":
    sys.exit(main())
