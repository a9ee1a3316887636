"""The differences between two objects by path: ``$.model.depth``, ``$['rows'][3]``; of tables by column and row.

Any object may come: one whose ``__eq__`` or ``__repr__`` raises, one that holds itself, one of a class without Python
attributes. What pickle would write of an object then tells the object from others.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from airflow_kart.audit.differences.tables import is_table, table_differences, type_text
from airflow_kart.audit.differences.values import Delta, changed, distance, same, shown, words
from airflow_kart.formats.base import type_name

_DEEPEST = 100
_MOST_LINES = 5_000
_MOST_SHOWN = 4  # lines for each row of a table
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), type, types.ModuleType)


def object_differences(before: object, after: object, *, rows: int, notes: list[str], path: str = "$") -> Iterator[Delta]:
    """Return the differences between two objects; none for equal ones.

    Args:
        before: the first.
        after: the second.
        rows: how many differing rows of a table, elements of an array, or lines of a text to show.
        notes: receives how rows were matched, and what was left out.
        path: of the objects.
    """
    yield from _Walk(rows, notes).differences(path, before, after, 0)


class _Walk:
    def __init__(self, rows: int, notes: list[str]) -> None:
        self._rows, self._notes = rows, notes
        self._seen: dict[tuple[int, int], tuple[object, object]] = {}  # keeps the objects, so that no id is used again

    def differences(self, path: str, before: Any, after: Any, depth: int) -> Iterator[Delta]:
        known = (id(before), id(after)) in self._seen
        if before is after or known:
            return
        if isinstance(before, _PLAIN) or isinstance(after, _PLAIN):
            yield from self._of_plain(path, before, after)
        elif is_table(before) and is_table(after):
            yield from table_differences(path, before, after, rows=self._rows, notes=self._notes)
        elif type(before) is not type(after):
            yield changed(path, before, after)
        else:
            self._seen[id(before), id(after)] = before, after
            try:
                if depth > _DEEPEST:
                    raise RecursionError
                yield from self._inside(path, before, after, depth)
            except Exception as error:  # noqa: BLE001 - objects may refuse a look in any way
                self._note(
                    f"{path}: a {type_name(before)} is compared by ==, since a look inside raised {type(error).__name__}"
                )
                if not same(before, after):
                    yield changed(path, before, after)

    def _inside(self, path: str, before: Any, after: Any, depth: int) -> Iterator[Delta]:
        if isinstance(before, Mapping):
            yield from self._of_mappings(path, before, after, depth)
        elif isinstance(before, AbstractSet):
            yield from (Delta(f"{path}{{}}", "gone", shown(one)) for one in _sorted(before - after))
            yield from (Delta(f"{path}{{}}", "added", None, shown(one)) for one in _sorted(after - before))
        elif (arrays := [_array_of(value) for value in (before, after)]) and not any(array is None for array in arrays):
            kinds = [type_text(getattr(value, "dtype", "")) for value in (before, after)]
            if kinds[0] != kinds[1] and arrays[0].dtype == arrays[1].dtype:  # categorical arrays
                yield Delta(f"{path}.dtype", "changed", *map(shown, kinds))
            yield from self._of_arrays(path, *arrays)
            yield from self._of_masks(path, before, after)
        elif isinstance(before, (types.FunctionType, types.MethodType)):
            codes = [
                (one.__module__, one.__qualname__, one.__code__.co_code, one.__code__.co_consts) for one in (before, after)
            ]
            if words(codes[0]) != words(codes[1]):
                yield changed(path, before, after)
        elif isinstance(before, Sequence) and not isinstance(before, range):
            for index, (one, other) in enumerate(zip(before, after)):  # noqa: B905 - the rest follows
                yield from self.differences(f"{path}[{index}]", one, other, depth + 1)
            shorter = min(len(before), len(after))
            yield from (Delta(f"{path}[{shorter + n}]", "gone", shown(one)) for n, one in enumerate(before[shorter:]))
            yield from (Delta(f"{path}[{shorter + n}]", "added", None, shown(one)) for n, one in enumerate(after[shorter:]))
        else:
            yield from self._of_objects(path, before, after, depth)

    def _of_plain(self, path: str, before: object, after: object) -> Iterator[Delta]:
        if isinstance(before, str) and isinstance(after, str) and ("\n" in before or "\n" in after):
            if before != after:
                pair = [text.splitlines()[:_MOST_LINES] for text in (before, after)]
                lines = list(difflib.unified_diff(pair[0], pair[1], "before", "after", n=1, lineterm=""))
                yield Delta(path, "changed", f"{len(before):,} characters", "\n".join(lines[: _MOST_SHOWN * self._rows]))
        elif isinstance(before, (bytes, bytearray)) and isinstance(after, (bytes, bytearray)):
            if before != after:
                pairs = enumerate(zip(before, after))  # noqa: B905 - of different lengths, perhaps
                first = next((n for n, (one, other) in pairs if one != other), min(len(before), len(after)))
                one, other = (
                    f"{len(data):,} bytes, from byte {first:,} on {data[first : first + 16].hex()}"
                    for data in (before, after)
                )
                yield Delta(path, "changed", one, other)
        elif not same(before, after):
            yield changed(path, before, after)

    def _of_mappings(self, path: str, before: Any, after: Any, depth: int) -> Iterator[Delta]:
        for key in before:
            inner = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{words(key)}]"
            if key not in after:
                yield Delta(inner, "gone", shown(before[key]))
            else:
                yield from self.differences(inner, before[key], after[key], depth + 1)
        for key in after:
            if key not in before:
                inner = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{words(key)}]"
                yield Delta(inner, "added", None, shown(after[key]))

    def _of_arrays(self, path: str, before: Any, after: Any) -> Iterator[Delta]:
        import numpy as np

        for name in ("dtype", "shape"):
            if getattr(before, name) != getattr(after, name):
                yield Delta(f"{path}.{name}", "changed", *(str(getattr(array, name)) for array in (before, after)))
        if before.shape != after.shape:
            return
        if before.dtype.kind == "O" or before.dtype.names:
            apart = np.array([not same(one, other) for one, other in zip(before.flat, after.flat, strict=True)], bool)
            apart = apart.reshape(before.shape)
        else:
            apart = (before != after) & ~((before != before) & (after != after))  # noqa: PLR0124 - only nan differs from itself
        if count := int(np.count_nonzero(apart)):
            yield Delta(
                f"{path}[...]", "changed", f"{before.size:,} elements", {"differing": count, **distance(before, after)}
            )
            for index in islice(np.argwhere(apart), self._rows):
                place = tuple(map(int, index))
                yield changed(f"{path}[{', '.join(map(str, place))}]", before[place], after[place])

    def _of_masks(self, path: str, before: Any, after: Any) -> Iterator[Delta]:
        import numpy as np

        if isinstance(before, np.ma.MaskedArray) and before.shape == after.shape:
            yield from self._of_arrays(f"{path}.mask", *(np.ma.getmaskarray(array) for array in (before, after)))
            if words(before.fill_value) != words(after.fill_value):
                yield changed(f"{path}.fill_value", before.fill_value, after.fill_value)

    def _of_objects(self, path: str, before: Any, after: Any, depth: int) -> Iterator[Delta]:
        """Compare by attributes, else by what pickle would write."""
        if _is_value(before):
            looks = words(before), words(after)
            if looks[0] != looks[1] and not any(" at 0x" in look for look in looks):
                yield changed(path, before, after)
                return
            if same(before, after):
                return
        parts = [_attributes(value) for value in (before, after)]
        if None in parts:
            if same(before, after):
                return
            written = [value.__reduce_ex__(4) for value in (before, after)]
            if any(isinstance(part, str) or (part[1] == (type(before),) and not any(part[2:])) for part in written):
                yield changed(path, before, after)
                return
            parts = [
                {"args": p[1], "state": p[2], "items": [list(more) for more in p[3:5] if more]}
                for p in map(_padded, written)
            ]
            path = f"{path}.__reduce__()"
        one, other = (part or {} for part in parts)
        for name in {**one, **other}:
            if name not in one or name not in other:
                yield Delta(
                    f"{path}.{name}", "gone" if name in one else "added", shown(one.get(name)), shown(other.get(name))
                )
            else:
                yield from self.differences(f"{path}.{name}", one[name], other[name], depth + 1)

    def _note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < self._rows:
            self._notes.append(text)


def _array_of(value: Any) -> Any:
    """Return an object as an array of numpy: an array, an image, a tensor; ``None`` for any other object."""
    if not any(hasattr(type(value), name) for name in ("__array__", "__array_interface__")):
        return None
    import numpy as np

    found = np.asarray(value)
    return found if found.ndim or isinstance(value, np.ndarray) else None


def _is_value(value: object) -> bool:
    """Whether an object is one value, such as a date or a path, although its class has attributes."""
    cls = type(value)
    fields = ("__dataclass_fields__", "__attrs_attrs__", "model_fields")
    return cls.__hash__ not in (None, object.__hash__) and not any(hasattr(cls, name) for name in fields)


def _attributes(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object of a Python class, slots included; ``None`` for an object without any."""
    slots = [name for cls in type(value).__mro__ for name in _listed(vars(cls).get("__slots__", ()))]
    found = {name: getattr(value, name) for name in slots if not name.startswith("__") and hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})} or None


def _listed(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def _padded(parts: Any) -> tuple[Any, ...]:
    return (*parts, None, None, None, None)[:6]


def _sorted(values: Any) -> list[Any]:
    return sorted(values, key=words)
