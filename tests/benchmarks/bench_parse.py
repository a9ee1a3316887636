"""Parsing a DAG file with 1,000 and with 10,000 tasks, against the same DAG of plain operators; one operator of 10,000 in a worker.

The time is that of importing the file and serializing its DAG, in a fresh process that has ``airflow.sdk`` loaded,
as the DAG processor's have. Importing airflow_kart itself counts. Airflow copies a DAG's params into every operator,
which is most of what the plain DAG costs, so it is compared with the same DAG without params too, and the budget is
for both. A worker imports the file and executes one operator, which has to find its task.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

AT_MOST_TIMES_AS_LONG = {1_000: 2.0, 10_000: 1.2}
ROUNDS = {1_000: 7, 10_000: 3}
CASES = {"KartDag": "dag_kart.py", "plain": "dag_plain.py", "plain, no params": "dag_plain_no_params.py"}
OPERATORS = {"first layer": "node__0_3", "last layer": "node__9_3", "plan": "plan"}
AT_MOST_MORE_CPU_SECONDS = 2.2
PLAN_AT_MOST_SECONDS = 1.0
PLAN_AT_MOST_MEGABYTES = 100
XCOM_AT_MOST_KILOBYTES = 200
MANY = 10_000


def main() -> int:
    """Measure, print, and return the exit code."""
    return verdict([budget for tasks in ROUNDS for budget in parsing(tasks)] + one_operator())


def parsing(tasks: int) -> list[Budget]:
    """Compare the three files with so many tasks."""
    runs = alternate({name: partial(run_case, "parse.py", file, tasks // 10) for name, file in CASES.items()}, ROUNDS[tasks])
    facts = {name: runs[name][0] for name in CASES}
    if len({(found["tasks"], found["edges"]) for found in facts.values()}) != 1:
        raise SystemExit(f"not comparable: {facts}")
    rows: list[list[object]] = []
    for step in ("import", "serialize", "seconds", "cpu", "bytes"):
        ours, plain, without = (median_of(runs[name], step) for name in CASES)
        rows.append([step, ours, plain, without, ours / plain, ours / without])
    print_table([f"{tasks:,} tasks", *CASES, "ratio to plain", "to no params"], rows)
    print(f"{facts['KartDag']['tasks']:,} tasks, {facts['KartDag']['edges']:,} edges")
    ours, plain, without = (median_of(runs[name], "cpu") for name in CASES)
    ratios = {"KartDag / plain": ours / plain, "KartDag / plain, no params": ours / without}
    return [Budget(f"{name}, {tasks:,} tasks:", ratio, AT_MOST_TIMES_AS_LONG[tasks]) for name, ratio in ratios.items()]


def one_operator() -> list[Budget]:
    """Compare a worker's import and one operator with the import of the plain DAG."""
    width = MANY // 10
    ours = {name: partial(run_case, "one_operator.py", "dag_kart.py", width, task) for name, task in OPERATORS.items()}
    plain = {"plain": partial(run_case, "parse.py", "dag_plain_no_params.py", width)}
    runs = alternate({**ours, **plain}, ROUNDS[MANY])
    parse = median_of(runs["plain"], "import_cpu")
    rows: list[list[object]] = [["plain, no params", parse, "", "", "", "", ""]]
    for name in OPERATORS:
        steps = ("import_cpu", "execute_cpu", "seconds", "megabytes", "kilobytes_pushed")
        imported, *executed = (median_of(runs[name], step) for step in steps)
        rows.append([name, imported, *executed, imported + executed[0] - parse])
    head = ["import, CPU s", "execute, CPU s", "execute, s", "MB", "kB of plan", "CPU s beyond plain"]
    print_table([f"one operator of {MANY:,}", *head], rows)
    more = {name: median_of(runs[name], "cpu") - parse for name in OPERATORS if name != "plan"}
    plan = runs["plan"]
    return [
        *(
            Budget(f"{name}, more CPU than the plain import:", cpu, AT_MOST_MORE_CPU_SECONDS, " s")
            for name, cpu in more.items()
        ),
        Budget("plan of all cached:", median_of(plan, "execute_cpu"), PLAN_AT_MOST_SECONDS, " s"),
        Budget("plan of all cached:", median_of(plan, "megabytes"), PLAN_AT_MOST_MEGABYTES, " MB"),
        Budget("the plan's XCom:", median_of(plan, "kilobytes_pushed"), XCOM_AT_MOST_KILOBYTES, " kB"),
    ]


if __name__ == "__main__":
    sys.exit(main())
