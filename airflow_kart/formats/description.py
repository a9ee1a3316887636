"""A sidecar's description of an object, made without importing any library that the object does not use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from airflow_kart.formats.base import Description, type_name
from airflow_kart.formats.table_kind import class_of_table, kind_of_table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


def describe_table(obj: object) -> Description:
    """Return the description of a table that a format of tables writes: a subclass loads as its library's own class."""
    description = describe(obj)
    cls = class_of_table(type(obj))
    return description if cls is None else replace(description, type=f"{cls.__module__}.{cls.__qualname__}")


def describe(obj: object) -> Description:
    """Return an object's type, and the rows and column types of a table of pandas, polars or pyarrow."""
    kind = kind_of_table(obj)
    if kind == "pandas":
        frame = cast("pd.DataFrame", obj)
        columns = {str(name): str(dtype) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)}
        return Description(type_name(obj), rows=len(frame), columns=columns)
    if kind == "polars":
        polars = cast("pl.DataFrame", obj)
        columns = {name: str(dtype) for name, dtype in polars.schema.items()}
        return Description(type_name(obj), rows=polars.height, columns=columns)
    if kind == "pyarrow":
        table = cast("pa.Table", obj)
        columns = {column.name: str(column.type) for column in table.schema}
        return Description(type_name(obj), rows=table.num_rows, columns=columns)
    return Description(type_name(obj))
