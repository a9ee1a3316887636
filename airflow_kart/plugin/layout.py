"""A layered drawing in numbers: which layer each box is in, where in the layer, and which lanes long lines take.

After Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures" (1981): layers follow the
longest path, the order in a layer follows the barycentre of neighbours. Positions are least squares, layer after layer.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

Edge = tuple[int, int]
"""From a box to another one downstream; boxes are numbers from 0."""
Point = tuple[int, int]
"""A box and a layer: the box itself in its own layer, its lane in later ones."""

_SWEEPS = 12
_STRAIGHT = 16  # how much more a lane, or a line of boxes without branches, wants to be straight than near to others


def layers(count: int, edges: Collection[Edge], most: int = 0) -> dict[int, int]:
    """Return the layer of each box: after everything upstream, and for a box that requires nothing before its first reader.

    Args:
        count: the number of boxes.
        edges: if they close a circle, one of them leads to an earlier layer.
        most: how many boxes a layer may have; zero for any number.
    """
    upstream, readers = _neighbours(edges)
    waiting = {box: set(upstream[box]) for box in range(count)}
    ready = [box for box in waiting if not waiting[box]]
    rank: dict[int, int] = {}
    while waiting:
        box = ready.pop() if ready else min(waiting, key=lambda one: (not readers[one], len(waiting[one])))  # of a circle
        del waiting[box]
        rank[box] = len(rank)
        for other in readers[box]:
            if other in waiting:
                waiting[other].discard(box)
                ready += [] if waiting[other] else [other]
    upstream, readers = _neighbours((a, b) if rank[a] < rank[b] else (b, a) for a, b in edges)
    found: dict[int, int] = {}
    for box in rank:
        found[box] = max((found[one] + 1 for one in upstream[box]), default=0)
    for box in rank:
        if readers[box] and not upstream[box]:
            found[box] = min(found[one] for one in readers[box]) - 1
    filled: Counter[int] = Counter()
    for box in sorted(rank, key=found.__getitem__) if most else ():
        layer = max((found[one] + 1 for one in upstream[box]), default=found[box])
        while filled[layer] >= most:
            layer += 1
        found[box] = layer
        filled[layer] += 1
    numbers = {layer: number for number, layer in enumerate(sorted(set(found.values())))}
    return {box: numbers[layer] for box, layer in found.items()}


def _neighbours(edges: Iterable[Edge]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    upstream: dict[int, list[int]] = defaultdict(list)
    readers: dict[int, list[int]] = defaultdict(list)
    for box, reader in sorted(set(edges)):
        upstream[reader].append(box)
        readers[box].append(reader)
    return upstream, readers


def way(layer: Mapping[int, int], edge: Edge) -> list[tuple[Point, Point]]:
    """Return the pieces of an edge, from layer to layer; edges of one box share its lane."""
    box, reader = sorted(edge, key=layer.__getitem__)
    return list(pairwise([*((box, number) for number in range(layer[box], layer[reader])), (reader, layer[reader])]))


class Positions:
    """Where boxes and lanes are across the layers.

    Args:
        layer: of each box.
        edges: between different boxes.
        breadth: of each box, across the layers; a lane has none.
        gap: between neighbours of a layer.
        room: for the boxes and lanes of a layer; a layer that needs more gets more.
    """

    middle: dict[Point, float]
    """The middle of each box and lane, with the drawing's beginning at zero."""

    def __init__(
        self, layer: Mapping[int, int], edges: Collection[Edge], breadth: Mapping[int, float], gap: float, room: float
    ) -> None:
        before: dict[Point, list[Point]] = defaultdict(list)
        after: dict[Point, list[Point]] = defaultdict(list)
        for one, other in sorted({piece for edge in edges for piece in way(layer, edge)}):
            after[one].append(other)
            before[other].append(one)
        rows: list[list[Point]] = [[] for _ in set(layer.values())]
        for point in sorted(set(layer.items()) | set(before)):
            rows[point[1]].append(point)
        self._before, self._after, self._gap = before, after, gap
        self._rows = rows = self._untangled(rows)
        self._size = size = {point: breadth[point[0]] * (layer[point[0]] == point[1]) for row in rows for point in row}
        self._room = max([room, *(sum(size[point] + gap for point in row) - gap for row in rows)])
        self.middle = dict.fromkeys(size, self._room / 2)
        self._place()
        first = min((at - size[point] / 2 for point, at in self.middle.items()), default=0.0)
        self.middle = {point: at - first for point, at in self.middle.items()}

    def _untangled(self, rows: list[list[Point]]) -> list[list[Point]]:
        """Order layers by the barycentre of neighbours, from both sides in turn; return the order with the fewest crossings."""
        best, fewest = rows, self._crossings(rows)
        for sweep in range(_SWEEPS):
            neighbours, step = (self._after, -1) if sweep % 2 else (self._before, 1)
            place = {point: float(number) for row in rows for number, point in enumerate(row)}
            found = []
            for row in rows[::step]:
                near = {point: [place[one] for one in neighbours[point] or [point]] for point in row}
                found.append(sorted(row, key=lambda point: sum(near[point]) / len(near[point])))
                place |= {point: float(number) for number, point in enumerate(found[-1])}
            rows = found[::step]
            if (crossings := self._crossings(rows)) < fewest:
                best, fewest = rows, crossings
        return best

    def _crossings(self, rows: list[list[Point]]) -> int:
        place = {point: number for row in rows for number, point in enumerate(row)}
        count = 0
        for row in rows:
            seen: list[int] = []
            for point in row:
                ends = [place[one] for one in self._after[point]]
                count += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    insort(seen, end)
        return count

    def _place(self) -> None:
        middle, size, following = self.middle, self._size, self._following()
        linked = set(following.items()) | {(other, one) for one, other in following.items()}
        for sweep in range(2 * _SWEEPS):
            for row in self._rows[:: 1 if sweep % 2 else -1]:
                wanted, weights = [], []
                for point in row:
                    near = self._before[point] + self._after[point]
                    if size[point]:  # a box looks at other boxes, as far as it has some
                        near = [one for one in near if size[one]] or near
                    strong = _STRAIGHT * (2 if size[point] else 1)
                    pulls = [(strong if (point, one) in linked else 1, middle[one]) for one in near or [point]]
                    weights.append(sum(weight for weight, _ in pulls))
                    wanted.append(sum(weight * at for weight, at in pulls) / weights[-1])
                self._spread(row, wanted, weights)
        for start in sorted(set(following) - set(following.values()), key=lambda point: not size[point]):
            self._straighten(start, following)

    def _following(self) -> dict[Point, Point]:
        """Return what follows a lane in its next layer, and what follows a box if the two have only each other."""
        found: dict[Point, Point] = {}
        for point in self._size:
            is_box = bool(self._size[point])
            kin = [one for one in self._after[point] if bool(self._size[one]) == is_box]
            if len(kin) == 1 and sum(bool(self._size[one]) == is_box for one in self._before[kin[0]]) == 1:
                found[point] = kin[0]
        return found

    def _spread(self, row: Sequence[Point], wanted: Sequence[float], weights: Sequence[float]) -> None:
        """Move a layer as near to the wanted positions as distances allow: isotonic regression by pooling adjacent violators."""
        offsets = [0.0] * len(row)
        for number, (one, other) in enumerate(pairwise(row), 1):
            offsets[number] = offsets[number - 1] + (self._size[one] + self._size[other]) / 2 + self._gap
        pools: list[tuple[float, float, int]] = []  # mean, weight, number of points
        for at, offset, weight in zip(wanted, offsets, weights, strict=True):
            pools.append((at - offset, weight, 1))
            while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
                (mean, own, length), (before, heavy, more) = pools.pop(), pools.pop()
                pools.append(((mean * own + before * heavy) / (own + heavy), own + heavy, length + more))
        least, most = self._size[row[0]] / 2, self._room - offsets[-1] - self._size[row[-1]] / 2
        means = [min(max(mean, least), most) for mean, _, length in pools for _ in range(length)]
        self.middle |= {point: mean + offset for point, mean, offset in zip(row, means, offsets, strict=True)}

    def _straighten(self, start: Point, following: Mapping[Point, Point]) -> None:
        """Move a lane, or a line of boxes, to one position as far as the neighbours in each layer leave one."""
        piece: list[Point] = []
        low, high = 0.0, self._room
        point: Point | None = start
        while point or piece:
            if point:
                row, half = self._rows[point[1]], self._size[point] / 2
                at = row.index(point)
                own = [half, self._room - half]
                for side, other in enumerate((row[at - 1 : at], row[at + 1 : at + 2])):
                    for one in other:
                        own[side] = self.middle[one] + (1 - 2 * side) * (self._size[one] / 2 + self._gap + half)
                if not piece or max(low, own[0]) <= min(high, own[1]):
                    piece.append(point)
                    low, high, point = max(low, own[0]), min(high, own[1]), following.get(point)
                    continue
            mean = sum(self.middle[one] for one in piece) / len(piece)
            self.middle |= dict.fromkeys(piece, min(max(mean, low), high))
            piece, low, high = [], 0.0, self._room
