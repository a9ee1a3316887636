"""What a sidecar says of an object, asked without importing any library the object does not use."""

from __future__ import annotations

from typing import Any

from airflow_kart.formats.base import Description, type_name
from airflow_kart.formats.table_kind import kind_of_table

__all__ = ["describe"]


def describe(obj: object) -> Description:
    """Return an object's type, and the rows and column types of a table of pandas, polars or pyarrow."""
    table: Any = obj
    kind = kind_of_table(obj)
    if kind == "pandas":
        columns = {str(name): str(dtype) for name, dtype in zip(table.columns, table.dtypes, strict=True)}
        return Description(type_name(obj), rows=len(table), columns=columns)
    if kind == "polars":
        return Description(
            type_name(obj), rows=table.height, columns={name: str(dtype) for name, dtype in table.schema.items()}
        )
    if kind == "pyarrow":
        columns = {column.name: str(column.type) for column in table.schema}
        return Description(type_name(obj), rows=table.num_rows, columns=columns)
    return Description(type_name(obj))
