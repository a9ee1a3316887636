"""Whether the columns of a pandas, polars or pyarrow table have the types that a task declares."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from typing import Any

from airflow_kart.formats.table_kind import kind_of_table


def wrong_columns(obj: object, expected: Mapping[str, object]) -> list[str]:
    """Return a line for each column that has another type than expected; none for objects other than tables.

    Args:
        obj: any object.
        expected: the type by column: a Python type (``int``, ``float``, ``bool``, ``str``, ``bytes``, ``datetime.date``,
            ``datetime.datetime``, ``datetime.timedelta``, or the class of the objects in a pandas column), a type of the
            table's library, or the text of one (``"int64"``, ``"Int64"``, ``"timestamp[us]"``).
    """
    columns, fits = _columns_of(obj, expected)
    wrong = []
    for name, wanted in expected.items():
        if name in columns and not fits(columns[name], wanted):
            wrong.append(f"{name} is {_dtype(columns[name])}, not {_name(wanted)}")
    return wrong


def _columns_of(obj: Any, names: Collection[str]) -> tuple[Mapping[str, Any], Callable[[Any, Any], bool]]:
    """Return the columns of a table that have one of the names, and the predicate that compares a column with a type."""
    kind = kind_of_table(obj)
    if kind == "pandas":
        labels = obj.columns if obj.columns.is_unique else ()
        return {str(label): obj[label] for label in labels if str(label) in names}, _fits_pandas
    if kind in ("polars", "polars-lazy"):
        return {name: dtype for name, dtype in obj.collect_schema().items() if name in names}, _fits_polars
    if kind == "pyarrow":
        return {field.name: field.type for field in obj.schema if field.name in names}, _fits_pyarrow
    return {}, _fits_pyarrow


def _fits_pandas(column: Any, wanted: object) -> bool:
    from pandas.api import types

    dtype = column.dtype
    if isinstance(wanted, type) and wanted in _PANDAS_KINDS:
        if types.is_object_dtype(dtype):
            return types.infer_dtype(column, skipna=True) in (*_PANDAS_KINDS[wanted][1], "empty")
        check: Callable[[Any], bool] = getattr(types, _PANDAS_KINDS[wanted][0])
        return check(dtype) and str(dtype) != "category"  # pandas counts categories of text as text
    if isinstance(wanted, type) and types.is_object_dtype(dtype) and not hasattr(wanted, "dtype"):
        return all(isinstance(value, wanted) for value in column.dropna())
    try:
        return str(dtype) == wanted or bool(dtype == types.pandas_dtype(wanted))
    except TypeError:
        return False


# For each Python type, pandas' own test of a column's type, and the names that infer_dtype has for columns of objects.
_PANDAS_KINDS: dict[type, tuple[str, tuple[str, ...]]] = {
    int: ("is_integer_dtype", ("integer",)),
    float: ("is_float_dtype", ("floating",)),
    bool: ("is_bool_dtype", ("boolean",)),
    str: ("is_string_dtype", ("string",)),
    bytes: ("is_object_dtype", ("bytes",)),
    dt.datetime: ("is_datetime64_any_dtype", ("datetime",)),
    dt.date: ("is_object_dtype", ("date",)),
    dt.timedelta: ("is_timedelta64_dtype", ("timedelta",)),
}


def _fits_polars(dtype: Any, wanted: object) -> bool:
    import polars as pl

    if dtype == pl.Null:
        return True
    kinds: dict[Any, Callable[[], bool]] = {
        int: dtype.is_integer,
        float: dtype.is_float,
        bool: lambda: bool(dtype == pl.Boolean),
        str: lambda: dtype in (pl.String, pl.Categorical, pl.Enum),
        bytes: lambda: bool(dtype == pl.Binary),
        dt.datetime: lambda: bool(dtype == pl.Datetime),
        dt.date: lambda: bool(dtype == pl.Date),
        dt.timedelta: lambda: bool(dtype == pl.Duration),
    }
    if isinstance(wanted, type) and wanted in kinds:
        return kinds[wanted]()
    return str(dtype) == wanted if isinstance(wanted, str) else bool(dtype == wanted)


def _fits_pyarrow(dtype: Any, wanted: object) -> bool:
    from pyarrow import types

    if types.is_null(dtype):
        return True
    kinds: dict[Any, tuple[Callable[[Any], bool], ...]] = {
        int: (types.is_integer,),
        float: (types.is_floating,),
        bool: (types.is_boolean,),
        str: (types.is_string, types.is_large_string),
        bytes: (types.is_binary, types.is_large_binary),
        dt.datetime: (types.is_timestamp,),
        dt.date: (types.is_date,),
        dt.timedelta: (types.is_duration,),
    }
    if isinstance(wanted, type) and wanted in kinds:
        return any(check(dtype) for check in kinds[wanted])
    return str(dtype) == wanted if isinstance(wanted, str) else bool(dtype == wanted)


def _dtype(column: object) -> str:
    return str(getattr(column, "dtype", column))


def _name(wanted: object) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)
