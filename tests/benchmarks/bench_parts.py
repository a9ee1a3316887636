"""The memory it takes to read a large table part by part, against the size of a part, and against gokart's reading.

Ten parts of 100 MB. gokart has no way to read a part by itself.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, temporary_directory, verdict

AT_MOST_PARTS = 1.3
PART_BYTES = 100_000_000
ROUNDS = 3
CASES = {"airflow_kart": "parts.py", "gokart": "parts_gokart.py"}


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as directory:
        for case in CASES.values():
            run_case(case, "write", PART_BYTES, directory=directory)
        reads = {name: partial(run_case, case, "read", PART_BYTES, directory=directory) for name, case in CASES.items()}
        runs = alternate(reads, ROUNDS)
    largest = max(run["largest"] for run in runs["airflow_kart"])
    peaks = {name: max(run["peak"] for run in found) for name, found in runs.items()}
    rows: list[list[object]] = [
        ["peak, MB", *(peak / 1e6 for peak in peaks.values()), peaks["gokart"] / peaks["airflow_kart"]],
        ["peak, parts", *(peak / largest for peak in peaks.values()), peaks["gokart"] / peaks["airflow_kart"]],
    ]
    seconds = {name: median_of(found) for name, found in runs.items()}
    rows.append(["seconds", *seconds.values(), seconds["gokart"] / seconds["airflow_kart"]])
    print_table(["reading 1 GB", *CASES, "ratio"], rows)
    return verdict([Budget("peak of load_generator / largest part:", peaks["airflow_kart"] / largest, AT_MOST_PARTS)])


if __name__ == "__main__":
    sys.exit(main())
