"""Tables that are written and read in parts."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.archive import add_member, reading_archive, writing_archive
from airflow_kart.formats.base import Description
from airflow_kart.formats.description import describe
from airflow_kart.formats.pickle import PickleFormat
from airflow_kart.formats.table_kind import TableKind, require_table
from airflow_kart.formats.tables.selection import select_columns

__all__ = ["LargeFrameFormat"]

_SAMPLED_ROWS = 1000


@dataclass(frozen=True)
class LargeFrameFormat:
    """A table as a zip archive of parts, each compressed with Zstandard (RFC 8878).

    The parts of a pandas frame are pickles, so that everything in it comes back; those of polars frames and pyarrow
    tables are Arrow IPC streams.
    """

    max_byte: int = 64 << 20
    """The most memory a part takes, in bytes; for columns of text, by a sample of the rows."""
    name = "large frame"

    def __post_init__(self) -> None:
        """Refuse parts that hold nothing."""
        if self.max_byte < 1:
            raise FormatError(f"max_byte is {self.max_byte}; give a size in bytes, above zero")

    def dump(self, obj: Any, stream: Any) -> Description:
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

    def load(self, stream: BinaryIO) -> Any:
        """Read the whole table."""
        return _joined(list(self._parts(stream)))

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> Any:
        """Read columns, part by part."""
        return _joined([select_columns(part, columns) for part in self._parts(stream)])

    def load_parts(self, stream: BinaryIO) -> Iterator[Any]:
        """Read one part after the other."""
        return self._parts(stream)

    def _parts(self, stream: BinaryIO) -> Iterator[Any]:
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
                del part  # or it would be held beside the next one


def _joined(parts: list[Any]) -> Any:
    if not parts:
        raise FormatError("the archive holds no parts of a table")
    return parts[0] if len(parts) == 1 else _LIBRARIES[require_table(parts[0], LargeFrameFormat.name)].join(parts)


@contextmanager
def _compressed(member: BinaryIO) -> Iterator[_PartStream]:
    import pyarrow as pa

    with pa.CompressedOutputStream(pa.PythonFile(member, "w"), "zstd") as compressed:
        yield _PartStream(compressed)


class _PartStream(io.RawIOBase):
    """A stream into a part, for picklers and for Arrow."""

    def __init__(self, compressed: Any) -> None:
        super().__init__()
        self._compressed = compressed

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        self._compressed.write(view)
        return view.nbytes

    def restart(self) -> None:
        raise FormatError("a part holds objects that cannot be pickled; drop them before dumping the table")


class _Pandas:
    extension = "pandas.pkl"

    def split(self, table: Any, max_byte: int) -> Iterable[Any]:
        step = max(len(table) // _SAMPLED_ROWS, 1)
        sample = table.iloc[::step].iloc[:_SAMPLED_ROWS]
        row_bytes = sample.memory_usage(index=False, deep=True).sum() / max(len(sample), 1)
        return (table.iloc[start:stop] for start, stop in _ranges(len(table), row_bytes, max_byte))

    def write(self, part: Any, out: _PartStream) -> None:
        PickleFormat().dump(part, out)

    def read(self, decompressed: Any) -> Any:
        return PickleFormat().load(decompressed)

    def join(self, parts: list[Any]) -> Any:
        import pandas as pd

        first = parts[0]
        for place, dtype in enumerate(first.dtypes):
            if isinstance(dtype, pd.CategoricalDtype) and any(part.dtypes.iloc[place] != dtype for part in parts):
                merged = pd.api.types.union_categoricals([part.iloc[:, place] for part in parts], ignore_order=True)
                common = pd.CategoricalDtype(merged.categories)
                for part in parts:  # or the whole column would lose its categories
                    part.isetitem(place, part.iloc[:, place].astype(common))
        return pd.concat(parts)


class _Polars:
    extension = "polars.arrow"

    def split(self, table: Any, max_byte: int) -> Iterable[Any]:
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

    def write(self, part: Any, out: _PartStream) -> None:
        part.write_ipc_stream(out)

    def read(self, decompressed: Any) -> Any:
        import polars as pl

        return pl.read_ipc_stream(decompressed.read())

    def join(self, parts: list[Any]) -> Any:
        import polars as pl

        return pl.concat(parts)


class _Pyarrow:
    extension = "pyarrow.arrow"

    def split(self, table: Any, max_byte: int) -> Iterable[Any]:
        row_bytes = table.nbytes / max(table.num_rows, 1)
        return (table.slice(start, stop - start) for start, stop in _ranges(table.num_rows, row_bytes, max_byte))

    def write(self, part: Any, out: _PartStream) -> None:
        import pyarrow as pa

        with pa.ipc.new_stream(pa.PythonFile(out, "w"), part.schema) as writer:
            writer.write_table(part)

    def read(self, decompressed: Any) -> Any:
        import pyarrow as pa

        with pa.ipc.open_stream(decompressed) as reader:
            return reader.read_all()

    def join(self, parts: list[Any]) -> Any:
        import pyarrow as pa

        return pa.concat_tables(parts)


_LIBRARIES: dict[TableKind, _Pandas | _Polars | _Pyarrow] = {
    "pandas": _Pandas(),
    "polars": _Polars(),
    "polars-lazy": _Polars(),
    "pyarrow": _Pyarrow(),
}


def _ranges(rows: int, row_bytes: float, max_byte: int) -> Iterator[tuple[int, int]]:
    """Return where the parts of a table begin and end; a table without rows is one part."""
    step = max(int(max_byte // max(row_bytes, 1)), 1)
    starts = [*range(0, rows, step), rows] if rows else [0, 0]
    return itertools.pairwise(starts)
