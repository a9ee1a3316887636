"""Build 1,000 tasks in ten layers, and a root, with gokart; the workspace is its default, ``./resources``."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

import gokart
import luigi

LAYERS, WIDTH = 10, int(sys.argv[1]) if len(sys.argv) > 1 else 100


class Node(gokart.TaskOnKart[int]):
    layer = luigi.IntParameter()
    place = luigi.IntParameter()

    def requires(self) -> Any:
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Node(layer=self.layer - 1, place=place) for place in places]

    def run(self) -> None:
        self.dump(sum(self.load() if self.layer else []) % 1000 + 1)


class Root(gokart.TaskOnKart[int]):
    def requires(self) -> Any:
        return [Node(layer=LAYERS - 1, place=place) for place in range(WIDTH)]

    def run(self) -> None:
        self.dump(sum(self.load()))


started, cpu = time.perf_counter(), time.process_time()
result = gokart.build(Root(), log_level=logging.ERROR)
print(
    json.dumps({"seconds": time.perf_counter() - started, "build_cpu_seconds": time.process_time() - cpu, "result": result})
)
