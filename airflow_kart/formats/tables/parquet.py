"""Tables as Apache Parquet."""

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

__all__ = ["ParquetCompression", "ParquetFormat"]

ParquetCompression = Literal["zstd", "snappy", "lz4", "gzip", "brotli", "none"]


@dataclass(frozen=True)
class ParquetFormat:
    """A table as Apache Parquet: column types, and a pandas frame's index and attributes, come back.

    pandas and pyarrow tables are written by pyarrow, those of polars by polars; each library can read them all. Where
    several things stand for missing values in one pandas column of Python objects, all come back as ``None``. A ``polars.LazyFrame`` is written as it is
    computed, and one that is loaded reads the file when it is collected, even if its name leads to another by then.

    Args:
        compression: of the columns' pages. ``zstd`` is nearly as fast as ``snappy`` and never larger; on text it is
            often a third smaller.
        kind: the table to load; by default what was dumped.
    """

    compression: ParquetCompression = "zstd"
    kind: TableKind | None = field(default=None, metadata=READING)

    name = "parquet"

    def __post_init__(self) -> None:
        """Check the options."""
        check_kind(self.kind, "ParquetFormat")
        if self.compression not in get_args(ParquetCompression):
            raise ConfigurationError(
                f"ParquetFormat got compression={self.compression!r}; give one of {', '.join(get_args(ParquetCompression))}"
            )

    def for_type(self, dumped: str) -> ParquetFormat:
        """Return the format that loads what was dumped as the table it was."""
        return replace(self, kind=self.kind or kind_of_type_name(dumped))

    def dump(self, obj: Any, stream: io.RawIOBase) -> Description | None:
        """Write a table."""
        kind = require_table(obj, self.name)
        description = None
        with writing(stream, "the parquet format cannot write this table") as buffered:
            if kind in ("polars", "polars-lazy"):
                check_polars_schema(obj, _stored_by_polars)
                compression = "uncompressed" if self.compression == "none" else self.compression
                if kind == "polars":
                    obj.write_parquet(buffered, compression=compression)
                else:
                    description = lazy_description(obj)
                    sink(obj, "parquet", buffered, compression=compression)
            else:
                _write(arrow_table(obj, kind, _stored_by_arrow), buffered, self.compression)
        return description

    def load(self, stream: BinaryIO) -> Any:
        """Read a table."""
        kind = self.kind or "pandas"
        with reading("Parquet"):
            if kind == "polars-lazy":
                return import_polars().scan_parquet(stream)
            if kind == "polars":
                return import_polars().read_parquet(stream)
            return as_kind(_read(arrow_source(stream)), kind)


def _write(table: Any, stream: Any, compression: str) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, stream, compression=compression.upper())


def _read(source: Any) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(source)


def _stored_by_arrow(table: Any) -> Any:
    memory = io.BytesIO()
    _write(table, memory, "none")
    memory.seek(0)
    return _read(memory)


def _stored_by_polars(frame: Any) -> Any:
    memory = io.BytesIO()
    frame.write_parquet(memory)
    memory.seek(0)
    return import_polars().read_parquet(memory)
