"""Tables whose columns have a form as text, for formats that hold text only.

The text does not tell the column types; the sidecar does, in the words of the table's library. This module turns these
words into Arrow types, so that one set of rules writes and reads columns, and no type is guessed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import Description
from airflow_kart.formats.description import describe_table
from airflow_kart.formats.table_kind import TableKind, import_polars
from airflow_kart.formats.tables.columnar import as_kind, lazy_description
from airflow_kart.formats.tables.objects import is_exact
from airflow_kart.formats.tables.polars_sink import batches

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_ADVICE = "convert it with astype() or cast(), or dump to a .parquet file"


class PlainTable:
    """A table to write as text: its schema, and its rows in batches.

    Args:
        obj: the table.
        kind: its library.
        format_name: the format's name, for errors.
        nested: whether the format has lists and objects; such a format writes columns of Python objects itself.

    Raises:
        FormatError: a column or a label has no form as text that reads back equal.
    """

    def __init__(self, obj: object, kind: TableKind, format_name: str, *, nested: bool = False) -> None:
        self._kind = kind
        self._format = format_name
        self.objects: list[str] = []
        """The columns of Python objects that :meth:`batches` leaves out."""
        if kind == "pandas":
            frame = cast("pd.DataFrame", obj)
            _check_frame(frame, format_name)
            objects = [str(name) for name, dtype in frame.dtypes.items() if str(dtype) == "object"]
            if nested:
                self.objects = objects
            else:
                _check_text(frame, objects, format_name)
        self.description: Description = (
            lazy_description(cast("pl.LazyFrame", obj)) if kind == "polars-lazy" else describe_table(obj)
        )
        self.columns: dict[str, str] = self.description.columns or {}
        self._schema = as_written(plain_schema(kind, self.columns, format_name, nested=nested))
        if kind == "pyarrow":
            self._check_arrow(cast("pa.Table", obj))
        if not self.columns and self.description.rows:
            raise FormatError(f"the {format_name} format cannot write rows without columns")
        self._obj = obj

    def batches(self, rows: int) -> Iterator[pa.Table]:
        """Yield the rows, ``rows`` at a time; an empty table yields nothing."""
        import pyarrow as pa

        if self._kind == "polars-lazy":
            for part in batches(cast("pl.LazyFrame", self._obj)):
                yield from _slices(_arrow_of_polars(part).cast(self._schema), rows)
            return
        if self._kind == "polars":
            table = _arrow_of_polars(cast("pl.DataFrame", self._obj))
        elif self._kind == "pandas":
            frame = cast("pd.DataFrame", self._obj).drop(columns=self.objects)
            table = pa.Table.from_pandas(frame, preserve_index=False)
        else:
            table = cast("pa.Table", self._obj)
        schema = pa.schema([field for field in self._schema if field.name not in self.objects])
        yield from _slices(table.replace_schema_metadata(None).cast(schema), rows)

    def _check_arrow(self, table: pa.Table) -> None:
        names = table.column_names
        if len(set(names)) < len(names):
            raise FormatError(f"the {self._format} format cannot write two columns of one name; rename them: {names}")
        for column in table.schema:
            if not column.nullable:
                raise FormatError(f"the column {column.name!r} would no longer be non-nullable; dump to a .parquet file")


def _slices(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


def _arrow_of_polars(frame: pl.DataFrame) -> pa.Table:
    levels = getattr(import_polars(), "CompatLevel", None)  # since polars 1.1, which has newer kinds of text too
    return frame.to_arrow() if levels is None else frame.to_arrow(compat_level=levels.oldest())


def _check_frame(frame: pd.DataFrame, format_name: str) -> None:
    labels = list(frame.columns)
    if frame.columns.nlevels > 1 or not all(isinstance(label, str) for label in labels):
        raise FormatError(
            f"the {format_name} format has text column labels only, not {labels!r:.200}; set frame.columns to a list of str"
        )
    if len(set(labels)) < len(labels):
        raise FormatError(f"the {format_name} format cannot write two columns of one name; rename them: {labels!r:.200}")
    if frame.columns.name is not None:
        raise FormatError(
            f"the {format_name} format cannot keep the columns' name {frame.columns.name!r}; use frame.rename_axis(columns=None)"
        )
    if frame.attrs:
        raise FormatError(f"the {format_name} format cannot keep the frame's attrs; clear them, frame.attrs = {{}}")


def _check_text(frame: pd.DataFrame, names: list[str], format_name: str) -> None:
    """Refuse columns of Python objects other than text."""
    import pandas as pd

    for name in names:
        found = pd.api.types.infer_dtype(frame[name], skipna=True)
        if found == "string" and not is_exact(frame[name], str):
            found = "subclasses of str"
        if found not in ("string", "empty"):
            raise FormatError(f"the {format_name} format has no form for the column {name!r} of {found} objects; {_ADVICE}")


def plain_schema(kind: TableKind, columns: Mapping[str, str], format_name: str, *, nested: bool = False) -> pa.Schema:
    """Return the schema for writing columns as text.

    Args:
        kind: the library in whose words the types are.
        columns: the types, by name.
        format_name: the format's name, for errors.
        nested: whether the format has lists and objects.

    Raises:
        FormatError: a type has no form as text.
    """
    import pyarrow as pa

    fields = []
    for name, text in columns.items():
        found = arrow_type(kind, text)
        if found is None or not _is_plain(found, nested):
            raise FormatError(f"the {format_name} format has no form for the column {name!r} of type {text}; {_ADVICE}")
        fields.append(pa.field(name, found))
    return pa.schema(fields)


def as_written(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the text: moments of any time zone in UTC, which has no hour twice and no odd seconds."""
    import pyarrow as pa

    zoned = [place for place, field in enumerate(schema) if pa.types.is_timestamp(field.type) and field.type.tz]
    for place in zoned:
        schema = schema.set(place, schema.field(place).with_type(pa.timestamp(schema.field(place).type.unit, tz="UTC")))
    return schema


def table_from_plain(table: pa.Table, kind: TableKind, dumped: TableKind | None, columns: Mapping[str, str]) -> Any:
    """Return a table that was read from text as a table of the requested library.

    Args:
        table: the columns, with the types of the text.
        kind: the requested library.
        dumped: the library of the dumped table; where both are the same, columns get their very types back.
        columns: the dumped types.
    """
    if dumped == kind == "pandas":
        import pandas as pd

        series = {name: _pandas_series(table[name], columns[name]) for name in table.column_names}
        return pd.DataFrame(series, index=pd.RangeIndex(table.num_rows), columns=list(columns) or None)
    if dumped is not None:
        names = table.column_names
        table = table.cast(plain_schema(dumped, {name: columns[name] for name in names}, "text", nested=True))
    if kind.startswith("polars") and dumped is not None and dumped.startswith("polars"):
        series = as_kind(table, "polars").get_columns()
        frame = import_polars().DataFrame([one.cast(_polars_type(columns[one.name])) for one in series])
        frame.columns = list(columns)  # polars names a column without a name
        return frame.lazy() if kind == "polars-lazy" else frame
    return as_kind(table, kind)


def _pandas_series(column: pa.ChunkedArray, text: str) -> pd.Series[Any]:
    import pandas as pd

    dtype: Any = pd.api.types.pandas_dtype(text)
    if text == "object":
        return cast("pd.Series[Any]", pd.Series(column.to_numpy(), dtype=object))
    if hasattr(dtype, "__from_arrow__"):
        return cast("pd.Series[Any]", pd.Series(dtype.__from_arrow__(column)))
    return cast("pd.Series[Any]", column.to_pandas().astype(dtype))


def arrow_type(kind: TableKind, text: str) -> pa.DataType | None:
    """Return the Arrow type for a column type in a library's words, or ``None``."""
    try:
        if kind == "pandas":
            return _arrow_type_of_pandas(text)
        if kind == "pyarrow":
            return _arrow_type_by_name(text)
        return _arrow_of_polars(import_polars().DataFrame(schema={"column": _polars_type(text)})).schema.field(0).type
    except (TypeError, ValueError, NotImplementedError, AttributeError):
        return None


def _arrow_type_of_pandas(text: str) -> pa.DataType:
    import pandas as pd
    import pyarrow as pa

    dtype: Any = pd.api.types.pandas_dtype(text)
    if text == "object" or isinstance(dtype, pd.StringDtype):
        return pa.large_string()
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = text.partition(", ")[2].rstrip("]")
        return pa.timestamp(dtype.unit, tz=zone.removeprefix("UTC") or zone)  # UTC+09:00 is +09:00 in Arrow
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    return pa.from_numpy_dtype(getattr(dtype, "numpy_dtype", dtype))


_NAMED = re.compile(
    r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]|decimal128\((\d+), (-?\d+)\)|(date32|time32|time64|duration)\[(\w+)\]"
)


def _arrow_type_by_name(text: str) -> pa.DataType:
    import pyarrow as pa

    match = _NAMED.fullmatch(text)
    if match is None:
        return pa.type_for_alias({"double": "float64", "float": "float32"}.get(text, text))
    unit, zone, precision, scale, name, name_unit = match.groups()
    if unit:
        return pa.timestamp(unit, tz=zone)
    if precision:
        return pa.decimal128(int(precision), int(scale))
    return pa.date32() if name == "date32" else getattr(pa, name)(name_unit)


def _is_plain(arrow_type: pa.DataType, nested: bool) -> bool:
    from pyarrow import types

    if types.is_nested(arrow_type):
        return nested and _is_json(arrow_type)
    return bool(
        _is_json(arrow_type)
        or types.is_date32(arrow_type)
        or types.is_time(arrow_type)
        or types.is_timestamp(arrow_type)
        or types.is_decimal128(arrow_type)
    )


def _is_json(arrow_type: pa.DataType) -> bool:
    """Whether JSON has a form of its own for a type."""
    from pyarrow import types

    if types.is_struct(arrow_type):
        return all(_is_json(arrow_type.field(place).type) for place in range(arrow_type.num_fields))
    if types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type):
        return _is_json(arrow_type.value_type)
    return bool(
        types.is_integer(arrow_type)
        or types.is_float32(arrow_type)
        or types.is_float64(arrow_type)
        or types.is_boolean(arrow_type)
        or types.is_string(arrow_type)
        or types.is_large_string(arrow_type)
        or types.is_null(arrow_type)
    )


def _polars_type(text: str) -> pl.DataType:
    """Return the polars type whose ``str`` is this text: a name, or a call of a name with literals and types as arguments.

    Raises:
        ValueError: no type has this text.
    """
    try:
        return cast("pl.DataType", _evaluate(ast.parse(text, mode="eval").body))
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"{text!r} is no polars type") from error


def _evaluate(node: ast.expr) -> Any:
    import polars as pl

    if isinstance(node, ast.Name):
        found = getattr(pl, node.id, None)
        if isinstance(found, type) and issubclass(found, pl.DataType):
            return found
        raise ValueError(f"polars has no type {node.id}")
    if isinstance(node, ast.Call):
        options = {keyword.arg: _evaluate(keyword.value) for keyword in node.keywords if keyword.arg}
        return _evaluate(node.func)(*map(_evaluate, node.args), **options)
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _evaluate(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)
