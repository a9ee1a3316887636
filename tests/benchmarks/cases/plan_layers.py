"""Resolve a graph of ten layers, each as wide as the command line says, and plan it with everything there: plan_layers.py <width>."""

from __future__ import annotations

import json
import os
import resource
import sys
import time

from airflow_kart import IntParameter, TaskOnKart, Workspace
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import make_plan
from airflow_kart.tasks.graph import Graph

LAYERS, WIDTH = 10, int(sys.argv[1])


class Node(TaskOnKart[int]):
    layer: int = IntParameter()
    place: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Node(layer=self.layer - 1, place=place) for place in places]


class Root(TaskOnKart[int]):
    def requires(self) -> list[TaskOnKart[int]]:
        return [Node(layer=LAYERS - 1, place=place) for place in range(WIDTH)]


os.environ["AIRFLOW__KART__MAX_TASKS"] = "1000000"
Workspace("resources").__enter__()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started, cpu = time.perf_counter(), time.process_time()
graph = Graph.of([Root()])
middle = time.process_time() - cpu
graph.nodes[graph.roots[0]].targets[0].dump(1)
dumped = time.process_time()
plan = make_plan(graph)
facts = {
    "seconds": time.perf_counter() - started,
    "cpu": middle + time.process_time() - dumped,
    "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    "tasks": len(graph.nodes),
}
assert len(plan.with_outcome(Outcome.CACHED)) == 1
print(json.dumps(facts))
