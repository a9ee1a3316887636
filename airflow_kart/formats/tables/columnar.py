"""What Parquet and Feather share: a table of any library becomes an Arrow table, unless its types would not come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import Description, type_name
from airflow_kart.formats.tables.frame import frame_of, table_of
from airflow_kart.formats.tables.kind import TableKind, import_polars
from airflow_kart.formats.tables.stream import file_path

__all__ = ["arrow_source", "arrow_table", "as_kind", "check_polars_schema", "lazy_description"]


def arrow_table(obj: Any, kind: TableKind, stored: Callable[[Any], Any]) -> Any:
    """Return a pandas or pyarrow table as a ``pyarrow.Table`` to write.

    Args:
        obj: the table.
        kind: its library.
        stored: what becomes of an Arrow table when it is written to a file and read; called with its first row.

    Raises:
        FormatError: it would not read back as it is.
    """
    if kind == "pandas":
        return table_of(obj, stored)
    for before, after in zip(obj.schema, stored(obj.slice(0, 1)).schema, strict=True):
        if before != after:
            raise _changed(before.name, before.type, after.type)
    return obj


def check_polars_schema(frame: Any, stored: Callable[[Any], Any]) -> None:
    """Refuse a polars table whose types would not come back.

    Args:
        frame: a ``polars.DataFrame`` or ``polars.LazyFrame``.
        stored: what becomes of a ``polars.DataFrame`` when it is written to a file and read; called with an empty one.

    Raises:
        FormatError: a column would come back with another type.
    """
    schema = frame.collect_schema()
    after = stored(import_polars().DataFrame(schema=schema)).collect_schema()
    for name, dtype in schema.items():
        if after[name] != dtype:
            raise _changed(name, dtype, after[name])


def as_kind(table: Any, kind: TableKind) -> Any:
    """Return a ``pyarrow.Table`` as a table of the library asked for."""
    if kind == "pyarrow":
        return table
    if kind == "pandas":
        return frame_of(table)
    frame = import_polars().from_arrow(table)
    frame.columns = table.column_names  # polars gives a column without a name one
    return frame.lazy() if kind == "polars-lazy" else frame


def arrow_source(stream: BinaryIO) -> Any:
    """Return what Arrow reads a stream through: the file itself, where it is one, else Python's stream."""
    import pyarrow as pa

    path = file_path(stream)
    return pa.PythonFile(stream, mode="r") if path is None else pa.OSFile(path)


def lazy_description(frame: Any) -> Description:
    """Return what a sidecar says of a ``polars.LazyFrame``: its rows are counted only as they are written."""
    return Description(type_name(frame), columns={name: str(dtype) for name, dtype in frame.collect_schema().items()})


def _changed(name: str, before: object, after: object) -> FormatError:
    return FormatError(f"the column {name!r} is of type {before} and would come back as {after}; cast it first")
