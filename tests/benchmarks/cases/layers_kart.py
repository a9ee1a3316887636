"""Build 1,000 tasks in ten layers, and a root, with airflow_kart; the workspace is the current directory."""

from __future__ import annotations

import json
import time

from airflow_kart import IntParameter, TaskOnKart, build

LAYERS, WIDTH = 10, 100


class Node(TaskOnKart[int]):
    layer: int = IntParameter()
    place: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Node(layer=self.layer - 1, place=place) for place in places]

    def run(self) -> None:
        self.dump(sum(self.load()) % 1000 + 1)


class Root(TaskOnKart[int]):
    def requires(self) -> list[TaskOnKart[int]]:
        return [Node(layer=LAYERS - 1, place=place) for place in range(WIDTH)]

    def run(self) -> None:
        self.dump(sum(self.load()))


started = time.perf_counter()
result = build(Root(), workspace_directory="resources")
print(json.dumps({"seconds": time.perf_counter() - started, "result": result}))
