"""The differences between two tables, of pandas, polars or pyarrow: schema, rows, columns, and the first differing rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from airflow_kart.artifacts.sidecar.jsonable import Json
from airflow_kart.audit.differences.values import Delta, distance, same, shown
from airflow_kart.formats.base import type_name
from airflow_kart.formats.table_kind import kind_of_table

_Array: TypeAlias = "np.ndarray[Any, Any]"

_MOST_MATCHED = 1_000_000
"""Rows of a table whose rows are matched by a key, and whose distinct values are counted."""
_INDEX = "index"


def is_table(value: object) -> bool:
    """Whether an object is a table, a column, or an index of pandas, polars or pyarrow."""
    return kind_of_table(value) is not None or _is_column(value)


def type_text(dtype: Any) -> str:
    """Return the text of a type of values; of a categorical one with its categories, in their order."""
    if not hasattr(dtype, "categories") or not hasattr(dtype, "ordered"):
        return str(dtype)
    return f"{dtype} {'ordered' if dtype.ordered else 'unordered'}: {list(dtype.categories)!r}"


def table_differences(path: str, before: Any, after: Any, *, rows: int, notes: list[str]) -> Iterator[Delta]:
    """Return the differences between two tables, perhaps of different libraries.

    Rows are matched by the only column of unique values that both have, or by an index of pandas that counts no rows; else by
    position.

    Args:
        path: of the tables in their objects.
        before: the first.
        after: the second.
        rows: how many differing rows to show.
        notes: receives how rows were matched, and what was left out.
    """
    if type_name(before) != type_name(after):
        yield Delta(path, "changed", type_name(before), type_name(after))
    one, other = _table_of(before), _table_of(after)
    yield from _of_schemas(path, one, other)
    common = [name for name in one.columns if name in other.columns]
    key, places = _matched(one, other, common, notes, path)
    if moved := int(np.count_nonzero(np.diff(places[1]) < 0)):
        yield Delta(f"{path}.order", "changed", None, f"rows in another order, {moved:,} of them before their predecessor")
    differing: dict[int, list[Any]] = {}
    for name in common:
        pair = one.columns[name].taken(places[0]), other.columns[name].taken(places[1])
        apart = np.flatnonzero(_apart(*pair))
        if len(apart) or one.rows != other.rows:
            yield from _of_columns(f"{path}[{name!r}]", (one.columns[name], other.columns[name]), pair, len(apart))
        for row in apart[:rows].tolist():
            differing.setdefault(row, []).append(name)
    for row in sorted(differing)[:rows]:
        at = [int(place[row]) for place in places]
        where = f"row {at[0]}" if key is None else f"{key}={one.columns[key].shown_at(at[0])}"
        yield Delta(
            f"{path}[{where}]", "changed", *(table.row(n, differing[row]) for table, n in zip((one, other), at, strict=True))
        )
    if key is not None:
        yield from _alone(path, "gone", key, one, places[0], rows=rows, notes=notes)
        yield from _alone(path, "added", key, other, places[1], rows=rows, notes=notes)


def _alone(
    path: str, change: str, key: Any, table: _Table, places: _Array, *, rows: int, notes: list[str]
) -> Iterator[Delta]:
    """Return the first rows of a table that have no partner in the other."""
    alone = np.setdiff1d(np.arange(table.rows), places)
    for number in alone[:rows].tolist():
        sides = (table.row(number), None) if change == "gone" else (None, table.row(number))
        yield Delta(f"{path}[{key}={table.columns[key].shown_at(number)}]", change, *sides)
    if len(alone) > rows:
        notes.append(f"{path}: {len(alone):,} rows are {change}, {rows} of them shown")


def _of_schemas(path: str, one: _Table, other: _Table) -> Iterator[Delta]:
    for name in {**one.types, **other.types}:
        if one.types.get(name) != other.types.get(name):
            change = "gone" if name not in other.types else "added" if name not in one.types else "changed"
            pair = [shown(types.get(name)) for types in (one.types, other.types)]
            yield Delta(f"{path}[{name!r}].dtype", change, *pair)
    if one.types.keys() == other.types.keys() and list(one.types) != list(other.types):
        yield Delta(f"{path}.columns", "changed", *(", ".join(map(str, table.types)) for table in (one, other)))
    for name in {**one.labels, **other.labels}:
        names = [table.labels.get(name, "[None]") for table in (one, other)]
        if names[0] != names[1]:
            yield Delta(f"{path}.{name}", "changed", *names)
    if one.rows != other.rows:
        yield Delta(f"{path}.rows", "changed", one.rows, other.rows)


def _of_columns(
    path: str, whole: tuple[_Column, _Column], matched: tuple[_Column, _Column], differing: int
) -> Iterator[Delta]:
    """Return the difference of two columns: what of their statistics differs, and how far numbers are apart."""
    before, after = (column.statistics() for column in whole)
    names = {each for each in before | after if before.get(each) != after.get(each)}
    if differing or names:
        numbers = [column.values for column in matched]
        apart = distance(*numbers) if all(each.dtype.kind in "iufc" for each in numbers) else {}
        found = [{name: value for name, value in part.items() if name in names} for part in (before, after)]
        yield Delta(path, "changed", found[0], {"differing": differing, **apart, **found[1]})


@dataclass(frozen=True)
class _Column:
    values: _Array
    nulls: _Array

    def taken(self, places: _Array) -> _Column:
        return _Column(self.values[places], self.nulls[places])

    def shown_at(self, row: int) -> Json:
        return None if self.nulls[row] and self.values.dtype.kind != "f" else shown(self.values[row])

    def statistics(self) -> dict[str, Json]:
        """Return the number of nulls, least and largest value, mean, and number of values, where these are cheap to find."""
        found: dict[str, Json] = {"nulls": int(np.count_nonzero(self.nulls))}
        there = self.values[~self.nulls]
        with suppress(TypeError, ValueError):  # objects without an order
            if len(there):
                found |= {"min": shown(there.min()), "max": shown(there.max())}
        if there.dtype.kind in "biuf" and len(there):
            found["mean"] = shown(there.mean(dtype="float64"))
        if there.dtype.kind in "OUT" and len(there) <= _MOST_MATCHED:
            with suppress(TypeError):  # values without a hash
                found["distinct"] = len(set(there.tolist()))
        return found

    def is_key(self) -> bool:
        if self.values.dtype.kind == "f" or self.nulls.any():
            return False
        try:
            return len(set(self.values.tolist())) == len(self.values)
        except TypeError:  # values without a hash
            return False


@dataclass(frozen=True)
class _Table:
    types: dict[Any, str]
    columns: dict[Any, _Column]
    rows: int
    index: bool = False
    """Whether there is an index of pandas that does more than count the rows."""
    labels: dict[str, str] = field(default_factory=dict)
    """The names of an index of pandas, and of its columns."""

    def row(self, number: int, names: Iterable[Any] | None = None) -> dict[str, Json]:
        return {str(name): self.columns[name].shown_at(number) for name in (self.columns if names is None else names)}


def _is_column(value: object) -> bool:
    cls = type(value)
    library = cls.__module__.partition(".")[0]
    names = {each.__name__ for each in cls.__mro__}
    return (library == "pandas" and bool(names & {"Series", "Index"})) or (library == "polars" and cls.__name__ == "Series")


def _table_of(value: Any) -> _Table:
    if _is_column(value):
        value = (
            value.to_frame() if "Index" not in {cls.__name__ for cls in type(value).__mro__} else value.to_frame(index=False)
        )
    kind = kind_of_table(value)
    if kind == "pandas":
        index = value.index
        counts = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1
        twice = not value.columns.is_unique
        names = [f"{name}#{n}" for n, name in enumerate(value.columns)] if twice else list(value.columns)
        series = {name: value.iloc[:, n] for n, name in enumerate(names)}
        if not counts:
            series = {_INDEX: index.to_flat_index().to_series(), **series}
        columns = {name: _Column(_plain(each.to_numpy()), each.isna().to_numpy()) for name, each in series.items()}
        labels = {f"{axis}.names": repr(list(getattr(value, axis).names)) for axis in ("index", "columns")}
        types = {name: type_text(each.dtype) for name, each in series.items()}
        return _Table(types, columns, len(value), not counts, labels)
    if kind == "polars-lazy":
        value = value.collect()
    if kind == "pyarrow":
        arrays = {name: value.column(name) for name in value.column_names}
        types = {field.name: str(field.type) for field in value.schema}
        columns = {
            name: _Column(_plain(each.to_numpy()), np.asarray(each.is_null().to_numpy(), bool))
            for name, each in arrays.items()
        }
        return _Table(types, columns, value.num_rows)
    columns = {each.name: _Column(_plain(each.to_numpy()), each.is_null().to_numpy()) for each in value.get_columns()}
    return _Table({name: str(each) for name, each in value.schema.items()}, columns, value.height)


def _plain(values: Any) -> _Array:
    return values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)


def _matched(
    one: _Table, other: _Table, common: list[Any], notes: list[str], path: str
) -> tuple[Any, tuple[_Array, _Array]]:
    """Return the name of the key, ``None`` for positions, and the places of the matching rows in both tables."""
    positions = np.arange(min(one.rows, other.rows))
    by_position = None, (positions, positions)
    if max(one.rows, other.rows) > _MOST_MATCHED:
        notes.append(f"{path}: more than {_MOST_MATCHED:,} rows: matched by position")
        return by_position
    keys = [_INDEX] if one.index and other.index and _INDEX in common else common
    keys = [name for name in keys if one.columns[name].is_key() and other.columns[name].is_key()]
    if len(keys) != 1 or len(common) == 1:
        return by_position
    places = {value: row for row, value in enumerate(other.columns[keys[0]].values.tolist())}
    pairs = [(row, places[value]) for row, value in enumerate(one.columns[keys[0]].values.tolist()) if value in places]
    if 2 * len(pairs) < len(positions):  # the column is no key, but holds other values each time
        return by_position
    notes.append(f"{path}: rows are matched by {keys[0]}")
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return keys[0], (found[:, 0], found[:, 1])


def _apart(one: _Column, other: _Column) -> _Array:
    """Return which of the values in equal places differ. Missing values are equal to each other."""
    unequal: _Array = np.ones(len(one.values), bool)
    if "O" in (one.values.dtype.kind, other.values.dtype.kind):
        pairs = zip(one.values, other.values, strict=True)
        unequal = np.array([not same(*pair) and not _alike(*pair) for pair in pairs], dtype=bool)
    else:
        with suppress(TypeError, ValueError):  # types that cannot be compared, such as a text and a number
            nans = (one.values != one.values) & (other.values != other.values)
            unequal = np.asarray(one.values != other.values) & ~nans
    return unequal & ~(one.nulls & other.nulls)


def _alike(one: Any, other: Any) -> bool:
    """Whether two cells with arrays, lists or dicts in them are equal."""
    for options in ({"equal_nan": True}, {}):
        with suppress(Exception):  # cells may hold anything, and texts know no nan
            return type(one) is type(other) and bool(np.array_equal(one, other, **options))
    return False
