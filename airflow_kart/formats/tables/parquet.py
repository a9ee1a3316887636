"""Tables as Apache Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from airflow_kart.formats.tables.columnar import ColumnarFormat

__all__ = ["ParquetCompression", "ParquetFormat"]

ParquetCompression = Literal["zstd", "snappy", "lz4", "gzip", "brotli", "none"]


@dataclass(frozen=True)
class ParquetFormat(ColumnarFormat):
    """A table as Apache Parquet: column types, and a pandas frame's index and attributes, come back.

    Each library can read what the others wrote. Where several things stand for missing values in one pandas column of
    Python objects, all come back as ``None``. A ``polars.LazyFrame`` is written as it is computed, and one that is
    loaded reads the file when it is collected, even if its name leads to another by then.

    Args:
        compression: of the columns' pages. ``zstd`` is nearly as fast as ``snappy`` and never larger; on text it is
            often a third smaller.
        kind: the table to load; by default what was dumped.
    """

    compression: ParquetCompression = "zstd"

    name = "parquet"
    _title: ClassVar[str] = "Parquet"
    _compressions: ClassVar[tuple[str, ...]] = get_args(ParquetCompression)
    _polars: ClassVar[Literal["parquet", "ipc"]] = "parquet"

    def _write_arrow(self, table: Any, stream: Any, compression: str) -> None:
        import pyarrow.parquet as pq

        pq.write_table(table, stream, compression=compression.upper())

    def _read_arrow(self, source: Any) -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(source)
