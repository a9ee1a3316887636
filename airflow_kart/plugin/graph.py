"""The graph of a run: boxes and lines with their places, which ``templates/graph.html`` writes as SVG.

Many tasks of a class are one box, with a mark for each task or with a bar of outcomes. More than sixty boxes are gathered by
layers. So the size of a drawing has a bound, whatever the number of tasks.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_kart.identity.spelling import snake_case
from airflow_kart.plugin.layout import Edge, Point, Positions, layers, way
from airflow_kart.plugin.words import OUTCOMES, clean, cut, seconds_text

if TYPE_CHECKING:  # Airflow's models take a second to import
    from airflow_kart.plugin.airflow_runs import KartRun
    from airflow_kart.plugin.rows import TaskRow

OLDER = "older"
"""The outcome of a reused task whose artifact older code made."""
MOST = 60
"""How many boxes a drawing has at most."""

_SHOWN = {**dict(list(OUTCOMES.items())[:5]), OLDER: ("stale", "of older code"), **OUTCOMES}
_KINDS = ("", "late", "hot")
_DEEPEST, _TALLEST, _WIDEST = 6, 24, 3  # layers beside each other, boxes of such a layer, boxes of a layer downwards
_MOST_PAIRS = 10_000  # of two mapped tasks
_FEWEST = 3  # tasks of a class that become one box in a small graph
_MARKED, _MARKED_IN_ALL = 32, 200  # tasks with a mark each: of a class, and of a graph
_EDGE, _ROUND, _LINE, _HIGH, _MARK, _ROOM = 12, 10, 16, 56, 15, 940
_NARROW = frozenset(" ,.:;'|!()[]-/fijlrt")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Node:
    """A task."""

    id: str
    cls: str
    """The logical name of the class."""
    outcome: str
    """A key of :data:`~airflow_kart.plugin.words.OUTCOMES`, or :data:`OLDER`."""
    which: Mapping[str, str] = field(default_factory=dict)
    """The parameters that tell the task from others of its class."""
    href: str = ""
    detail: str = ""
    """More about the outcome, such as the seconds."""

    @property
    def icon(self) -> str:
        """The icon of the outcome."""
        return _SHOWN[self.outcome][0]

    @property
    def title(self) -> str:
        """The task in a few words."""
        return cut(f"{range_of([self]) or self.id}: {_SHOWN[self.outcome][1]}")


@dataclass
class Box:
    """A task, or the tasks of a class."""

    name: str
    nodes: Sequence[Node]
    href: str
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    title: str = ""
    """The whole of what the box says."""
    which: str = ""
    said: Sequence[str] = ()
    """The outcomes in words, in lines."""
    marks: Sequence[Sequence[Node]] = ()
    """The tasks of a box with a mark for each, in rows."""
    bar: Sequence[tuple[str, float, float]] = ()
    """Icons of outcomes with beginning and width of their shares, for other boxes of several tasks."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of tasks by outcome, the outcome that matters most first."""
        found = Counter(node.outcome for node in self.nodes)
        return {outcome: found[outcome] for outcome in _SHOWN if found[outcome]}

    @property
    def icon(self) -> str:
        """The icon of the outcome that matters most."""
        return _SHOWN[next(iter(self.counts))][0]

    def write(self, width: int, downwards: bool, is_marked: bool) -> None:
        """Fit texts and marks into a width, and find the height."""
        room, count, counts, which = width - 2 * _ROUND, len(self.nodes), self.counts, range_of(self.nodes)
        said = ", ".join(f"{each:,} {_SHOWN[outcome][1]}".replace(" ", "\xa0") for outcome, each in counts.items())
        if count == 1:
            said = " · ".join(filter(None, (_SHOWN[self.nodes[0].outcome][1], self.nodes[0].detail)))
        tasks = f", {count:,} tasks" if count > 1 else ""
        self.title = cut(f"{self.name}{tasks}{which and ', '}{which}", 400) + cut(f": {said}".replace("\xa0", " "), 400)
        if is_marked and 1 < count <= _MARKED:
            row = room // _MARK
            self.marks = [self.nodes[at : at + row] for at in range(0, count, row)]
        elif downwards or count > 1:
            self.bar = _bar(counts, room)
        self.name = fitting(self.name, room - 20 - 8 * len(f"{count:,}"), 13)
        lines = [said] if downwards else textwrap.wrap(said, room // 5, break_long_words=False)
        self.said = [fitting(text.replace("\xa0", " "), room - 50 * downwards) for text in lines]
        self.which = fitting(which, room - 28 - 7.2 * len(self.name) if downwards else room)
        rows = _LINE * (bool(which) + len(lines)) + (8 + _MARK * len(self.marks) if self.marks else 14 * bool(self.bar))
        self.width, self.height = width, _HIGH if downwards else 30 + rows


@dataclass(frozen=True)
class Drawing:
    """A graph in pixels."""

    width: int
    height: int
    tasks: int
    downwards: bool
    gathered: bool
    """Whether boxes hold several classes."""
    boxes: Sequence[Box]
    wires: Mapping[str, str]
    """The lines of a kind as the path of an SVG: ``hot`` between tasks that ran, ``late`` to tasks that are to come, or empty."""
    tips: Mapping[str, str]


def drawing(
    nodes: Iterable[Node],
    edges: Iterable[tuple[str, str]],
    href_of_class: Callable[[str], str] = lambda _: "",
    each: bool = False,
) -> Drawing:
    """Draw tasks and what they require.

    Args:
        nodes: the tasks.
        edges: the ids of a task and of one that requires it; an edge of an unknown task is left out.
        href_of_class: where the box of a class leads.
        each: draw each task by itself, if there are no more than :data:`MOST`.
    """
    tasks = {node.id: node for node in nodes}
    pairs = [(one, other) for one, other in edges if one in tasks and other in tasks]
    boxes = _by_class(tasks.values(), href_of_class, each)
    lines = _lines(boxes, pairs)
    if gathered := len(boxes) > MOST:
        boxes = _by_layer(boxes, lines)
        lines = {(a, b): kind for (a, b), kind in _lines(boxes, pairs).items() if a != b}
    between = {(a, b) for a, b in lines if a != b}
    layer = layers(len(boxes), between)
    count, tallest = len(set(layer.values())), max(Counter(layer.values()).values(), default=0)
    downwards = count > _DEEPEST or tallest > _TALLEST
    layer = layers(len(boxes), between, _WIDEST) if downwards else layer
    width, gap = (264, 30) if downwards else (190, 56) if count <= 4 else (140, 21)
    for box in boxes:
        box.write(width, downwards, is_marked=not (downwards or gathered) and len(tasks) <= _MARKED_IN_ALL)
    breadth = {number: box.width if downwards else box.height for number, box in enumerate(boxes)}
    middle = Positions(layer, between, breadth, 18, _ROOM).middle
    pen = _Pen(downwards, _HIGH if downwards else width, gap)
    for number, box in enumerate(boxes):
        box.x, box.y = pen.place(layer[number] * pen.step, middle[number, layer[number]] - breadth[number] / 2)
        if (number, number) in lines:  # tasks of a class that require others of the class
            pen.add(pen.wires, lines[number, number], f"M{box.x + box.width - 34} {box.y}c0-11 16-11 16-3")
            pen.add(pen.tips, lines[number, number], f"M{box.x + box.width - 18} {box.y}l-3.5-7h7z")
    pen.lines(layer, middle, breadth, lines)
    reach = round(max(middle.values(), default=0)) + _EDGE
    wide = max([box.x + box.width for box in boxes] + [reach] * downwards, default=0)
    high = max([box.y + box.height for box in boxes] + [reach] * (not downwards), default=0)
    in_order = sorted(boxes, key=lambda box: (box.y, box.x) if downwards else (box.x, box.y))
    return Drawing(wide + _EDGE, high + _EDGE, len(tasks), downwards, gathered, in_order, pen.wires, pen.tips)


def graph_of(run: KartRun, rows: Sequence[TaskRow], here: str, each: bool) -> Drawing:
    """Draw the tasks of a run.

    Args:
        run: the run.
        rows: its tasks.
        here: the address of the run's page.
        each: as for :func:`drawing`.
    """
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.task_id, []).append(row.name)
    edges = (
        pair
        for task_id in names
        for reader in run.structure.downstream(task_id)
        for pair in islice(product(names[task_id], names.get(reader, ())), _MOST_PAIRS)
    )
    return drawing(
        map(_node, rows), edges, lambda cls: f"{here}?q={quote(snake_case(cls.rpartition('.')[2]))}#h-tasks", each
    )


def _node(row: TaskRow) -> Node:
    which = {name: value for name, _, value in (part.partition("=") for part in row.label.split(", ")) if name}
    detail = seconds_text(row.took if row.took is not None else row.saved)
    return Node(row.name, row.task_class or row.task_id, OLDER if row.older_code else row.outcome, which, row.href, detail)


def fitting(text: str, width: float, size: float = 11.5) -> str:
    """Return a text that takes no more pixels than a width in usual fonts, cut where too long; a server measures no text."""
    taken, shown = 0.0, clean(text[:500])
    for number, char in enumerate(shown):
        wide = unicodedata.east_asian_width(char) in "WF"
        taken += size * (1 if wide else 0.38 if char in _NARROW else 0.62 if char.islower() or char.isdigit() else 0.72)
        if taken > width:
            return shown[: max(number - 1, 0)].rstrip() + "…"
    return shown


def range_of(nodes: Collection[Node]) -> str:
    """Return which tasks of a class these are: ``day 02-23 … 03-02``, ``horizon=1, 7, 28``, ``fold=1 … 3, region``."""
    values: dict[str, set[str]] = {}
    for node in nodes:
        for name, value in node.which.items():
            values.setdefault(name, set()).add(value)
    parts: list[str] = []
    for name, found in values.items():
        some = sorted(found, key=natural)
        if parts and len(nodes) > 1:
            parts.append(name)
            continue
        is_dates = len(some) > 1 and all(map(_DATE.fullmatch, some))
        start = 5 if is_dates and some[0][:4] == some[-1][:4] else 0
        ends = [one[start:] for one in some]
        shown = ", ".join(ends) if len(some) <= (2 if is_dates else 3) else f"{ends[0]} … {ends[-1]}"
        parts.append(f"{name}{' ' if is_dates else '='}{shown}")
    return ", ".join(parts)


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers within texts by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,15})", text) if part]


def _by_class(tasks: Collection[Node], href_of_class: Callable[[str], str], each: bool) -> list[Box]:
    fewest = 2 if len(tasks) > MOST else len(tasks) + 1 if each else _FEWEST
    by_class: dict[str, list[Node]] = {}
    for node in sorted(tasks, key=lambda node: [natural(value) for value in node.which.values()]):
        by_class.setdefault(node.cls, []).append(node)
    boxes = []
    for cls, found in by_class.items():
        name = cls.rpartition(".")[2]
        one = [Box(name, found, href_of_class(cls))]
        boxes += one if len(found) >= fewest else [Box(name, [node], node.href) for node in found]
    return boxes


def _by_layer(boxes: Sequence[Box], lines: Collection[Edge]) -> list[Box]:
    """Gather the classes of a layer, or of neighbouring layers, in one box."""
    layer = layers(len(boxes), {(a, b) for a, b in lines if a != b})
    gathered: dict[int, list[Box]] = {}
    for number, box in enumerate(boxes):
        gathered.setdefault(layer[number] * MOST // max(1 + max(layer.values()), MOST), []).append(box)
    several = "{:,} classes".format
    return [
        some[0] if len(some) == 1 else Box(several(len(some)), [node for box in some for node in box.nodes], "")
        for some in gathered.values()
    ]


def _lines(boxes: Sequence[Box], pairs: Iterable[tuple[str, str]]) -> dict[Edge, int]:
    """Return the lines between boxes, with the index of the kind that matters most."""
    place = {node.id: (number, node.outcome) for number, box in enumerate(boxes) for node in box.nodes}
    found: dict[Edge, int] = {}
    for one, other in pairs:
        (start, before), (end, after) = place[one], place[other]
        kind = 2 if before == after == "ran" else 1 if after in ("waiting", "running", "run") else 0
        found[start, end] = max(kind, found.get((start, end), 0))
    return found


class _Pen:
    """Draws lines, with layers beside each other or downwards."""

    def __init__(self, downwards: bool, thick: int, gap: int) -> None:
        self.downwards, self.thick, self.step = downwards, thick, thick + gap
        self.wires: dict[str, str] = {}
        self.tips: dict[str, str] = {}

    def place(self, along: float, across: float) -> tuple[int, int]:
        """Return x and y."""
        one, other = round(along) + _EDGE, round(across) + _EDGE
        return (other, one) if self.downwards else (one, other)

    def lines(
        self,
        layer: Mapping[int, int],
        middle: Mapping[Point, float],
        breadth: Mapping[int, float],
        lines: Mapping[Edge, int],
    ) -> None:
        """Draw the lines between boxes; lines from one box share their way as far as that is the same."""
        kinds: dict[tuple[Point, Point], int] = {}
        for edge, kind in lines.items():
            for piece in way(layer, edge) if edge[0] != edge[1] else ():
                kinds[piece] = max(kind, kinds.get(piece, 0))
        into: dict[Point, list[Point]] = {}
        for start, end in sorted(kinds, key=lambda piece: middle[piece[0]]):
            into.setdefault(end, []).append(start)
        for (start, end), kind in sorted(kinds.items()):
            edge, before, after, far = (start[0], end[0]), start[1] * self.step + self.thick, end[1] * self.step, middle[end]
            if layer[end[0]] != end[1]:
                self._wire(kind, (before, middle[start]), (after, far), (after + self.thick, far))
                continue
            others = into[end]
            far += (others.index(start) - (len(others) - 1) / 2) * min(10, (breadth[end[0]] - 2 * _ROUND) / len(others))
            self._wire(kind, (before, middle[start]), (after - 5 * (edge in lines), far))
            if edge in lines:
                self._tip(lines[edge], (after, far), "l-3.5-7h7z" if self.downwards else "l-7-3.5v7z")
            if (back := (end[0], start[0])) in lines:
                at = layer[start[0]] * self.step + self.thick, middle[start[0], layer[start[0]]]
                self._tip(lines[back], at, "l-3.5 7h7z" if self.downwards else "l7-3.5v7z")

    def _wire(self, kind: int, start: tuple[float, float], end: tuple[float, float], *more: tuple[float, float]) -> None:
        half = (start[0] + end[0]) / 2
        x = [number for point in (start, (half, start[1]), (half, end[1]), end, *more) for number in self.place(*point)]
        self.add(self.wires, kind, ("M{} {}C{} {} {} {} {} {}" + "L{} {}" * len(more)).format(*x))

    def _tip(self, kind: int, at: tuple[float, float], shape: str) -> None:
        self.add(self.tips, kind, "M{} {}".format(*self.place(*at)) + shape)

    @staticmethod
    def add(paths: dict[str, str], kind: int, path: str) -> None:
        """Add a piece to the path of a kind."""
        paths[_KINDS[kind]] = paths.get(_KINDS[kind], "") + path


def _bar(counts: Mapping[str, int], room: int) -> list[tuple[str, float, float]]:
    """Return the shares of outcomes, each wide enough to be seen."""
    least, gap, at, shares = 3.0, 1.5, 0.0, []
    free = room - (least + gap) * len(counts) + gap
    for outcome, count in counts.items():
        width = least + free * count / sum(counts.values())
        shares.append((_SHOWN[outcome][0], round(at, 1), round(width, 1)))
        at += width + gap
    return shares
