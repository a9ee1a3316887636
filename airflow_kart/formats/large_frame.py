"""Tables written and read in parts."""

from __future__ import annotations

import io
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar, cast

from typing_extensions import Buffer

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.archive import add_member, reading_archive, writing_archive
from airflow_kart.formats.base import Description
from airflow_kart.formats.description import describe
from airflow_kart.formats.pickle import PickleFormat
from airflow_kart.formats.table_kind import TableKind, require_table
from airflow_kart.formats.tables.selection import select_columns
from airflow_kart.streams import WriteOnly

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

Table = TypeVar("Table")

_SAMPLED_ROWS = 1000


@dataclass(frozen=True)
class LargeFrameFormat:
    """A table as a zip archive of parts, each compressed with Zstandard (RFC 8878).

    The parts of a pandas frame are pickles, which keep everything in the frame; the parts of polars frames and pyarrow
    tables are Arrow IPC streams.
    """

    max_byte: int = 64 << 20
    """The largest memory of a part, in bytes; for columns of text, by a sample of the rows."""
    name = "large frame"

    def __post_init__(self) -> None:
        """Refuse parts without room."""
        if self.max_byte < 1:
            raise FormatError(f"max_byte is {self.max_byte}; give a size in bytes, above zero")

    def dump(self, obj: object, stream: io.RawIOBase) -> Description:
        """Write a table, or tables with the same columns one after the other."""
        tables = obj if isinstance(obj, Iterator) else iter([obj])
        first: Description | None = None
        rows = written = 0
        with writing_archive(stream) as archive:
            for table in tables:
                library = _LIBRARIES[require_table(table, self.name)]
                for part in library.split(table, self.max_byte):
                    described = describe(part)
                    if first is None:
                        first = described
                    elif (described.type, described.columns) != (first.type, first.columns):
                        raise FormatError(
                            f"part {written} is a {described.type} with the columns {described.columns}, "
                            f"the first is a {first.type} with {first.columns}; all parts have to be alike"
                        )
                    with add_member(archive, f"{written:05}.{library.extension}.zst") as member, _compressed(member) as out:
                        library.write(part, out)
                    rows += described.rows or 0
                    written += 1
        if first is None:
            raise FormatError("there was no part to dump; dump a table without rows where there is nothing")
        return replace(first, rows=rows)

    def load(self, stream: BinaryIO) -> object:
        """Read the whole table."""
        return _joined(list(self._parts(stream)))

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> object:
        """Read columns, part by part."""
        return _joined([select_columns(part, columns) for part in self._parts(stream)])

    def load_parts(self, stream: BinaryIO) -> Iterator[object]:
        """Read one part after the other."""
        return self._parts(stream)

    def _parts(self, stream: BinaryIO) -> Iterator[object]:
        import pyarrow as pa

        with reading_archive(stream) as archive:
            for name in archive.namelist():
                library = next((known for known in _LIBRARIES.values() if name.endswith(f".{known.extension}.zst")), None)
                if library is None:
                    raise FormatError(f"the archive holds {name}, which is no part of a table")
                with archive.open(name) as member:
                    try:
                        with pa.CompressedInputStream(pa.PythonFile(member, "r"), "zstd") as decompressed:
                            part = library.read(decompressed)
                    except (pa.ArrowException, OSError) as error:
                        raise FormatError(f"the part {name} cannot be read: {error}") from error
                yield part
                del part  # or both parts would be in memory


def _joined(parts: list[object]) -> object:
    if not parts:
        raise FormatError("the archive holds no parts of a table")
    return parts[0] if len(parts) == 1 else _LIBRARIES[require_table(parts[0], LargeFrameFormat.name)].join(parts)


@contextmanager
def _compressed(member: BinaryIO) -> Iterator[_PartStream]:
    import pyarrow as pa

    with pa.CompressedOutputStream(pa.PythonFile(member, "w"), "zstd") as compressed:
        yield _PartStream(compressed)


class _PartStream(WriteOnly):
    """A stream into a part, for picklers and for Arrow."""

    def __init__(self, compressed: pa.CompressedOutputStream) -> None:
        self._compressed = compressed

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        self._compressed.write(view)
        return view.nbytes

    def restart(self) -> None:
        raise FormatError("a part holds objects that cannot be pickled; drop them before dumping the table")


class _Library(ABC, Generic[Table]):
    """A library's way to split a table, to write and read its parts, and to join them."""

    extension: str

    @abstractmethod
    def split(self, table: Table, max_byte: int) -> Iterable[Table]: ...

    @abstractmethod
    def write(self, part: Table, out: _PartStream) -> None: ...

    @abstractmethod
    def read(self, decompressed: pa.NativeFile) -> Table: ...

    @abstractmethod
    def join(self, parts: list[Table]) -> Table: ...


class _Pandas(_Library["pd.DataFrame"]):
    extension = "pandas.pkl"

    def split(self, table: pd.DataFrame, max_byte: int) -> Iterable[pd.DataFrame]:
        step = max(len(table) // _SAMPLED_ROWS, 1)
        sample = table.iloc[::step].iloc[:_SAMPLED_ROWS]
        row_bytes = sample.memory_usage(index=False, deep=True).sum() / max(len(sample), 1)
        return (table.iloc[start:stop] for start, stop in _ranges(len(table), row_bytes, max_byte))

    def write(self, part: pd.DataFrame, out: _PartStream) -> None:
        PickleFormat().dump(part, out)

    def read(self, decompressed: pa.NativeFile) -> pd.DataFrame:
        return cast("pd.DataFrame", PickleFormat().load(decompressed))

    def join(self, parts: list[pd.DataFrame]) -> pd.DataFrame:
        import pandas as pd

        first = parts[0]
        for place, dtype in enumerate(first.dtypes):
            if isinstance(dtype, pd.CategoricalDtype) and any(part.dtypes.iloc[place] != dtype for part in parts):
                merged = pd.api.types.union_categoricals([part.iloc[:, place] for part in parts], ignore_order=True)
                common = pd.CategoricalDtype(merged.categories)
                for part in parts:  # or the joined column would lose its categories
                    column: Any = part.iloc[:, place].astype(common)
                    part.isetitem(place, column)
        return pd.concat(parts)


class _Polars(_Library["pl.DataFrame"]):
    extension = "polars.arrow"

    def split(self, table: pl.DataFrame | pl.LazyFrame, max_byte: int) -> Iterable[pl.DataFrame]:
        import polars as pl

        whole = table.collect() if isinstance(table, pl.LazyFrame) else table
        for name, dtype in whole.schema.items():
            if dtype == pl.Object:  # polars would write the addresses of the objects
                raise FormatError(
                    f"the large frame format cannot write the column {name!r} of type {dtype}; make it text or numbers, "
                    "or drop it"
                )
        row_bytes = whole.estimated_size() / max(len(whole), 1)
        return (whole.slice(start, stop - start) for start, stop in _ranges(len(whole), row_bytes, max_byte))

    def write(self, part: pl.DataFrame, out: _PartStream) -> None:
        part.write_ipc_stream(cast(BinaryIO, out))

    def read(self, decompressed: pa.NativeFile) -> pl.DataFrame:
        import polars as pl

        return pl.read_ipc_stream(decompressed.read())

    def join(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        import polars as pl

        return pl.concat(parts)


class _Pyarrow(_Library["pa.Table"]):
    extension = "pyarrow.arrow"

    def split(self, table: pa.Table, max_byte: int) -> Iterable[pa.Table]:
        row_bytes = table.nbytes / max(table.num_rows, 1)
        return (table.slice(start, stop - start) for start, stop in _ranges(table.num_rows, row_bytes, max_byte))

    def write(self, part: pa.Table, out: _PartStream) -> None:
        import pyarrow as pa

        with pa.ipc.new_stream(pa.PythonFile(out, "w"), part.schema) as writer:
            writer.write_table(part)

    def read(self, decompressed: pa.NativeFile) -> pa.Table:
        import pyarrow as pa

        with pa.ipc.open_stream(decompressed) as reader:
            return reader.read_all()

    def join(self, parts: list[pa.Table]) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables(parts)


_LIBRARIES: dict[TableKind, _Library[Any]] = {
    "pandas": _Pandas(),
    "polars": _Polars(),
    "polars-lazy": _Polars(),
    "pyarrow": _Pyarrow(),
}


def _ranges(rows: int, row_bytes: float, max_byte: int) -> Iterator[tuple[int, int]]:
    """Return begin and end of a table's parts; a table without rows is one part."""
    step = max(int(max_byte // max(row_bytes, 1)), 1)
    starts = [*range(0, rows, step), rows] if rows else [0, 0]
    return itertools.pairwise(starts)
