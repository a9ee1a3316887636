"""Tables as delimited text."""

from __future__ import annotations

import codecs
import datetime as dt
import importlib
import io
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import READING, Description
from airflow_kart.formats.encoding import EncodingStream, check_encoding
from airflow_kart.formats.table_kind import TableKind, check_kind, kind_of_type_name, require_table
from airflow_kart.formats.tables.guessed import exact_columns, may_be_inexact
from airflow_kart.formats.tables.plain import PlainTable, arrow_type, as_written, plain_schema, table_from_plain
from airflow_kart.formats.tables.stream import Attempt, file_path, reading, writing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from airflow_kart.formats.archive import Writes

_ROWS = 1 << 16
_IN_VALUES = frozenset(f"{string.ascii_letters}{string.digits}+-.: ")  # of numbers, booleans, dates and times
_BLOCK = 1 << 20
_LARGEST_BLOCK = 2**31 - 1


@dataclass(frozen=True)
class CsvFormat:
    """A table as CSV (RFC 4180, with a header).

    Columns come back with their dumped types, which the sidecar records: numbers, booleans, text, dates and times;
    other types are refused. A missing value is an empty field, an empty text is ``""``.

    In bytes without a sidecar, those of an ``ExternalTask``, a column has a type that keeps each value exactly, or else is text:
    integers that 64 bits hold, numbers with fractions, ``true`` and ``false``, dates and times as ISO 8601. Integers of more
    digits, with leading zeros or among long fractions, ``0x10``, and ``1`` among ``true`` stay text.

    Args:
        separator: between fields, one ASCII character.
        encoding: of the text, as Python names it.
        index: ``True`` writes a pandas frame's index as the first column, and loads this column as the index; ``False``
            leaves the index out. By default only the index 0, 1, 2, ... is left out, and any other is refused. An index
            loses its frequency.
        kind: the library of the loaded table; by default that of the dumped table.
        column_types: for bytes without a sidecar, types of columns by name that are not to be guessed: ``int``, ``float``,
            ``bool``, ``str``, ``datetime.date``, ``datetime.datetime``, or the text of an Arrow type, ``"float32"``.
    """

    separator: str = ","
    encoding: str = "utf-8"
    index: bool | None = None
    kind: TableKind | None = field(default=None, metadata=READING)
    dumped: TableKind | None = field(default=None, repr=False, metadata=READING)
    """The library of the dumped table; :meth:`for_type` sets this field."""
    columns: Mapping[str, str] | None = field(default=None, repr=False, metadata=READING)
    """The dumped column types; :meth:`for_columns` sets them."""

    column_types: Mapping[str, type | str] = field(default_factory=dict, metadata=READING)

    name = "csv"
    trusts_bytes = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_kind(self.kind, "CsvFormat")
        check_encoding(self.encoding, "CsvFormat")
        for column, column_type in self.column_types.items():
            _arrow_type(column, column_type)
        if len(self.separator) != 1 or not self.separator.isascii() or self.separator in '"\r\n\0':
            raise ConfigurationError(
                f"CsvFormat got separator={self.separator!r}; give one ASCII character, such as ',' or ';'"
            )

    def for_type(self, dumped: str) -> CsvFormat:
        """Return the format that loads a table of the dumped class."""
        kind = kind_of_type_name(dumped)
        return replace(self, kind=self.kind or kind, dumped=kind)

    def for_columns(self, columns: Mapping[str, str]) -> CsvFormat:
        """Return the format that loads columns with their dumped types."""
        return replace(self, columns=columns)

    def dump(self, obj: object, stream: io.RawIOBase) -> Description | None:
        """Write a table."""
        import pyarrow as pa
        from pyarrow import csv

        kind = require_table(obj, self.name)
        with writing(stream, "the csv format cannot write this table") as buffered:
            table = PlainTable(self._with_index(cast("pd.DataFrame", obj)) if kind == "pandas" else obj, kind, self.name)
            sink: Writes = (
                buffered if codecs.lookup(self.encoding).name == "utf-8" else EncodingStream(buffered, self.encoding)
            )
            if table.columns:
                sink.write((self.separator.join(map(self._label, table.columns)) + "\n").encode())
            for batch in table.batches(_ROWS):
                options = csv.WriteOptions(include_header=False, delimiter=self.separator, quoting_style=self._style(batch))
                text = pa.BufferOutputStream()
                csv.write_csv(batch, text, options)
                sink.write(memoryview(text.getvalue()))
            return table.description

    def load(self, stream: BinaryIO) -> object:
        """Read a table; bytes without a header are a table without columns."""
        import pyarrow as pa

        with reading("CSV"):
            table = self._read(stream)
            if any(pa.types.is_binary(column.type) for column in table.schema):
                raise FormatError(f"the bytes are not CSV in {self.encoding.upper()}")
            if self.dumped is not None and self.columns is not None and table.column_names != list(self.columns):
                raise FormatError(f"the columns are {table.column_names!r:.200}, not {list(self.columns)!r:.200}")
            return self._table(table)

    def _read(self, stream: BinaryIO) -> pa.Table:
        import pyarrow as pa

        schema = None
        if self.columns is not None and self.dumped is not None:
            schema = as_written(plain_schema(self.dumped, self.columns, self.name))
        if not stream.read(1) and not schema:
            return pa.table({})
        if schema is not None:
            return self._read_typed(stream, schema)
        given = {name: _arrow_type(name, text) for name, text in self.column_types.items()}
        table = self._read_typed(stream, given)
        guessed = [field.name for field in table.schema if field.name not in given and may_be_inexact(field.type)]
        if not guessed or len(set(table.column_names)) < len(table.column_names):
            return table
        return exact_columns(table, self._read_typed(stream, dict.fromkeys(guessed, pa.large_string()), guessed))

    def _read_typed(
        self, stream: BinaryIO, types: pa.Schema | Mapping[str, pa.DataType], only: list[str] | None = None
    ) -> pa.Table:
        """Read columns, with some of their types; the others are guessed."""
        import pyarrow as pa
        from pyarrow import csv

        block = _BLOCK
        while True:
            attempt = Attempt(stream)
            try:
                return csv.read_csv(
                    file_path(stream) or pa.PythonFile(attempt, mode="r"),
                    csv.ReadOptions(encoding=self.encoding, block_size=block),
                    csv.ParseOptions(delimiter=self.separator, newlines_in_values=True, ignore_empty_lines=False),
                    csv.ConvertOptions(
                        column_types=types,
                        include_columns=only,
                        null_values=[""],
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                    ),
                )
            except pa.ArrowInvalid:  # a row may be longer than a block
                attempt.end()
                size = stream.seek(0, io.SEEK_END)
                if block >= min(size, _LARGEST_BLOCK):
                    raise
                block = min(size, _LARGEST_BLOCK)
            finally:
                attempt.end()

    def _table(self, table: pa.Table) -> object:
        import pandas as pd

        kind = self.kind or "pandas"
        found = table_from_plain(table, kind, self.dumped, self.columns or {})
        if self.index and kind == "pandas":
            first = found.pop(found.columns[0])
            found.index = pd.Index(first, dtype=first.dtype).rename(first.name or None)
        return found

    def _with_index(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a pandas frame to write: with its index as the first column, or without an index."""
        import pandas as pd

        index = frame.index
        if self.index is None and (index.name is not None or not index.equals(pd.RangeIndex(len(frame)))):
            raise FormatError(
                "the csv format would lose the frame's index; dump frame.reset_index(), or choose "
                "CsvFormat(index=True) to write it as the first column, CsvFormat(index=False) to leave it out"
            )
        if not self.index:
            return frame
        if index.nlevels > 1 or not isinstance(index.name, (str, type(None))) or index.name in ("", *frame.columns):
            raise FormatError(
                "the csv format can write an index of one level, whose name is text and no column's; dump frame.reset_index()"
            )
        whole: pd.DataFrame = frame.reset_index(names=index.name or "")
        whole.columns.name = frame.columns.name
        return whole

    def _label(self, name: str) -> str:
        special = not name or any(character in name for character in ('"', "\r", "\n", self.separator))
        return '"' + name.replace('"', '""') + '"' if special else name

    def _style(self, batch: pa.Table) -> str:
        """Return pyarrow's word for the values of a batch to quote: all, where numbers or dates may hold the separator."""
        if self.separator in _IN_VALUES:
            return "all_valid"
        return "needed" if self._needs_quotes(batch) else "none"

    def _needs_quotes(self, batch: pa.Table) -> bool:
        """Whether a text of a batch needs quotes: an empty text, or one with a special character."""
        import pyarrow as pa

        pc = importlib.import_module("pyarrow.compute")  # the import makes its functions
        pattern = '^$|["\\r\\n' + (f"\\x{ord(self.separator):02x}" + "]")
        texts = [
            column for column in batch.columns if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        ]
        return any(pc.any(pc.match_substring_regex(column, pattern)).as_py() for column in texts)


_NAMES: Mapping[type, str] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    str: "large_string",
    dt.date: "date32",
    dt.datetime: "timestamp[us]",
}


def _arrow_type(column: str, given: type | str) -> pa.DataType:
    """Return the Arrow type that a column is to have.

    Raises:
        ConfigurationError: there is no such type.
    """
    name = given if isinstance(given, str) else _NAMES.get(given)
    found = None if name is None else arrow_type("pyarrow", name)
    if found is None:
        raise ConfigurationError(
            f"CsvFormat got column_types={{{column!r}: {given!r}}}; give int, float, bool, str, datetime.date, "
            "datetime.datetime, or the text of an Arrow type such as 'float32'"
        )
    return found


def tsv_format() -> CsvFormat:
    """Return CSV with tabs."""
    return CsvFormat(separator="\t")
