"""Making the unique id of a task: how the time grows with the graph below it, and beside gokart's.

A diamond holds both tasks of each level as parameters of both tasks of the next; gokart writes each of them out every
time, which doubles with every level, so it is asked for few levels only. A layered graph makes the tasks of the layer
below anew in every ``requires()``, so the time should grow with nodes and edges, not with the paths through them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

GROWTH_EXPONENT_AT_MOST = 1.2
LAYERED_AT_LEAST_TIMES_FASTER = 20.0
ROUNDS = 3
GOKART_MOST_LEVELS = 10


@dataclass(frozen=True)
class Shape:
    """A graph whose root's unique id is made."""

    kind: str
    sizes: tuple[int, ...]
    nodes: int
    edges: int

    def __str__(self) -> str:
        return f"{self.kind} {' x '.join(map(str, self.sizes))}"


def diamond(levels: int) -> Shape:
    """Return the shape of a diamond: two tasks at each level, and one on top."""
    return Shape("diamond", (levels,), 2 * levels + 1, 4 * levels - 2)


def layered(layers: int, width: int) -> Shape:
    """Return the shape of a layered graph with its root."""
    return Shape("layered", (layers, width), layers * width + 1, (layers - 1) * width**2 + width)


DIAMONDS = [diamond(levels) for levels in (5, 10, 15, 20, 40)]
LAYERED = [layered(*sizes) for sizes in ((3, 30), (15, 15), (15, 30), (30, 30))]


@dataclass(frozen=True)
class Measured:
    """Seconds to make one root's unique id."""

    shape: Shape
    ours: float
    """The first time in a process, as gokart's."""
    ours_best: float
    """The best of several times, for the growth: small graphs take less than what the first time does once."""
    gokart: float | None

    @property
    def ratio(self) -> float | None:
        """How many times as long gokart takes."""
        return None if self.gokart is None else self.gokart / self.ours


def main() -> int:
    """Measure, print, and return the exit code."""
    diamonds, layers = measure(DIAMONDS), measure(LAYERED)
    print_table(
        ["milliseconds", "nodes", "edges", "airflow_kart, best", "airflow_kart, first", "gokart", "ratio"],
        [
            [
                str(one.shape),
                one.shape.nodes,
                one.shape.edges,
                one.ours_best * 1000,
                one.ours * 1000,
                "" if one.gokart is None else one.gokart * 1000,
                "" if one.ratio is None else one.ratio,
            ]
            for one in (*diamonds, *layers)
        ],
    )
    faster = layers[-1].ratio or 0.0
    return verdict(
        [
            Budget("growth exponent of the diamonds:", growth_exponent(diamonds), GROWTH_EXPONENT_AT_MOST),
            Budget("growth exponent of the layered graphs:", growth_exponent(layers), GROWTH_EXPONENT_AT_MOST),
            Budget(f"gokart / ours, {layers[-1].shape}:", faster, LAYERED_AT_LEAST_TIMES_FASTER, at_least=True),
        ]
    )


def measure(shapes: Sequence[Shape]) -> list[Measured]:
    """Measure some graphs with both libraries, gokart as far as it gets."""
    scripts = {"airflow_kart": "ids_kart.py", "gokart": "ids_gokart.py"}
    cases = {
        f"{name}, {shape}": partial(run_case, script, shape.kind, *shape.sizes)
        for shape in shapes
        for name, script in scripts.items()
        if name != "gokart" or shape.kind != "diamond" or shape.sizes[0] <= GOKART_MOST_LEVELS
    }
    runs = alternate(cases, ROUNDS)
    measured = []
    for shape in shapes:
        ours, gokart = runs[f"airflow_kart, {shape}"], runs.get(f"gokart, {shape}")
        best = median_of(ours, "best")
        measured.append(Measured(shape, median_of(ours), best, median_of(gokart) if gokart else None))
    return measured


def growth_exponent(measured: Sequence[Measured]) -> float:
    """Return the slope of time over nodes and edges, both logarithmic: 1 is linear, 2 is quadratic."""
    sizes = [math.log(one.shape.nodes + one.shape.edges) for one in measured]
    return statistics.linear_regression(sizes, [math.log(one.ours_best) for one in measured]).slope


if __name__ == "__main__":
    sys.exit(main())
