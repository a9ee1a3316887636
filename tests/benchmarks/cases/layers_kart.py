"""Build 1,000 tasks in ten layers, and a root, with airflow_kart; the workspace is the current directory.

With ``again`` after the width, build the same task again, and then an equal one, of which all is asked anew.
"""

from __future__ import annotations

import json
import sys
import time

from airflow_kart import IntParameter, TaskOnKart, build

LAYERS, WIDTH = 10, int(sys.argv[1]) if len(sys.argv) > 1 else 100


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


root = Root()
started, cpu = time.perf_counter(), time.process_time()
result = build(root, workspace_directory="resources")
facts = {"seconds": time.perf_counter() - started, "build_cpu_seconds": time.process_time() - cpu, "result": result}
if sys.argv[2:] == ["again"]:
    for name, task in {"again_seconds": root, "anew_seconds": Root()}.items():
        started = time.perf_counter()
        build(task, workspace_directory="resources")
        facts[name] = time.perf_counter() - started
print(json.dumps(facts))
