"""The order of sets in pickles: equal sets are equal bytes, in whatever order a process iterates over them.

The hashes of texts differ in each process. The C pickler writes a set as it comes, and asks nobody. So the pickler of the
standard library in Python writes an object with sets inside, unless the object is so large that this would take seconds.
"""

from __future__ import annotations

import datetime as dt
import gc
import pickle
import types
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


_MOST = 50_000  # objects, which take about 0.2 s
_SETS = (set, frozenset)
_PLAIN = frozenset({str, bytes, int, float, bool, type(None), dt.date, dt.datetime})
_USUAL = frozenset({str, bytes, int, float, bool, type(None), list, tuple, dict})
_NO_DATA = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.FrameType)


class PlainSet(NamedTuple):
    """A set of plain values, reduced in order, for a pickler that writes sets as they come."""

    kind: type
    arguments: tuple[list[Any]]


def plain_set(obj: Any) -> PlainSet | None:
    """Return a set of plain values with its order; ``None`` for all else."""
    if type(obj) not in _SETS or not _PLAIN.issuperset(map(type, obj)):
        return None
    items = _in_order(obj)
    return None if items is None else PlainSet(type(obj), (items,))


def has_sets(obj: object) -> bool:
    """Whether an object of a moderate number of objects has sets inside, or functions, whose code may have some."""
    level: list[Any] = [obj]
    seen: set[int] = set()
    found = False
    while kinds := set(map(type, level)) - _PLAIN:
        found = found or not kinds.isdisjoint((*_SETS, types.FunctionType))
        walked = {kind for kind in kinds if not issubclass(kind, _NO_DATA)}
        inside = [one for one in level if type(one) in walked and id(one) not in seen]
        seen.update(map(id, inside))
        level = gc.get_referents(*inside)
        columns = [one.size for one in inside if type(one).__name__ == "ndarray" and one.dtype.kind == "O"]
        if len(seen) + len(level) + sum(columns) > _MOST:
            return False
    return found


def may_hold_sets(written: bytes) -> bool:
    """Whether a pickle has a byte that may be the code of a set: there are others, and rewriting costs only time."""
    return pickle.EMPTY_SET in written or pickle.FROZENSET in written


class SetOrderPickler(pickle._Pickler):  # noqa: SLF001 - the pickler in Python, which asks how to write a set, too
    """Writes sets in order where their elements have one, and asks another pickler how to reduce all else."""

    def __init__(self, stream: SupportsWrite[bytes], other: Any, protocol: int) -> None:
        super().__init__(stream, protocol)
        self._other = other
        self.dispatch_table = other.dispatch_table

    def reducer_override(self, obj: Any) -> Any:
        """Return the reduction of an object, or ``NotImplemented`` for the usual one."""
        if (kind := type(obj)) in _USUAL:
            return NotImplemented
        items = _in_order(obj) if kind in _SETS else None
        return self._other.reducer_override(obj) if items is None else (kind, (items,))

    def _save_buffer(self, buffer: pickle.PickleBuffer) -> None:
        """Write the bytes of an array as they are: the inherited method copies them, and holds the copies."""
        view = buffer.raw()
        code = pickle.BINBYTES8 if view.readonly else pickle.BYTEARRAY8
        self._write_large_bytes(code + view.nbytes.to_bytes(8, "little"), view)  # type: ignore[attr-defined]  # not in typeshed

    dispatch: ClassVar[Any] = {**pickle._Pickler.dispatch, pickle.PickleBuffer: _save_buffer}  # noqa: SLF001


def _in_order(some: Collection[Any]) -> list[Any] | None:
    """Return the elements of a set in one order for all processes; ``None`` where there is no such order."""
    try:
        if set(map(type, some)) in ({str}, {int}, {bytes}):
            return sorted(some)
        looks = iter(range(_MOST + 4 * len(some)))
        return sorted(some, key=lambda value: _key(value, looks))
    except TypeError:
        return None


def _key(value: Any, looks: Iterator[int]) -> tuple[str, Any]:
    """Return what orders a value among others.

    Args:
        value: the value.
        looks: one is taken for each part: sets that share parts may have more of them than memory holds.

    Raises:
        TypeError: nothing does, or there are too many parts.
    """
    kind = type(value)
    if next(looks, None) is None:
        raise TypeError
    if kind is tuple or kind is frozenset:
        keys = [_key(item, looks) for item in value]
        return kind.__name__, keys if kind is tuple else sorted(keys)
    if kind not in _PLAIN or value != value:  # noqa: PLR0124 - not a number
        raise TypeError
    return kind.__name__, value
