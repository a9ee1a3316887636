"""Dump and load a frame of about 500 MB through a target, through pandas alone, and as gokart does, in turn.

``parquet|feather ROUNDS``; everything happens in the current directory, in one process, so that all meet the same memory.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from gokart.target import make_target

from airflow_kart.artifacts.target import Target
from airflow_kart.formats import FeatherFormat, ParquetFormat
from airflow_kart.storage import LocalStore

ROWS = 4_000_000


def made() -> pd.DataFrame:
    """Return sales, say: prices to the cent, counts, moments and names, which compress as such tables do."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"price_{place}": random.normal(100, 30, ROWS).round(2) for place in range(6)}
    columns |= {f"count_{place}": random.poisson(3, ROWS) for place in range(5)}
    columns["sold_at"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(
        np.sort(random.integers(0, 31_536_000, ROWS)), unit="s"
    )
    columns["name"] = random.choice([f"article number {number}" for number in range(200)], ROWS)
    frame: pd.DataFrame = pd.DataFrame(columns)
    return frame


def medians(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            kept = step()
            seconds[name].append(time.perf_counter() - started)
            del kept
    return {name: statistics.median(some) for name, some in seconds.items()}


file_format, rounds = sys.argv[1], int(sys.argv[2])
frame = made()
kart: Any = Target(
    f"kart.{file_format}", ParquetFormat(compression="snappy") if file_format == "parquet" else FeatherFormat(), LocalStore()
)
gokart: Any = make_target(f"gokart.{file_format}")
write = getattr(frame, f"to_{file_format}")
read = getattr(pd, f"read_{file_format}")
dumps = {
    "kart": lambda: kart.dump(frame),
    "pandas": lambda: write(f"pandas.{file_format}"),
    "gokart": lambda: gokart.dump(frame, lock_at_dump=False),
}
loads = {"kart": kart.load, "pandas": lambda: read(f"pandas.{file_format}"), "gokart": gokart.load}
print(json.dumps({"dump": medians(dumps, rounds), "load": medians(loads, rounds)}))
