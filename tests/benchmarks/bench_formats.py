"""Dumping and loading: pickles beside gokart's in time and memory, Parquet and Feather beside plain pandas.

The hash that a sidecar needs is made while other threads encode, write or decode, so it costs little where there is a
free core, and where the rest takes longer than the hash: a Feather file that the operating system still holds in memory
is read faster than SHA-256 can be computed, which is why loads have a budget of their own.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, Facts, alternate, median_of, print_table, run_case, temporary_directory, verdict

PICKLE_AT_LEAST_TIMES_FASTER = 15.0
MEMORY_TIMES_FRAME_AT_MOST = 1.15
MEMORY_BESIDES_AT_MOST = 200.0
TABLE_DUMP_TIMES_PANDAS_AT_MOST = 1.1
TABLE_LOAD_TIMES_PANDAS_AT_MOST = 1.1
ROUNDS = 3
ROUNDS_OF_TABLES = 7


def main() -> int:
    """Measure, print, and return the exit code."""
    return verdict([*pickle_speed(), *pickle_memory(), *tables()])


def pickle_speed() -> list[Budget]:
    """Measure how fast Python objects are pickled."""
    shapes, libraries = ("dicts", "lists"), ("kart", "gokart")
    runs = alternate(
        {
            f"{library} {shape}": partial(run_case, "pickle_speed.py", library, shape)
            for shape in shapes
            for library in libraries
        },
        ROUNDS,
    )
    seconds = {name: median_of(some) for name, some in runs.items()}
    ratios = {shape: seconds[f"gokart {shape}"] / seconds[f"kart {shape}"] for shape in shapes}
    print_table(
        ["seconds to pickle 500,000", "airflow_kart", "gokart", "ratio"],
        [[shape, seconds[f"kart {shape}"], seconds[f"gokart {shape}"], ratios[shape]] for shape in shapes],
    )
    return [
        Budget(f"gokart / ours, pickling {shape}:", ratio, PICKLE_AT_LEAST_TIMES_FASTER, at_least=True)
        for shape, ratio in ratios.items()
    ]


def pickle_memory() -> list[Budget]:
    """Measure how much memory pickling a frame of 1 GB takes at its peak, the frame included."""
    rows, budgets = [], []
    for contents in ("numbers", "texts", "objects"):
        peaks: dict[str, dict[str, Facts]] = {}
        for library in ("kart", "gokart"):
            with temporary_directory() as directory:
                peaks[library] = {
                    action: run_case("pickle_memory.py", library, contents, action, directory=directory)
                    for action in ("dump", "load")
                }
        for action in ("dump", "load"):
            ours, theirs = peaks["kart"][action], peaks["gokart"][action]
            used = ours["peak"] - ours["base"]
            rows.append([f"{contents}, {action}", ours["frame"], used, theirs["peak"] - theirs["base"]])
            budgets.append(
                Budget(
                    f"peak of {contents}, {action}, over {MEMORY_TIMES_FRAME_AT_MOST:g} frames:",
                    used - MEMORY_TIMES_FRAME_AT_MOST * ours["frame"],
                    MEMORY_BESIDES_AT_MOST,
                    " MB",
                )
            )
    print_table(["peak in MB, of a pickle", "frame", "airflow_kart", "gokart"], rows)
    return budgets


def tables() -> list[Budget]:
    """Measure tables of about 500 MB."""
    rows, budgets = [], []
    limits = {"dump": TABLE_DUMP_TIMES_PANDAS_AT_MOST, "load": TABLE_LOAD_TIMES_PANDAS_AT_MOST}
    for file_format in ("parquet", "feather"):
        facts = run_case("tables.py", file_format, ROUNDS_OF_TABLES)
        for action, limit in limits.items():
            seconds = facts[action]
            ratio = seconds["kart"] / seconds["pandas"]
            rows.append([f"{file_format}, {action}", seconds["kart"], seconds["pandas"], seconds["gokart"], ratio])
            budgets.append(Budget(f"ours / pandas, {file_format}, {action}:", ratio, limit))
    print_table(["seconds", "airflow_kart", "pandas", "gokart", "ours / pandas"], rows)
    return budgets


if __name__ == "__main__":
    sys.exit(main())
