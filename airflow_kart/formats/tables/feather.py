"""Tables as Feather, the file form of Apache Arrow's IPC format."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Literal, get_args

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.formats.base import READING, Description
from airflow_kart.formats.tables.columnar import (
    arrow_source,
    arrow_table,
    as_kind,
    check_polars_schema,
    lazy_description,
)
from airflow_kart.formats.tables.kind import TableKind, check_kind, import_polars, kind_of_type_name, require_table
from airflow_kart.formats.tables.polars_sink import sink
from airflow_kart.formats.tables.stream import reading, writing

__all__ = ["FeatherCompression", "FeatherFormat"]

FeatherCompression = Literal["lz4", "zstd", "none"]
_ROWS = 1 << 16


@dataclass(frozen=True)
class FeatherFormat:
    """A table as Feather (version 2, the Arrow IPC file format): the fastest to write and read, with every Arrow type.

    As :class:`~airflow_kart.formats.ParquetFormat`, it keeps a pandas frame's index and attributes, and streams lazy frames.

    Args:
        compression: of the columns' buffers. ``lz4`` costs next to no time; ``zstd`` is smaller.
        kind: the table to load; by default what was dumped.
    """

    compression: FeatherCompression = "lz4"
    kind: TableKind | None = field(default=None, metadata=READING)

    name = "feather"

    def __post_init__(self) -> None:
        """Check the options."""
        check_kind(self.kind, "FeatherFormat")
        if self.compression not in get_args(FeatherCompression):
            raise ConfigurationError(
                f"FeatherFormat got compression={self.compression!r}; give one of {', '.join(get_args(FeatherCompression))}"
            )

    def for_type(self, dumped: str) -> FeatherFormat:
        """Return the format that loads what was dumped as the table it was."""
        return replace(self, kind=self.kind or kind_of_type_name(dumped))

    def dump(self, obj: Any, stream: io.RawIOBase) -> Description | None:
        """Write a table."""
        kind = require_table(obj, self.name)
        description = None
        with writing(stream, "the feather format cannot write this table") as buffered:
            if kind in ("polars", "polars-lazy"):
                check_polars_schema(obj, _stored_by_polars)
                compression = "uncompressed" if self.compression == "none" else self.compression
                if kind == "polars":
                    obj.write_ipc(buffered, compression=compression)
                else:
                    description = lazy_description(obj)
                    sink(obj, "ipc", buffered, compression=compression)
            else:
                _write(arrow_table(obj, kind, _stored_by_arrow), buffered, self.compression)
        return description

    def load(self, stream: BinaryIO) -> Any:
        """Read a table."""
        kind = self.kind or "pandas"
        with reading("Feather"):
            if kind == "polars-lazy":
                return import_polars().scan_ipc(stream)
            if kind == "polars":
                return import_polars().read_ipc(stream)
            return as_kind(_read(arrow_source(stream)), kind)


def _write(table: Any, stream: Any, compression: str) -> None:
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else compression, unify_dictionaries=True)
    with pa.ipc.new_file(stream, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=_ROWS)


def _read(source: Any) -> Any:
    import pyarrow as pa

    with pa.ipc.open_file(source) as reader:
        return reader.read_all()


def _stored_by_arrow(table: Any) -> Any:
    memory = io.BytesIO()
    _write(table, memory, "none")
    memory.seek(0)
    return _read(memory)


def _stored_by_polars(frame: Any) -> Any:
    memory = io.BytesIO()
    frame.write_ipc(memory)
    memory.seek(0)
    return import_polars().read_ipc(memory)
