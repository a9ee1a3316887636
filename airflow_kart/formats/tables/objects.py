"""Columns of Python objects in a pandas frame: whether Arrow keeps them, and how they come back."""

from __future__ import annotations

import math
from typing import Any, Literal

from airflow_kart.exceptions import FormatError

__all__ = ["ObjectsAs", "missing", "objects_as", "same", "to_objects"]

ObjectsAs = Literal["scalars", "arrays", "values"]
"""How a column of objects is read: scalars, numpy arrays, or lists and dicts."""

# What pandas calls a column whose values Arrow keeps as they are; None stands for a missing one.
_KEPT = frozenset({"string", "bytes", "boolean", "integer", "date", "empty"})


def objects_as(values: Any, name: object) -> ObjectsAs:
    """Return how to read a column of objects back.

    Args:
        values: the column, as a numpy array of objects.
        name: what an error calls it.

    Raises:
        FormatError: Arrow has no form for the values that reads back equal.
    """
    import pandas as pd
    import pyarrow as pa

    if pd.api.types.infer_dtype(values, skipna=True) in _KEPT:
        return "scalars"
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"the column {name!r} has values without a common type: {error}; {_ADVICE}") from error
    ways: tuple[ObjectsAs, ...] = ("values", "arrays") if pa.types.is_nested(array.type) else ("scalars",)
    for way in ways:
        back = to_objects(pa.chunked_array([array]), way)
        differing = _first_difference(values, back)
        if differing is None:
            return way
    raise FormatError(
        f"the column {name!r} would not read back equal: {_brief(values[differing])} in row {differing} would become "
        f"{_brief(back[differing])}; {_ADVICE}"
    )


_ADVICE = "give all its values one type (frame[column].astype(...)), or dump to a .pkl file"


def to_objects(column: Any, way: ObjectsAs) -> Any:
    """Return an Arrow column as a numpy array of objects, missing ones as ``None``."""
    import numpy as np
    import pyarrow as pa

    if way == "scalars":
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return column.to_numpy()
        return column.to_pandas(integer_object_nulls=True, timestamp_as_object=True).to_numpy(dtype=object)
    values = column.to_pylist() if way == "values" else column.to_pandas()
    return np.fromiter(values, dtype=object, count=len(column))


def _first_difference(before: Any, after: Any) -> int | None:
    pairs = enumerate(zip(before, after, strict=True))
    return next((row for row, (one, other) in pairs if not (missing(one) and missing(other)) and not same(one, other)), None)


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and equal, nested ones all the way down; NaN equals itself."""
    import numpy as np

    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.hasobject:
            return all(map(same, one.ravel(), other.ravel()))
        return bool(one.tobytes() == other.tobytes())
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def missing(value: object) -> bool:
    """Whether pandas takes a value for a missing one."""
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
