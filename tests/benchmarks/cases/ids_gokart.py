"""Make the tasks of a graph and the unique id of its root with gokart: ``diamond LEVELS`` or ``layered LAYERS WIDTH``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import gokart
import luigi


class Leaf(gokart.TaskOnKart[int]):
    side = luigi.IntParameter()


class Join(gokart.TaskOnKart[int]):
    """Holds both tasks of the level below as parameters."""

    side = luigi.IntParameter()
    left = gokart.TaskInstanceParameter()
    right = gokart.TaskInstanceParameter()


def diamond(levels: int) -> gokart.TaskOnKart[Any]:
    left: gokart.TaskOnKart[int] = Leaf(side=0)
    right: gokart.TaskOnKart[int] = Leaf(side=1)
    for _ in range(levels - 1):
        left, right = Join(side=0, left=left, right=right), Join(side=1, left=left, right=right)
    return Join(side=0, left=left, right=right)


class Node(gokart.TaskOnKart[int]):
    """Requires every task of the layer below, made anew."""

    layer = luigi.IntParameter()
    place = luigi.IntParameter()
    width = luigi.IntParameter()

    def requires(self) -> Any:
        return layer(self.layer - 1, self.width) if self.layer else []


class Root(gokart.TaskOnKart[int]):
    layers = luigi.IntParameter()
    width = luigi.IntParameter()

    def requires(self) -> Any:
        return layer(self.layers - 1, self.width)


def layer(number: int, width: int) -> list[gokart.TaskOnKart[int]]:
    return [Node(layer=number, place=place, width=width) for place in range(width)]


def layered(layers: int, width: int) -> gokart.TaskOnKart[Any]:
    return Root(layers=layers, width=width)


graph, *sizes = sys.argv[1:]
makers: dict[str, Callable[..., gokart.TaskOnKart[Any]]] = {"diamond": diamond, "layered": layered}
# luigi keeps every task it ever made, so a process can measure only once.
started = time.perf_counter()
root = makers[graph](*map(int, sizes))
assert len(root.make_unique_id()) == 32
print(json.dumps({"seconds": time.perf_counter() - started}))
