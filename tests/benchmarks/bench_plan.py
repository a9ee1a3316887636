"""What it costs to plan a run: of 100,000 tasks that are all cached, and of 10,000 in an S3 bucket that is 50 ms away.

The bucket is a service on this machine that shows a directory and pauses before each answer; it shares the processors with
the plan, but costs little. One after the other is measured with fewer tasks.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from far_bucket import far_bucket
from side_by_side import Budget, alternate, median_of, print_table, run_case, temporary_directory, verdict

TASKS = 10_000
ASKED = 200
LATENCY = 0.05
AT_MOST_SECONDS = 4.0
AT_MOST_SECONDS_WITH_BOTO3 = 12.0
AT_MOST_TIMES_OBSTORE = 2.5
MANY = 100_000
MANY_AT_MOST_CPU_SECONDS = 5.0
MANY_AT_MOST_MEGABYTES = 300
ROUNDS = 3


def main() -> int:
    """Measure, print, and return the exit code."""
    return verdict([*many_tasks(), *in_a_bucket()])


def many_tasks() -> list[Budget]:
    """Resolve and plan graphs of ten layers on a local disk."""
    sizes = (MANY // 10, MANY)
    runs = alternate({f"{tasks:,}": partial(run_case, "plan_layers.py", tasks // 10) for tasks in sizes}, ROUNDS)
    facts = ("cpu", "seconds", "megabytes")
    print_table(
        ["tasks, all cached", *facts], [[name, *(median_of(found, fact) for fact in facts)] for name, found in runs.items()]
    )
    most = runs[f"{MANY:,}"]
    return [
        Budget(f"graph and plan of {MANY:,}:", median_of(most, "cpu"), MANY_AT_MOST_CPU_SECONDS, " CPU-s"),
        Budget(f"graph and plan of {MANY:,}:", median_of(most, "megabytes"), MANY_AT_MOST_MEGABYTES, " MB"),
    ]


def in_a_bucket() -> list[Budget]:
    """Plan over a bucket that is far away."""
    case, first, with_boto3 = "plan_in_bucket.py", "all is there, seen for the first time", "the same with boto3 alone"
    with temporary_directory() as directory:
        with far_bucket(Path(directory), LATENCY) as address:
            found = {"nothing is there": run_case(case, "plan", TASKS, address)}
        run_case(case, "fill", TASKS, f"{directory}/ws")
        with far_bucket(Path(directory), LATENCY) as address:
            found[with_boto3] = run_case(case, "boto3", TASKS, address)
        with far_bucket(Path(directory), LATENCY) as address:
            found[first] = run_case(case, "plan", TASKS, address)
            found["all is there, seen before"] = run_case(case, "plan", TASKS, address)
            bare = run_case(case, "get", TASKS, address)
            asked = run_case(case, "ask", ASKED, address)
    alone = asked["seconds"] * TASKS / ASKED
    rows = {**found, "their sidecars, with obstore alone": bare}.items()
    table: list[list[object]] = [[name, once["seconds"], once["cpu"], alone / once["seconds"]] for name, once in rows]
    table.append([f"one after the other ({ASKED} asked)", alone, asked["cpu"] * TASKS / ASKED, 1.0])
    print_table([f"{TASKS:,} tasks", "seconds", "client's CPU", "times as fast"], table)
    most = {with_boto3: AT_MOST_SECONDS_WITH_BOTO3}
    return [
        *(Budget(f"{name}:", once["seconds"], most.get(name, AT_MOST_SECONDS), " s") for name, once in found.items()),
        Budget("seen for the first time / obstore alone:", found[first]["seconds"] / bare["seconds"], AT_MOST_TIMES_OBSTORE),
    ]


if __name__ == "__main__":
    sys.exit(main())
