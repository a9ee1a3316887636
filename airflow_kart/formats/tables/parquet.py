"""Tables as Apache Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Literal, get_args

from airflow_kart.formats.table_kind import kind_of_type_name
from airflow_kart.formats.tables.columnar import ColumnarFormat, arrow_source
from airflow_kart.streams import ExpectsRanges

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_GAP = 64 << 10  # bytes between two ranges that are read rather than left out

ParquetCompression = Literal["zstd", "snappy", "lz4", "gzip", "brotli", "none"]


@dataclass(frozen=True)
class ParquetFormat(ColumnarFormat):
    """A table as Apache Parquet: column types, and a pandas frame's index and attributes, come back.

    Each library can read the files of the others. Where several values stand for missing ones in one pandas column of
    Python objects, all come back as ``None``. polars computes a ``polars.LazyFrame`` while writing; a loaded lazy frame
    reads the opened file when collected, even if another file has its name by then.

    Tables of pandas and pyarrow have a checksum (CRC-32) of each page, which verifies columns that are loaded alone;
    polars writes no checksums.

    Args:
        compression: of the columns' pages. ``zstd`` is nearly as fast as ``snappy`` and never larger; on text it is
            often a third smaller.
        kind: the library of the loaded table; by default that of the dumped table.
    """

    compression: ParquetCompression = "zstd"

    name = "parquet"
    _title: ClassVar[str] = "Parquet"
    _compressions: ClassVar[tuple[str, ...]] = get_args(ParquetCompression)
    _polars: ClassVar[Literal["parquet", "ipc"]] = "parquet"

    def _write_arrow(self, table: pa.Table, stream: io.IOBase, compression: str) -> None:
        import pyarrow.parquet as pq

        pq.write_table(table, stream, compression=compression.upper(), write_page_checksum=True)

    def _read_arrow(self, source: pa.NativeFile) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(source)

    def verifies_columns(self, dumped: str) -> bool:
        """Whether loading columns verifies them: pyarrow writes and reads their checksums."""
        return all(kind in ("pandas", "pyarrow") for kind in (kind_of_type_name(dumped), self.kind or "pandas"))

    def _read_arrow_columns(self, stream: BinaryIO, choose: Callable[[pa.Schema], list[int]]) -> tuple[pa.Table, pa.Schema]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(arrow_source(stream), pre_buffer=False, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            names = [schema.names[place] for place in choose(schema)]
            if isinstance(stream, ExpectsRanges):
                stream.expect(list(_joined(sorted(_ranges(file.metadata, names)))))
            return file.read(columns=names).select(names), schema


def _ranges(metadata: pq.FileMetaData, names: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the columns' ranges in a file: one for each group of rows, and for each leaf of a nested column."""
    paths = [metadata.schema.column(leaf).path for leaf in range(metadata.num_columns)]
    wanted = set(names)
    leaves = [leaf for leaf, path in enumerate(paths) if not wanted.isdisjoint(_prefixes(path))]
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, leaves):
            start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
            yield start, start + column.total_compressed_size


def _prefixes(path: str) -> Iterator[str]:
    """Yield the names that a leaf's path may begin with: names may hold dots themselves."""
    parts = path.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _joined(ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield sorted ranges; join neighbours with hardly anything between them."""
    while ranges:
        start, end = ranges.pop(0)
        while ranges and ranges[0][0] <= end + _GAP:
            end = max(end, ranges.pop(0)[1])
        yield start, end
