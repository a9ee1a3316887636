"""Some columns of a table: of a loaded table, or of one to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, TypeVar, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import Format, LoadsColumns, type_name
from airflow_kart.formats.table_kind import import_polars, kind_of_table

T = TypeVar("T")

_MOST_NAMED = 50


def load_columns(reader: Format, stream: BinaryIO, columns: Sequence[str]) -> object:
    """Read columns of a table: alone, where the format can, else out of the whole.

    Args:
        reader: the format to read with.
        stream: holds the bytes; it can seek.
        columns: the names, each once; the result has the columns in this order.

    Raises:
        FormatError: the object is no table, or lacks a column.
    """
    if isinstance(reader, LoadsColumns):
        return reader.load_columns(stream, columns)
    return select_columns(reader.load(stream), columns)


def select_columns(table: T, columns: Sequence[str]) -> T:
    """Return columns of a table, in the order of ``columns``; a pandas frame keeps its index.

    Args:
        table: of any library.
        columns: the names as in sidecars: the text of the labels of a pandas frame.

    Raises:
        FormatError: the object is no table, or lacks a column.
    """
    kind = kind_of_table(table)
    if kind is None:
        raise FormatError(f"it is a {type_name(table)}, and only tables have columns; load it without columns=")
    found: Any = table
    if kind == "pandas":
        selected = found.iloc[:, places_of([str(label) for label in found.columns], columns)]
    elif kind == "pyarrow":
        selected = found.select(places_of(found.column_names, columns))
    else:
        places = places_of(found.collect_schema().names(), columns)
        selected = found.select(import_polars().nth(places))  # by place: "*" and "^a.*$" stand for many names
    return cast(T, selected)


def places_of(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return the places of columns among the names of all columns.

    Raises:
        FormatError: a name is missing, or occurs more than once.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    if missing := [name for name in columns if name not in places]:
        more = f", and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise FormatError(
            f"the table has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, names[:_MOST_NAMED])) or 'none'}{more}"
        )
    if several := [name for name in columns if len(places[name]) > 1]:
        raise FormatError(f"the table has several columns of the name {several[0]!r}; load it without columns=")
    return [places[name][0] for name in columns]
