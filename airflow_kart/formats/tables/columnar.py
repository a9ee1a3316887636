"""The common part of Parquet and Feather: a table of any library as an Arrow table; types that would change are refused."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, cast

from typing_extensions import Self

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import READING, Description
from airflow_kart.formats.description import describe_table
from airflow_kart.formats.table_kind import TableKind, check_kind, import_polars, kind_of_type_name, require_table
from airflow_kart.formats.tables.frame import frame_of, narrowed, table_of
from airflow_kart.formats.tables.polars_sink import sink
from airflow_kart.formats.tables.selection import places_of, select_columns
from airflow_kart.formats.tables.stream import file_path, reading, writing

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True)
class ColumnarFormat(ABC):
    """A table column by column: pyarrow writes pandas and pyarrow tables, polars its own."""

    compression: str
    kind: TableKind | None = field(default=None, metadata=READING)

    name = ""
    _title: ClassVar[str]
    _compressions: ClassVar[tuple[str, ...]]
    _polars: ClassVar[Literal["parquet", "ipc"]]
    """The format in the names of polars' functions."""

    def __post_init__(self) -> None:
        """Check the options."""
        format_name = type(self).__name__
        check_kind(self.kind, format_name)
        if self.compression not in self._compressions:
            raise ConfigurationError(
                f"{format_name} got compression={self.compression!r}; give one of {', '.join(self._compressions)}"
            )

    def for_type(self, dumped: str) -> Self:
        """Return the format that loads a table of the dumped class."""
        return replace(self, kind=self.kind or kind_of_type_name(dumped))

    def dump(self, obj: object, stream: io.RawIOBase) -> Description | None:
        """Write a table."""
        kind = require_table(obj, self.name)
        description = describe_table(obj)
        with writing(stream, f"the {self.name} format cannot write this table") as buffered:
            if kind in ("polars", "polars-lazy"):
                _check_polars_schema(cast("pl.DataFrame | pl.LazyFrame", obj), self._stored_by_polars)
                compression = "uncompressed" if self.compression == "none" else self.compression
                if kind == "polars":
                    getattr(obj, f"write_{self._polars}")(buffered, compression=compression)
                else:
                    lazy = cast("pl.LazyFrame", obj)
                    description = lazy_description(lazy)
                    sink(lazy, self._polars, buffered, compression=compression)
            else:
                self._write_arrow(_arrow_table(obj, kind, self._stored_by_arrow), buffered, self.compression)
        return description

    def load(self, stream: BinaryIO) -> object:
        """Read a table."""
        kind = self.kind or "pandas"
        with reading(self._title):
            if kind == "polars-lazy":
                return getattr(import_polars(), f"scan_{self._polars}")(stream)
            if kind == "polars":
                return getattr(import_polars(), f"read_{self._polars}")(stream)
            return as_kind(self._read_arrow(arrow_source(stream)), kind)

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> object:
        """Read columns; see :class:`~airflow_kart.formats.LoadsColumns`."""
        kind = self.kind or "pandas"
        with reading(self._title):
            if kind in ("polars", "polars-lazy"):
                scanned: pl.LazyFrame = getattr(import_polars(), f"scan_{self._polars}")(stream)
                lazy = select_columns(scanned, columns)
                return lazy if kind == "polars-lazy" else lazy.collect()
            if kind == "pyarrow":
                return self._read_arrow_columns(stream, lambda schema: places_of(schema.names, columns))[0]
            table, schema = self._read_arrow_columns(stream, lambda schema: _frame_places(schema, columns))
            return frame_of(narrowed(table, schema, len(columns)))

    @abstractmethod
    def _write_arrow(self, table: pa.Table, stream: io.IOBase, compression: str) -> None:
        """Write a table."""

    @abstractmethod
    def _read_arrow(self, source: pa.NativeFile) -> pa.Table:
        """Read a table."""

    @abstractmethod
    def _read_arrow_columns(self, stream: BinaryIO, choose: Callable[[pa.Schema], list[int]]) -> tuple[pa.Table, pa.Schema]:
        """Read columns of a table.

        Args:
            stream: holds the bytes.
            choose: gets the schema of the whole, and returns the places of the columns.

        Returns:
            The columns, in the order of their places, and the schema of the whole.
        """

    def _stored_by_arrow(self, table: pa.Table) -> pa.Table:
        memory = io.BytesIO()
        self._write_arrow(table, memory, "none")
        memory.seek(0)
        return self._read_arrow(memory)

    def _stored_by_polars(self, frame: pl.DataFrame) -> pl.DataFrame:
        memory = io.BytesIO()
        getattr(frame, f"write_{self._polars}")(memory)
        memory.seek(0)
        return cast("pl.DataFrame", getattr(import_polars(), f"read_{self._polars}")(memory))


def _arrow_table(obj: object, kind: TableKind, stored: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Return a pandas or pyarrow table as a ``pyarrow.Table`` to write.

    Args:
        obj: the table.
        kind: its library.
        stored: writes an Arrow table to a file and reads the table again; called with the first row.

    Raises:
        FormatError: the table would not read back equal.
    """
    if kind == "pandas":
        return table_of(cast("pd.DataFrame", obj), stored)
    table = cast("pa.Table", obj)
    for before, after in zip(table.schema, stored(table.slice(0, 1)).schema, strict=True):
        if before != after:
            raise _changed(before.name, before.type, after.type)
    return table


def _check_polars_schema(frame: pl.DataFrame | pl.LazyFrame, stored: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Refuse a polars table whose types would not come back.

    Args:
        frame: the table.
        stored: writes a frame to a file and reads the frame again; called with an empty frame.

    Raises:
        FormatError: a column would come back with another type.
    """
    schema = frame.collect_schema()
    after = stored(import_polars().DataFrame(schema=schema)).collect_schema()
    for name, dtype in schema.items():
        if after[name] != dtype:
            raise _changed(name, dtype, after[name])


def as_kind(table: pa.Table, kind: TableKind) -> Any:
    """Return a ``pyarrow.Table`` as a table of the requested library."""
    if kind == "pyarrow":
        return table
    if kind == "pandas":
        return frame_of(table)
    frame = import_polars().from_arrow(table)
    frame.columns = table.column_names  # polars names a column without a name
    return frame.lazy() if kind == "polars-lazy" else frame


def _frame_places(schema: pa.Schema, columns: Sequence[str]) -> list[int]:
    """Return the places of a pandas frame's columns in a table, and after them the places of the index."""
    described = schema.pandas_metadata or {}
    index = [name for name in described.get("index_columns", ()) if name in schema.names]  # a range has no column
    own = [name for name in schema.names if name not in index]
    names = own
    if len(described.get("column_indexes", ())) > 1:  # Arrow has the labels of each level as text
        names = [str(label) for label in frame_of(schema.empty_table()).columns]
    return [schema.names.index(own[place]) for place in places_of(names, columns)] + list(map(schema.names.index, index))


def arrow_source(stream: BinaryIO) -> pa.NativeFile:
    """Return a file for Arrow to read: the file itself, where the stream is one, else Python's stream."""
    import pyarrow as pa

    path = file_path(stream)
    return pa.PythonFile(stream, mode="r") if path is None else pa.OSFile(path)


def lazy_description(frame: pl.LazyFrame) -> Description:
    """Return a sidecar's description of a lazy frame, without a number of rows: writing computes them."""
    columns = {name: str(dtype) for name, dtype in frame.collect_schema().items()}
    return replace(describe_table(frame), columns=columns)


def _changed(name: str, before: object, after: object) -> FormatError:
    return FormatError(f"the column {name!r} is of type {before} and would come back as {after}; cast it first")
