"""Tables as columns of plain values: the first rows, and statistics. Neither pandas nor numpy is needed."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_kart.plugin.preview.content import Column, Preview, Request, plain

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_COLUMNS, _MOST_ROWS, _MOST_VALUES = 50, 10_000, 200_000
_MOST_SHOWN = 1000
"""Cells that are shown."""
_BARS, _TOP = 14, 3
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NO_FRACTION = re.compile(r"\.0+(?=Z?$)")
_IN_ORDER = re.compile("date|time", re.IGNORECASE)
"""Types whose texts are in the order of their values, as ISO 8601 is."""
_TEXTS = ("object", "str", "string", "String", "large_string", "category", "Categorical")


def _table(
    names: Sequence[str],
    types: Mapping[str, str],
    values_of: Callable[[str, int], Sequence[object]],
    whole: int | None,
    note: str = "",
) -> Preview:
    """Return the preview of a table; columns for which bytes or memory do not suffice have only a type.

    Args:
        names: of all columns.
        types: of columns, by name.
        values_of: returns the first values of a column.
        whole: the rows of the whole table, where known.
        note: what is left out.
    """
    shown = names[:_MOST_COLUMNS]
    rows = min(_MOST_ROWS, _MOST_VALUES // max(len(shown), 1))
    found: list[Sequence[object]] = []
    try:
        found.extend(values_of(name, rows) for name in shown)
    except (OSError, MemoryError) as error:
        note = f"{note} Values of {len(found)} columns are shown: {plain(str(error))}.".strip()
    counted = max(map(len, found), default=0)
    few = min(counted, max(5, min(10, _MOST_SHOWN // max(len(found), 1))))
    cells = [[_cell(values[row]) if row < len(values) else None for values in found] for row in range(few)]
    found += [()] * (len(shown) - len(found))
    columns = [_column(name, types.get(name, ""), values) for name, values in zip(shown, found, strict=True)]
    return Preview("table", note, whole, counted, columns, len(names) - len(shown), cells)


def _column(name: str, kind: str, values: Sequence[object]) -> Column:
    there: list[Any] = [value for value in values if value is not None and not (type(value) is float and math.isnan(value))]
    facts: dict[str, Any] = {}
    kinds = set(map(type, there))
    if kinds and kinds <= {int, float}:
        facts = {"is_number": True, **_of_numbers([value for value in there if abs(value) < 1e300])}
    elif kinds and kinds <= {str, bool}:
        counts = Counter(_cell(value) for value in there)
        facts = {"distinct": len(counts), "top": counts.most_common(_TOP)}
        if _IN_ORDER.match(kind):
            facts = {"low": _cell(min(there)), "high": _cell(max(there))}
    return Column(plain(name), plain(kind), len(values) - len(there), **facts)


def _of_numbers(numbers: Sequence[int | float]) -> dict[str, Any]:
    if not numbers:
        return {}
    low, high = min(numbers), max(numbers)
    bars = [0] * _BARS
    for number in numbers:
        bars[min(int((number - low) / (high - low) * _BARS), _BARS - 1) if high > low else 0] += 1
    return {"low": _cell(low), "high": _cell(high), "mean": f"{math.fsum(numbers) / len(numbers):.6g}", "bars": bars}


def _cell(value: object) -> str | None:
    """Return a value in words, ``None`` for a missing one."""
    if value is None or isinstance(value, str):
        return value and plain(value)
    return f"{value:.10g}" if isinstance(value, float) else plain(json.dumps(value, ensure_ascii=False))


def of_rows(rows: Sequence[Mapping[str, object]], types: Mapping[str, str], whole: int | None, note: str = "") -> Preview:
    """Return the preview of a table of row objects."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return _table(names, types, lambda name, most: [row.get(name) for row in rows[:most]], whole, note)


def of_csv(text: str, separator: str, types: Mapping[str, str], whole: int | None, note: str = "") -> Preview:
    """Return the preview of delimited text with a header."""
    csv.field_size_limit(len(text) + 1)
    names, *rows = islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), _MOST_ROWS + 1)
    places = {name: place for place, name in enumerate(names)}

    def values_of(name: str, most: int) -> Sequence[object]:
        texts = [row[places[name]] or None if places[name] < len(row) else None for row in rows[:most]]
        if types.get(name, "").startswith(_TEXTS):
            return texts
        try:
            return [None if one is None else int(one) if _INTEGER.fullmatch(one) else float(one[:40]) for one in texts]
        except ValueError:
            return texts

    return _table(list(places), types, values_of, whole, note)


def of_parquet(asked: Request, stream: BinaryIO) -> Preview:
    """Return the preview of a Parquet file: pages are read column by column, as far as the bounds go."""
    import pyarrow as pa
    from pyarrow import parquet

    file = parquet.ParquetFile(pa.PythonFile(stream, mode="r"), buffer_size=1 << 16, pre_buffer=False)

    def batches(name: str, rows: int) -> Iterator[pa.RecordBatch]:
        yield from file.iter_batches(batch_size=rows, columns=[name], use_threads=False)

    return _of_arrow(file.schema_arrow, batches, asked.columns, file.metadata.num_rows)


def of_feather(asked: Request, stream: BinaryIO) -> Preview:
    """Return the preview of a Feather file, which is one of Arrow's IPC format."""
    import pyarrow as pa

    def opened(*fields: int) -> pa.RecordBatchFileReader:
        options = pa.ipc.IpcReadOptions(included_fields=list(fields) or None, use_threads=False)
        return pa.ipc.open_file(pa.PythonFile(stream, mode="r"), options=options)

    schema = opened().schema

    def batches(name: str, _: int) -> Iterator[pa.RecordBatch]:
        reader = opened(schema.names.index(name))
        yield from map(reader.get_batch, range(reader.num_record_batches))

    return _of_arrow(schema, batches, asked.columns, asked.rows)


def _of_arrow(
    schema: pa.Schema,
    batches: Callable[[str, int], Iterator[pa.RecordBatch]],
    types: Mapping[str, str],
    whole: int | None,
) -> Preview:
    def values_of(name: str, most: int) -> Sequence[object]:
        values: list[object] = []
        for batch in batches(name, most):
            place = next(place for place, field in enumerate(batch.schema) if field.name == name)
            values += _values(batch.column(place).slice(0, most - len(values)))
            if len(values) >= most:
                break
        return values

    types = {**{field.name: str(field.type) for field in schema}, **types}
    return _table(list(dict.fromkeys(schema.names)), types, values_of, whole)


def _values(column: pa.Array) -> list[object]:
    """Return the values of a column: numbers and truth values as they are, all others as texts."""
    import pyarrow as pa
    from pyarrow import compute, types

    kind = column.type
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind):
        return list(column.to_pylist())
    try:
        texts = (column.dictionary if types.is_dictionary(kind) else column).cast(pa.large_string())
        cut: Any = compute.SliceOptions(0, 201)  # one more than is shown, so that a cut text ends as such
        texts = compute.call_function("utf8_slice_codeunits", [texts], cut)
        found = (texts.take(column.indices) if types.is_dictionary(kind) else texts).to_pylist()
        return [text and _NO_FRACTION.sub("", text) for text in found] if types.is_temporal(kind) else list(found)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError):  # bytes, lists, structs
        return [value if value is None else plain(repr(value)) for value in column.slice(0, 20).to_pylist()]
