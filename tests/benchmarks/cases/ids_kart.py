"""Make the tasks of a graph and the unique id of its root with airflow_kart: ``diamond LEVELS`` or ``layered LAYERS WIDTH``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from airflow_kart import IntParameter, TaskInstanceParameter, TaskOnKart

REPEATS = 5


class Leaf(TaskOnKart[int]):
    side: int = IntParameter()


class Join(TaskOnKart[int]):
    """Holds both tasks of the level below as parameters."""

    side: int = IntParameter()
    left: TaskOnKart[int] = TaskInstanceParameter()
    right: TaskOnKart[int] = TaskInstanceParameter()


def diamond(levels: int) -> TaskOnKart[int]:
    left: TaskOnKart[int] = Leaf(side=0)
    right: TaskOnKart[int] = Leaf(side=1)
    for _ in range(levels - 1):
        left, right = Join(side=0, left=left, right=right), Join(side=1, left=left, right=right)
    return Join(side=0, left=left, right=right)


class Node(TaskOnKart[int]):
    """Requires every task of the layer below, made anew."""

    layer: int = IntParameter()
    place: int = IntParameter()
    width: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        return layer(self.layer - 1, self.width) if self.layer else []


class Root(TaskOnKart[int]):
    layers: int = IntParameter()
    width: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        return layer(self.layers - 1, self.width)


def layer(number: int, width: int) -> list[TaskOnKart[int]]:
    return [Node(layer=number, place=place, width=width) for place in range(width)]


def layered(layers: int, width: int) -> TaskOnKart[int]:
    return Root(layers=layers, width=width)


def seconds_to_identify(make: Callable[..., TaskOnKart[Any]], sizes: list[int]) -> float:
    started = time.perf_counter()
    assert len(make(*sizes).unique_id) == 32
    return time.perf_counter() - started


graph, *sizes = sys.argv[1:]
makers: dict[str, Callable[..., TaskOnKart[Any]]] = {"diamond": diamond, "layered": layered}
# Nothing is kept between tasks, so a process can measure the same graph several times.
times = [seconds_to_identify(makers[graph], [int(size) for size in sizes]) for _ in range(REPEATS)]
print(json.dumps({"seconds": times[0], "best": min(times)}))
