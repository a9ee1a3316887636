"""Tables cut to zero rows, however deep inside a value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")

# By library: the classes that hold rows, and a function that keeps no rows.
_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Any], object]]] = {
    "pandas": (("DataFrame", "Series"), lambda table: table.iloc[:0]),
    "polars": (("DataFrame", "LazyFrame", "Series"), lambda table: table.head(0)),
    "pyarrow": (("Table", "RecordBatch"), lambda table: table.slice(0, 0)),
}


def emptied(value: T) -> T:
    """Return a value with every table cut to zero rows; columns and types stay.

    The search covers tables and columns of pandas, polars and pyarrow, and dicts, lists and tuples, however nested. A
    value without tables is returned unchanged.
    """
    return cast(T, _emptied(value, {}))


def _emptied(value: object, seen: dict[int, object]) -> object:
    if id(value) in seen:
        return seen[id(value)]
    for library, (names, cut) in _TABLES.items():
        loaded = sys.modules.get(library)  # what was never imported made no table
        if loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in names)):
            return cut(value)
    if not isinstance(value, (dict, list, tuple)) or type(value) not in (dict, list, tuple):
        return value
    seen[id(value)] = value  # a container inside itself stays as it is
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    changed = [(key, _emptied(item, seen)) for key, item in items]
    if all(new is old for (_, new), (_, old) in zip(changed, items, strict=True)):
        return value
    seen[id(value)] = dict(changed) if isinstance(value, dict) else type(value)(item for _, item in changed)
    return seen[id(value)]
