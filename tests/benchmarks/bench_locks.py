"""What the lock of a task costs where nobody else wants it: beside no lock, for a file and for Redis on loopback.

The median of a lock alone is over many; that of a task is the time of ``build()`` of many small tasks with the lock, less
that of the same without one, in turn.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from harness.redis_server import RedisServer
from side_by_side import Budget, alternate, median_of, print_table, run_case, temporary_directory, verdict

ROUNDS = 5
MILLISECONDS = {"file": 1.0, "redis": 3.0}


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as directory, RedisServer(Path(directory)) as server:
        cases = {lock: partial(run_case, "lock.py", lock, server.port) for lock in ("none", "file", "lease", "redis")}
        runs = alternate(cases, ROUNDS)
    without = median_of(runs["none"], "task")
    rows = [
        [lock, 1e3 * median_of(found, "lock"), 1e3 * median_of(found, "task"), 1e3 * (median_of(found, "task") - without)]
        for lock, found in runs.items()
    ]
    print_table(["lock", "the lock alone, ms", "a task, ms", "more than without, ms"], rows)
    return verdict(
        [
            Budget(f"{row[0]} lock, per task:", float(str(row[3])), MILLISECONDS[row[0]], " ms")
            for row in rows
            if row[0] in MILLISECONDS
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
