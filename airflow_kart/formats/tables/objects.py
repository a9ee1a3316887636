"""Columns of Python objects in a pandas frame: whether Arrow keeps the values, and how they come back."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from airflow_kart.exceptions import FormatError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Objects = np.ndarray[tuple[int, ...], np.dtype[np.object_]]

Missing: TypeAlias = Literal["None", "nan", "NA", "NaT"]

# Columns whose values Arrow keeps, by pandas' names for them, and the class of the values.
_KEPT: dict[str, type] = {
    "string": str,
    "bytes": bytes,
    "boolean": bool,
    "integer": int,
    "date": dt.date,
    "empty": type(None),
}
_ADVICE = "give all its values one type (frame[column].astype(...)), or dump to a .pkl file"


@dataclass(frozen=True)
class ObjectColumn:
    """The way to read a column of objects back from Arrow."""

    values: Literal["scalars", "arrays", "values"]
    """Whether the values are scalars, numpy arrays, or lists and dicts."""
    missing: Missing = "None"
    """The missing value; where a column has several kinds, ``None``."""

    @classmethod
    def of(cls, values: Objects, name: object) -> ObjectColumn:
        """Return the way to read a column back.

        Args:
            values: the column.
            name: the column's name, for errors.

        Raises:
            FormatError: Arrow has no form for the values that reads back equal.
        """
        import pandas as pd
        import pyarrow as pa

        gap = _missing_kind(values[pd.isna(values)])
        if is_kept(values):
            return cls("scalars", gap)
        try:
            array = pa.array(values, from_pandas=True)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise FormatError(f"the column {name!r} has values without a common type: {error}; {_ADVICE}") from error
        nested = pa.types.is_nested(array.type)
        changed: str | None = None
        ways = [cls("scalars", gap)]
        if nested:
            ways = [cls("values", gap)] if "tz=" in str(array.type) else [cls("arrays", gap), cls("values", gap)]
        for way in ways:
            changed = _first_change(values, way.read(pa.chunked_array([array])))
            if changed is None:
                return way
        raise FormatError(f"the column {name!r} would not read back equal: {changed}; {_ADVICE}")

    def read(self, column: pa.ChunkedArray) -> Objects:
        """Return a column of Arrow as a numpy array of objects."""
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        if self.values != "scalars" or pa.types.is_timestamp(column.type):
            # to_pandas() loses time zones in processes that have imported pandera.
            values = column.to_pandas() if self.values == "arrays" else column.to_pylist()
            objects = np.fromiter(values, dtype=object, count=len(column))
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            objects = column.to_numpy()
        else:
            objects = column.to_pandas(integer_object_nulls=True).to_numpy(dtype=object)
        if column.null_count:
            objects = objects.copy()  # Arrow may hold the same memory
            gaps = {"None": None, "nan": math.nan, "NA": pd.NA, "NaT": pd.NaT}
            objects[column.is_null().to_numpy()] = gaps[self.missing]
        return objects


def _missing_kind(gaps: Iterable[object]) -> Missing:
    """Return the one kind of all missing values, or else ``None``."""
    import pandas as pd

    kinds: set[Missing] = {
        "NA" if gap is pd.NA else "NaT" if gap is pd.NaT else "nan" if isinstance(gap, float) else "None" for gap in gaps
    }
    return kinds.pop() if len(kinds) == 1 else "None"


def _first_change(before: Iterable[object], after: Iterable[object]) -> str | None:
    for row, (one, other) in enumerate(zip(before, after, strict=True)):
        if not (missing(one) and missing(other)) and not same(one, other):
            return f"{_brief(one)} in row {row} would become {_brief(other)}"
    return None


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one type and equal, nested values all the way down; NaN equals itself.

    Moments in different time zones differ, even where they are the same instant.
    """
    import numpy as np

    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
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
    return bool(one == other) and (not isinstance(one, dt.datetime) or _zone(one) == _zone(other))


def _zone(moment: dt.datetime) -> object:
    """Return the time zone's name, its offset where it is fixed, or ``None``: libraries have classes of their own for each."""
    zone = moment.tzinfo
    name = getattr(zone, "key", None) or getattr(zone, "zone", None) or str(zone)
    return moment.utcoffset() if zone is None or name.startswith(("UTC", "+", "-")) or "Offset" in name else name


def is_kept(values: Objects | pd.Index[Any]) -> bool:
    """Whether Arrow keeps objects because all are of one class that it has a type for, or missing."""
    import pandas as pd

    cls = _KEPT.get(pd.api.types.infer_dtype(values, skipna=True))
    return cls is not None and is_exact(values, cls)


def is_exact(values: Iterable[object], cls: type) -> bool:
    """Whether all objects are of the class itself, or missing: a subclass would come back as the class."""
    import pandas as pd

    others = set(map(type, values)) - {cls, type(None), float, type(pd.NA), type(pd.NaT)}
    return not others or all(missing(value) for value in values if type(value) in others)


def missing(value: object) -> bool:
    """Whether a value is a missing one for pandas."""
    import pandas as pd

    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
