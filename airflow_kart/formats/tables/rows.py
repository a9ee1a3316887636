"""Tables as rows of JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.lossless import check_lossless
from airflow_kart.formats.table_kind import TableKind
from airflow_kart.formats.tables.objects import missing
from airflow_kart.formats.tables.plain import PlainTable, as_written, plain_schema, table_from_plain
from airflow_kart.formats.tables.stream import reading

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Rows:
    """The texts of a table's row objects in JSON.

    Args:
        obj: the table.
        kind: its library.
        format_name: the format's name, for errors.

    Raises:
        FormatError: the table has an index, or types, that would not come back.
    """

    def __init__(self, obj: object, kind: TableKind, format_name: str) -> None:
        if kind == "pandas":
            _check_index(cast("pd.DataFrame", obj), format_name)
        try:
            self._table = PlainTable(obj, kind, format_name, nested=True)
        except FormatError:
            raise
        except Exception as error:  # a lazy frame is a computation of its author's
            raise FormatError(f"the {format_name} format cannot write this table: {error}") from error
        self.description = self._table.description
        self._format = format_name
        frame = cast("pd.DataFrame", obj)
        self._objects = {name: _json_objects(frame[name], format_name) for name in self._table.objects}

    def texts(self, rows: int) -> Iterator[list[str]]:
        """Yield the rows as JSON objects, ``rows`` at a time."""
        names = list(self._table.columns)
        try:
            for columns in self._columns(rows):
                yield [
                    json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
                    for row in zip(*columns, strict=True)
                ]
        except FormatError:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise FormatError(
                f"the {self._format} format cannot write this table ({error}); NaN and infinity must be made null, and what "
                "JSON has no form for text; or dump to a .parquet file"
            ) from error

    def _columns(self, rows: int) -> Iterator[list[list[object]]]:
        """Yield the values of every column, some rows at a time."""
        names = list(self._table.columns)
        objects = self._objects
        if objects and len(objects) == len(names):
            for start in range(0, len(objects[names[0]]), rows):
                yield [objects[name][start : start + rows] for name in names]
            return
        start = 0
        for batch in self._table.batches(rows):
            end = start + batch.num_rows
            yield [objects[name][start:end] if name in objects else _json_values(batch[name]) for name in names]
            start = end


def _check_index(frame: pd.DataFrame, format_name: str) -> None:
    import pandas as pd

    if frame.index.name is not None or frame.index.nlevels > 1 or not frame.index.equals(pd.RangeIndex(len(frame))):
        raise FormatError(
            f"the {format_name} format would lose the frame's index; dump frame.reset_index(), which makes it a column, or "
            "frame.reset_index(drop=True)"
        )


def _json_objects(column: pd.Series[Any], format_name: str) -> list[object]:
    """Return a column of Python objects as JSON values, missing values as ``None``."""
    values: list[object] = [None if missing(value) else value for value in column]
    for row, value in enumerate(values):
        check_lossless(value, format_name, f"{column.name}[{row}]")
    return values


def _json_values(column: pa.ChunkedArray) -> list[object]:
    import pyarrow as pa

    if _written_as_text(column.type):
        column = column.cast(pa.large_string())
    values: list[object] = column.to_pylist()
    return values


def _written_as_text(arrow_type: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_temporal(arrow_type) or types.is_decimal(arrow_type))


def table_of_rows(
    parts: Iterator[list[Any]],
    kind: TableKind,
    dumped: TableKind | None,
    columns: Mapping[str, str] | None,
    format_name: str,
) -> object:
    """Return row objects as a table.

    Args:
        parts: lists of rows.
        kind: the requested library.
        dumped: the library of the dumped table, where known.
        columns: the dumped types; without them JSON tells numbers, booleans and text apart.
        format_name: the format's name, for errors.

    Raises:
        FormatError: a row is no object, or a value is of another type.
    """
    with reading("rows of JSON that fit their columns"):
        if columns is None or dumped is None:
            return _table_of_unknown([row for part in parts for row in part], kind)
        return _table_of_known(parts, kind, dumped, columns, format_name)


def _table_of_unknown(values: list[object], kind: TableKind) -> object:
    import pyarrow as pa

    rows = list(map(_object, values))
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    return table_from_plain(table, kind, None, {})


def _table_of_known(
    parts: Iterator[list[object]], kind: TableKind, dumped: TableKind, columns: Mapping[str, str], format_name: str
) -> object:
    import pyarrow as pa

    objects = [name for name, text in columns.items() if dumped == "pandas" and text == "object"]
    plain = {name: text for name, text in columns.items() if name not in objects}
    schema = as_written(plain_schema(dumped, plain, format_name, nested=True))
    values: dict[str, list[object]] = {name: [] for name in objects}
    tables = [schema.empty_table()]
    for rows in parts:
        for name in objects:
            values[name].extend(row[name] for row in map(_object, rows))
        arrays = [_array([row[field.name] for row in map(_object, rows)], field.type) for field in schema]
        tables.append(pa.Table.from_arrays(arrays, schema=schema))
    table = pa.concat_tables(tables)
    if objects and kind == "pandas":
        return _frame_with_objects(table, values, columns)
    if objects:  # requested as another library's table
        for name, some in values.items():
            table = table.append_column(name, pa.array(some))
        return table_from_plain(table.select(list(columns)), kind, None, {})
    return table_from_plain(table, kind, dumped, columns)


def _frame_with_objects(table: pa.Table, values: dict[str, list[object]], columns: Mapping[str, str]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    plain = {name: text for name, text in columns.items() if name not in values}
    rows = max([table.num_rows, *map(len, values.values())])
    frame: pd.DataFrame = table_from_plain(table, "pandas", "pandas", plain)
    if not plain:
        frame = pd.DataFrame(index=pd.RangeIndex(rows))
    for place, name in enumerate(columns):
        if name in values:
            objects = np.fromiter(values[name], dtype=object, count=rows)
            frame.insert(place, name, pd.Series(objects, index=frame.index, dtype=object))
    frame.columns = list(columns)
    return frame


def _array(values: list[object], arrow_type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_time(arrow_type):  # Arrow reads times of day only as parts of a moment
        moments = pa.array([None if value is None else f"1970-01-01 {value}" for value in values], pa.large_string())
        return moments.cast(pa.timestamp(arrow_type.unit)).cast(arrow_type)
    if _written_as_text(arrow_type):
        return pa.array(values, pa.large_string()).cast(arrow_type)
    return pa.array(values, arrow_type)


def _object(row: object) -> dict[str, object]:
    if not isinstance(row, dict):
        raise FormatError(f"a row of the table is {row!r:.80} and no JSON object")
    return row
