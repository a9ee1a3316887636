"""Write a large-frame artifact of ten parts, or read it part by part; the workspace is the current directory.

The arguments are ``write`` or ``read``, and the size of a part in bytes. The peak is that of the process above what it
held before, once a small table had been read, as Linux tells it.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from airflow_kart import IntParameter, Target, TaskOnKart, build

PARTS, COLUMNS = 10, 8
STATUS = Path("/proc/self/status")


class Table(TaskOnKart[pd.DataFrame]):
    part_bytes: int = IntParameter()

    def output(self) -> Target:
        return self.make_large_data_frame_target("table.zip", max_byte=self.part_bytes)

    def run(self) -> None:
        self.dump_generator(self.parts())

    def parts(self) -> Iterator[pd.DataFrame]:
        rng = np.random.default_rng(7)
        rows = self.part_bytes // (8 * COLUMNS)
        for _ in range(PARTS):
            values = {f"c{column}": rng.random(rows).round(3) for column in range(COLUMNS // 2)}
            counts = {f"n{column}": rng.integers(0, 1000, rows) for column in range(COLUMNS // 2)}
            yield pd.DataFrame({**values, **counts})


class Reader(TaskOnKart[float]):
    part_bytes: int = IntParameter()

    def requires(self) -> Table:
        return Table(part_bytes=self.part_bytes)

    def read(self) -> tuple[float, int]:
        total, largest = 0.0, 0
        for part in self.load_generator():
            total += float(part["c0"].sum())
            largest = max(largest, int(part.memory_usage().sum()))
            del part  # or it would be held while the next one is read
        return total, largest


def in_memory(field: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(field))


how, part_bytes = sys.argv[1], int(sys.argv[2])
if how == "write":
    build(Table(part_bytes=part_bytes), workspace_directory="resources")
build(Table(part_bytes=64_000), workspace_directory="small")
from airflow_kart import Workspace  # noqa: E402 - after the writing, which does not count

with Workspace("small"):
    Reader(part_bytes=64_000).read()
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = in_memory("VmRSS")
started = time.perf_counter()
with Workspace("resources"):
    total, largest = Reader(part_bytes=part_bytes).read()
facts = {
    "seconds": time.perf_counter() - started,
    "peak": in_memory("VmHWM") - before,
    "largest": largest,
    "total": total,
    "bytes": sum(path.stat().st_size for path in Path("resources").glob("table_*.zip")),
}
print(json.dumps(facts))
