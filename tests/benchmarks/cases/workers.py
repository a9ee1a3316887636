"""Build a graph with some workers: ``layers WORKERS`` makes 2,001 trivial tasks, ``naps WORKERS`` 16 tasks of 0.25 s."""

from __future__ import annotations

import json
import sys
import time

from airflow_kart import IntParameter, TaskOnKart, build

LAYERS, WIDTH, NAPS, SECONDS = 20, 100, 16, 0.25


class Node(TaskOnKart[int]):
    layer: int = IntParameter()
    place: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Node(layer=self.layer - 1, place=place) for place in places]

    def run(self) -> None:
        self.dump(sum(self.load()) % 1000 + 1)


class Nap(TaskOnKart[int]):
    place: int = IntParameter()

    def run(self) -> None:
        time.sleep(SECONDS)
        self.dump(self.place)


class Layers(TaskOnKart[int]):
    def requires(self) -> list[TaskOnKart[int]]:
        return [Node(layer=LAYERS - 1, place=place) for place in range(WIDTH)]

    def run(self) -> None:
        self.dump(sum(self.load()))


class Naps(TaskOnKart[int]):
    def requires(self) -> list[TaskOnKart[int]]:
        return [Nap(place=place) for place in range(NAPS)]

    def run(self) -> None:
        self.dump(sum(self.load()))


if __name__ == "__main__":
    root = {"layers": Layers, "naps": Naps}[sys.argv[1]]()
    started = time.perf_counter()
    result = build(root, workspace_directory="resources", workers=int(sys.argv[2]))
    print(json.dumps({"seconds": time.perf_counter() - started, "result": result}))
