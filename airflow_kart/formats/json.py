"""JSON: values, and tables as row objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, BinaryIO, cast

from typing_extensions import Self

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import READING, Description, require_type
from airflow_kart.formats.lossless import check_lossless
from airflow_kart.formats.table_kind import TableKind, check_kind, kind_of_table, kind_of_type_name, require_table
from airflow_kart.formats.tables.rows import Rows, table_of_rows

_ROWS = 1 << 13


@dataclass(frozen=True)
class _RowsFormat:
    kind: TableKind | None = field(default=None, metadata=READING)
    dumped: TableKind | None = field(default=None, repr=False, metadata=READING)
    """The library of the dumped table; :meth:`for_type` sets this field."""
    columns: Mapping[str, str] | None = field(default=None, repr=False, metadata=READING)
    """The dumped column types; :meth:`for_columns` sets them."""

    def __post_init__(self) -> None:
        check_kind(self.kind, type(self).__name__)

    def for_type(self, dumped: str) -> Self:
        """Return the format that loads a table where a table was dumped, else a value."""
        found = kind_of_type_name(dumped)
        return replace(self, kind=found and (self.kind or found), dumped=found)

    def for_columns(self, columns: Mapping[str, str]) -> Self:
        """Return the format that loads columns with their dumped types."""
        return replace(self, columns=columns)

    def _table(self, rows: Iterator[list[Any]], name: str) -> object:
        return table_of_rows(rows, self.kind or "pandas", self.dumped, self.columns, name)


@dataclass(frozen=True)
class JsonFormat(_RowsFormat):
    """A JSON value (RFC 8259), as indented UTF-8; or a table, as an array of row objects.

    A value that would not read back equal, for example a tuple or an int key, is refused. The columns of a table come back
    with their dumped types, which the sidecar records: numbers, booleans, text, lists, objects, and dates and times as
    ISO 8601. A missing value is ``null``. A pandas frame needs the index 0, 1, 2, ...

    Args:
        kind: the library of the loaded table, where a table was dumped; by default that of the dumped table.
    """

    name = "json"
    trusts_bytes = False

    def dump(self, obj: object, stream: io.RawIOBase) -> Description | None:
        """Write a JSON value or a table."""
        kind = kind_of_table(obj)
        if kind is None:
            check_lossless(obj, self.name)
            stream.write(_utf8(_text(obj, self.name, indent=2)) + b"\n")
            return None
        require_table(obj, self.name)
        rows = Rows(obj, kind, self.name)
        before = "[\n"
        for texts in rows.texts(_ROWS):
            stream.write(_utf8(before + ",\n".join(texts)))
            before = ",\n"
        stream.write(b"[]\n" if before == "[\n" else b"\n]\n")
        return rows.description

    def load(self, stream: BinaryIO) -> object:
        """Read a JSON value or a table."""
        try:
            found = json.loads(stream.read())
        except (ValueError, RecursionError) as error:
            raise FormatError(f"the bytes are not JSON ({error})") from error
        if self.kind is None:
            return found
        if not isinstance(found, list):
            raise FormatError("the bytes are a JSON value, but no array of row objects")
        return self._table(iter([found]), self.name)


@dataclass(frozen=True)
class NdjsonFormat(_RowsFormat):
    """A table as one JSON object per line, or a list of JSON values as one per line.

    The same as :class:`JsonFormat`, but rows are written and read part by part.

    Args:
        kind: the library of the loaded table, where a table was dumped; by default that of the dumped table.
    """

    name = "ndjson"
    trusts_bytes = False

    def dump(self, obj: object, stream: io.RawIOBase) -> Description | None:
        """Write a table or a list of JSON values."""
        kind = kind_of_table(obj)
        if kind is None:
            require_type(obj, list, self.name, "dump a table, or a list of JSON values")
            check_lossless(obj, self.name)
            values = iter(cast("list[object]", obj))
            while some := list(islice(values, _ROWS)):
                stream.write(_utf8("".join(f"{_text(value, self.name)}\n" for value in some)))
            return None
        require_table(obj, self.name)
        rows = Rows(obj, kind, self.name)
        stream.writelines(_utf8("".join(f"{text}\n" for text in texts)) for texts in rows.texts(_ROWS))
        return rows.description

    def load(self, stream: BinaryIO) -> object:
        """Read a table or a list of JSON values."""
        parts = _parsed(stream)
        return [value for part in parts for value in part] if self.kind is None else self._table(parts, self.name)


def _parsed(stream: BinaryIO) -> Iterator[list[Any]]:
    """Yield the values of some lines at a time."""
    number = 0
    while lines := list(islice(stream, _ROWS)):
        values = []
        for line in lines:
            number += 1
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise FormatError(f"line {number} is not JSON ({error})") from error
        yield values


def _text(obj: object, format_name: str, indent: int | None = None) -> str:
    try:
        return json.dumps(obj, ensure_ascii=False, indent=indent, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"the {format_name} format cannot write this object ({error}); dump JSON values or a table only"
        ) from error


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"the text cannot be written as UTF-8 ({error}); it holds half of a surrogate pair") from error
