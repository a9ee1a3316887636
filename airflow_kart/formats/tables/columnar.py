"""What Parquet and Feather share: a table of any library becomes an Arrow table, unless its types would not come back."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, ClassVar, Literal

from typing_extensions import Self

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import READING, Description, type_name
from airflow_kart.formats.table_kind import TableKind, check_kind, import_polars, kind_of_type_name, require_table
from airflow_kart.formats.tables.frame import frame_of, narrowed, table_of
from airflow_kart.formats.tables.polars_sink import sink
from airflow_kart.formats.tables.selection import places_of, select_columns
from airflow_kart.formats.tables.stream import file_path, reading, writing

__all__ = ["ColumnarFormat", "arrow_source", "as_kind", "lazy_description"]


@dataclass(frozen=True)
class ColumnarFormat(ABC):
    """A table column by column: pandas and pyarrow tables are written by pyarrow, those of polars by polars."""

    compression: str
    kind: TableKind | None = field(default=None, metadata=READING)

    name = ""
    _title: ClassVar[str]
    _compressions: ClassVar[tuple[str, ...]]
    _polars: ClassVar[Literal["parquet", "ipc"]]
    """What polars calls the format in the names of its functions."""

    def __post_init__(self) -> None:
        """Check the options."""
        format_name = type(self).__name__
        check_kind(self.kind, format_name)
        if self.compression not in self._compressions:
            raise ConfigurationError(
                f"{format_name} got compression={self.compression!r}; give one of {', '.join(self._compressions)}"
            )

    def for_type(self, dumped: str) -> Self:
        """Return the format that loads what was dumped as the table it was."""
        return replace(self, kind=self.kind or kind_of_type_name(dumped))

    def dump(self, obj: Any, stream: io.RawIOBase) -> Description | None:
        """Write a table."""
        kind = require_table(obj, self.name)
        description = None
        with writing(stream, f"the {self.name} format cannot write this table") as buffered:
            if kind in ("polars", "polars-lazy"):
                _check_polars_schema(obj, self._stored_by_polars)
                compression = "uncompressed" if self.compression == "none" else self.compression
                if kind == "polars":
                    getattr(obj, f"write_{self._polars}")(buffered, compression=compression)
                else:
                    description = lazy_description(obj)
                    sink(obj, self._polars, buffered, compression=compression)
            else:
                self._write_arrow(_arrow_table(obj, kind, self._stored_by_arrow), buffered, self.compression)
        return description

    def load(self, stream: BinaryIO) -> Any:
        """Read a table."""
        kind = self.kind or "pandas"
        with reading(self._title):
            if kind == "polars-lazy":
                return getattr(import_polars(), f"scan_{self._polars}")(stream)
            if kind == "polars":
                return getattr(import_polars(), f"read_{self._polars}")(stream)
            return as_kind(self._read_arrow(arrow_source(stream)), kind)

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> Any:
        """Read columns; see :class:`~airflow_kart.formats.LoadsColumns`."""
        kind = self.kind or "pandas"
        with reading(self._title):
            if kind in ("polars", "polars-lazy"):
                lazy = select_columns(getattr(import_polars(), f"scan_{self._polars}")(stream), columns)
                return lazy if kind == "polars-lazy" else lazy.collect()
            if kind == "pyarrow":
                return self._read_arrow_columns(stream, lambda schema: places_of(schema.names, columns))[0]
            table, schema = self._read_arrow_columns(stream, lambda schema: _frame_places(schema, columns))
            return frame_of(narrowed(table, schema, len(columns)))

    @abstractmethod
    def _write_arrow(self, table: Any, stream: Any, compression: str) -> None:
        """Write a ``pyarrow.Table``."""

    @abstractmethod
    def _read_arrow(self, source: Any) -> Any:
        """Read a ``pyarrow.Table``."""

    @abstractmethod
    def _read_arrow_columns(self, stream: BinaryIO, choose: Callable[[Any], list[int]]) -> tuple[Any, Any]:
        """Read columns of a ``pyarrow.Table``.

        Args:
            stream: where the bytes are.
            choose: gets the schema of the whole, and returns the places of the columns.

        Returns:
            The columns, in the order of those places, and the schema of the whole.
        """

    def _stored_by_arrow(self, table: Any) -> Any:
        memory = io.BytesIO()
        self._write_arrow(table, memory, "none")
        memory.seek(0)
        return self._read_arrow(memory)

    def _stored_by_polars(self, frame: Any) -> Any:
        memory = io.BytesIO()
        getattr(frame, f"write_{self._polars}")(memory)
        memory.seek(0)
        return getattr(import_polars(), f"read_{self._polars}")(memory)


def _arrow_table(obj: Any, kind: TableKind, stored: Callable[[Any], Any]) -> Any:
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


def _check_polars_schema(frame: Any, stored: Callable[[Any], Any]) -> None:
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


def _frame_places(schema: Any, columns: Sequence[str]) -> list[int]:
    """Return where columns of a pandas frame are in a table, and after them those of its index."""
    described = schema.pandas_metadata or {}
    index = [name for name in described.get("index_columns", ()) if name in schema.names]  # a range has no column
    own = [name for name in schema.names if name not in index]
    names = own
    if len(described.get("column_indexes", ())) > 1:  # Arrow has the labels of each level as text
        names = [str(label) for label in frame_of(schema.empty_table()).columns]
    return [schema.names.index(own[place]) for place in places_of(names, columns)] + list(map(schema.names.index, index))


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
