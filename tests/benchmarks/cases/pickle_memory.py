"""Dump a frame of 1 GB to a file, or load it, and see how much memory that took: ``kart|gokart numbers|texts|objects dump|load``.

A frame is made without copies, so that the process has not had more memory before. The file is in the current directory.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

MEGABYTE = 1 << 20


def made(contents: str) -> pd.DataFrame:
    frame: pd.DataFrame
    if contents == "numbers":
        frame = pd.DataFrame(np.full((12, 11_000_000), 1.5).T, copy=False)
        return frame
    rows = 1_500_000
    if contents == "objects":
        frame = pd.DataFrame({f"t{place}": texts(rows, place) for place in range(8)}, dtype=object, copy=False)
        return frame
    arrow = {f"t{place}": as_arrow(texts(rows, place)) for place in range(20)}
    frame = pd.DataFrame(arrow | {f"n{place}": np.full(rows, 0.5) for place in range(25)}, copy=False)
    return frame


def texts(rows: int, place: int) -> Any:
    array = np.empty(rows, dtype=object)
    for row in range(rows):
        array[row] = f"{place:02d} and {row:010d}"
    return array


def as_arrow(array: Any) -> Any:
    return pd.arrays.ArrowStringArray(pa.array(array, pa.large_string()))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def megabytes(frame: pd.DataFrame) -> float:
    return float(frame.memory_usage(deep=True).sum()) / MEGABYTE


library, contents, action = sys.argv[1:]
if library == "kart":
    from airflow_kart.artifacts.target import Target
    from airflow_kart.formats import PickleFormat
    from airflow_kart.storage import LocalStore

    target: Any = Target("frame.pkl", PickleFormat(), LocalStore())
else:
    from gokart.target import make_target

    target = make_target("frame.pkl")

base = peak()
if action == "dump":
    frame = made(contents)
    if library == "kart":
        target.dump(frame)
    else:
        target.dump(frame, lock_at_dump=False)
    reached = peak()
else:
    frame = target.load()
    reached = peak()
print(json.dumps({"base": base, "peak": reached, "frame": megabytes(frame)}))
