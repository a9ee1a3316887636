"""Some columns of a table: of one that is there, or of one that is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import Format, LoadsColumns, type_name
from airflow_kart.formats.table_kind import import_polars, kind_of_table

__all__ = ["load_columns", "places_of", "select_columns"]

_MOST_NAMED = 50


def load_columns(reader: Format, stream: BinaryIO, columns: Sequence[str]) -> Any:
    """Read columns of a table: by themselves, where the format can, else out of the whole.

    Args:
        reader: the format to read with.
        stream: where the bytes are; it can seek.
        columns: their names, each once; the result has them in this order.

    Raises:
        FormatError: what is read is no table, or has no such column.
    """
    if isinstance(reader, LoadsColumns):
        return reader.load_columns(stream, columns)
    return select_columns(reader.load(stream), columns)


def select_columns(table: Any, columns: Sequence[str]) -> Any:
    """Return columns of a table, in the order asked for; a pandas frame keeps its index.

    Args:
        table: of any library.
        columns: their names, as sidecars give them: the text of the labels of a pandas frame.

    Raises:
        FormatError: it is no table, or has no such column.
    """
    kind = kind_of_table(table)
    if kind is None:
        raise FormatError(f"it is a {type_name(table)}, and only tables have columns; load it without columns=")
    if kind == "pandas":
        return table.iloc[:, places_of([str(label) for label in table.columns], columns)]
    if kind == "pyarrow":
        return table.select(places_of(table.column_names, columns))
    places = places_of(table.collect_schema().names(), columns)
    return table.select(import_polars().nth(places))  # by place, as "*" and "^a.*$" stand for many names


def places_of(names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return where columns are among the names of all columns.

    Raises:
        FormatError: one is not there, or more than once.
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
