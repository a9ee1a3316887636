"""Write a large-frame target of ten parts with gokart, or read it, which it does as a whole; in the current directory.

The arguments and the peak are those of ``parts.py``.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import gokart
import numpy as np
import pandas as pd

PARTS, COLUMNS = 10, 8
STATUS = Path("/proc/self/status")
how, part_bytes = sys.argv[1], int(sys.argv[2])


class Table(gokart.TaskOnKart[Any]):
    def output(self):
        return self.make_large_data_frame_target("table.zip", max_byte=part_bytes)

    def run(self):
        rng = np.random.default_rng(7)
        rows = PARTS * part_bytes // (8 * COLUMNS)
        values = {f"c{column}": rng.random(rows).round(3) for column in range(COLUMNS // 2)}
        counts = {f"n{column}": rng.integers(0, 1000, rows) for column in range(COLUMNS // 2)}
        self.dump(pd.DataFrame({**values, **counts}))


def in_memory(field: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(field))


facts: dict[str, Any] = {}
if how == "write":
    gokart.build(Table(), return_value=False)
else:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = in_memory("VmRSS")
    started = time.perf_counter()
    table = Table().output().load()
    facts = {"seconds": time.perf_counter() - started, "peak": in_memory("VmHWM") - before, "rows": len(table)}
print(json.dumps(facts))
