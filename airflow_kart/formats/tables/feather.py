"""Tables as Feather, the file form of Apache Arrow's IPC format."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Literal, get_args

from airflow_kart.formats.tables.columnar import ColumnarFormat, arrow_source
from airflow_kart.streams import HashedStream

if TYPE_CHECKING:
    import pyarrow as pa

FeatherCompression = Literal["lz4", "zstd", "none"]
_ROWS = 1 << 16


@dataclass(frozen=True)
class FeatherFormat(ColumnarFormat):
    """A table as Feather (version 2, the Arrow IPC file format): the fastest to write and read, with every Arrow type.

    Feather keeps a pandas frame's index and attributes, and streams lazy frames, as :class:`~airflow_kart.formats.ParquetFormat` does.

    Args:
        compression: of the columns' buffers. ``lz4`` costs next to no time; ``zstd`` is smaller.
        kind: the library of the loaded table; by default that of the dumped table.
    """

    compression: FeatherCompression = "lz4"

    name = "feather"
    _title: ClassVar[str] = "Feather"
    _compressions: ClassVar[tuple[str, ...]] = get_args(FeatherCompression)
    _polars: ClassVar[Literal["parquet", "ipc"]] = "ipc"

    def _write_arrow(self, table: pa.Table, stream: io.IOBase, compression: str) -> None:
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else compression, unify_dictionaries=True)
        with pa.ipc.new_file(stream, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=_ROWS)

    def _read_arrow(self, source: pa.NativeFile) -> pa.Table:
        import pyarrow as pa

        with pa.ipc.open_file(source) as reader:
            return reader.read_all()

    def _read_arrow_columns(self, stream: BinaryIO, choose: Callable[[pa.Schema], list[int]]) -> tuple[pa.Table, pa.Schema]:
        import pyarrow as pa

        if isinstance(stream, HashedStream):  # the whole object is fetched in order, to verify its checksum
            table = self._read_arrow(arrow_source(stream))
            return table.select(choose(table.schema)), table.schema
        with pa.ipc.open_file(arrow_source(stream)) as reader:
            schema = reader.schema
        places = choose(schema)
        stream.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=sorted(places))
        with pa.ipc.open_file(arrow_source(stream), options=options) as reader:
            table = reader.read_all()
        return table.select([sorted(places).index(place) for place in places]), schema
