"""What it costs to plan a run of 10,000 tasks in an S3 bucket that is 50 ms away.

The service runs on this machine, answers about three hundred requests a second, and takes longer for each page of a listing the more
objects it has: the times are its own to a good part. One after the other is measured with fewer tasks.
"""

from __future__ import annotations

import sys

from harness.s3_server import s3_server
from side_by_side import Budget, print_table, run_case, verdict

TASKS = 10_000
ASKED = 200
LATENCY = 0.05
AT_MOST_SECONDS = 15.0


def main() -> int:
    """Measure, print, and return the exit code."""
    case = "plan_in_bucket.py"
    with s3_server(latency=LATENCY) as address:
        found = {"nothing is there": run_case(case, "plan", TASKS, address)}
        run_case(case, "fill", TASKS, address)
        found["all is there, seen for the first time"] = run_case(case, "plan", TASKS, address)
        found["all is there, seen before"] = run_case(case, "plan", TASKS, address)
        asked = run_case(case, "ask", ASKED, address)
    alone = asked["seconds"] * TASKS / ASKED
    rows = [[name, once["seconds"], once["cpu"], alone / once["seconds"]] for name, once in found.items()]
    rows.append([f"one after the other ({ASKED} asked)", alone, asked["cpu"] * TASKS / ASKED, 1.0])
    print_table([f"{TASKS:,} tasks", "seconds", "client's CPU", "times as fast"], rows)
    return verdict([Budget(f"{name}:", once["seconds"], AT_MOST_SECONDS, " s") for name, once in found.items()])


if __name__ == "__main__":
    sys.exit(main())
