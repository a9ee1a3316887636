"""Dump one object as a pickle with airflow_kart or as gokart does: ``kart|gokart dicts|lists``."""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any


def made(shape: str) -> list[Any]:
    if shape == "dicts":
        return [{"id": number, "name": f"n{number}", "value": number * 0.5, "good": True} for number in range(500_000)]
    return [[number, number * 0.5, str(number), [*range(number, number + 5)]] for number in range(500_000)]


class Sink(io.BytesIO):
    def restart(self) -> None:
        self.seek(0)
        self.truncate()


library, shape = sys.argv[1:]
obj = made(shape)
if library == "kart":
    from airflow_kart.formats import PickleFormat

    dump = PickleFormat().dump
else:
    from gokart.file_processor import PickleFileProcessor

    dump = PickleFileProcessor().dump
dump([1], Sink())
started = time.perf_counter()
dump(obj, Sink())
print(json.dumps({"seconds": time.perf_counter() - started}))
