"""Parsing a DAG file with 1,000 tasks, against the same DAG of plain operators.

The time is that of importing the file and serializing its DAG, in a fresh process that has ``airflow.sdk`` loaded,
as the DAG processor's have. Importing airflow_kart itself counts. Airflow copies a DAG's params into every operator,
which is most of what the plain DAG costs, so it is compared with the same DAG without params too, and the budget is
for both.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

AT_MOST_TIMES_AS_LONG = 2.0
ROUNDS = 7
CASES = {"KartDag": "dag_kart.py", "plain": "dag_plain.py", "plain, no params": "dag_plain_no_params.py"}


def main() -> int:
    """Measure, print, and return the exit code."""
    runs = alternate({name: partial(run_case, "parse.py", file) for name, file in CASES.items()}, ROUNDS)
    facts = {name: runs[name][0] for name in CASES}
    if len({(found["tasks"], found["edges"]) for found in facts.values()}) != 1:
        raise SystemExit(f"not comparable: {facts}")
    rows: list[list[object]] = []
    for step in ("import", "serialize", "seconds", "bytes"):
        ours, plain, without = (median_of(runs[name], step) for name in CASES)
        rows.append([step, ours, plain, without, ours / plain, ours / without])
    print_table(["", *CASES, "ratio to plain", "to no params"], rows)
    ours, plain, without = (median_of(runs[name]) for name in CASES)
    print(f"{facts['KartDag']['tasks']:,} tasks, {facts['KartDag']['edges']:,} edges")
    ratios = {"KartDag / plain:": ours / plain, "KartDag / plain, no params:": ours / without}
    return verdict([Budget(name, ratio, AT_MOST_TIMES_AS_LONG) for name, ratio in ratios.items()])


if __name__ == "__main__":
    sys.exit(main())
