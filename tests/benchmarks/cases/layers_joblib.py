"""Compute the values of 1,000 tasks in ten layers, and of a root, with joblib's cache; it records hardly anything."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from joblib import Memory

LAYERS, WIDTH = 10, int(sys.argv[1]) if len(sys.argv) > 1 else 100


def value_of_node(layer: int, place: int) -> int:
    """Return the value of one task."""
    return int(sum(node(layer - 1, each % WIDTH) for each in (place, place + 1) if layer)) % 1000 + 1


def value_of_root() -> int:
    """Return the value of the root."""
    return int(sum(node(LAYERS - 1, place) for place in range(WIDTH)))


memory = Memory("resources", verbose=0)
node: Any = memory.cache(value_of_node)
root: Any = memory.cache(value_of_root)
started, cpu = time.perf_counter(), time.process_time()
result = root()
print(
    json.dumps({"seconds": time.perf_counter() - started, "build_cpu_seconds": time.process_time() - cpu, "result": result})
)
