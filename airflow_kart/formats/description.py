"""What a sidecar says of an object, asked without importing any library the object does not use."""

from __future__ import annotations

import sys
from typing import Any

from airflow_kart.formats.base import Description, type_name

__all__ = ["describe"]


def describe(obj: object) -> Description:
    """Return an object's type, and the rows and column types of a pandas table."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None and isinstance(obj, pandas.DataFrame):
        frame: Any = obj
        columns = {str(name): str(dtype) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)}
        return Description(type_name(obj), rows=len(frame), columns=columns)
    return Description(type_name(obj))
