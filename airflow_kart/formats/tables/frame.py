"""A pandas frame as an Arrow table, and back as an equal frame.

pyarrow's own conversion keeps most of a frame, in the metadata that pandas defines for Arrow and Parquet. A metadata entry
of this package notes the rest (columns of objects, categories other than text, frequencies, column labels), and restores
the rest when the table becomes a frame again. A frame that cannot be restored is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.tables.objects import ObjectColumn, is_kept, same

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_NOTES = b"airflow_kart"
_CATEGORIES = b"airflow_kart.categories."
_FLOATS_ARE_EXACT_BELOW = 2**53


def table_of(frame: pd.DataFrame, stored: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Return a ``pandas.DataFrame`` as a ``pyarrow.Table`` that :func:`frame_of` reads back equal.

    Args:
        frame: the frame.
        stored: writes an Arrow table to a file and reads the table again; called with the first row.

    Raises:
        FormatError: a column, a label or the index would not come back equal.
    """
    import pandas as pd
    import pyarrow as pa

    if len(frame) and not len(frame.columns):
        raise FormatError("the frame has rows but no columns; dump its index as a column, frame.reset_index()")
    if frame.columns.nlevels == 1 and frame.columns.inferred_type.startswith("mixed"):
        raise FormatError(
            "the column labels are of several types; make them text, frame.columns = frame.columns.astype(str)"
        )
    objects = _objects(frame)
    notes: dict[str, object] = {"objects": objects, "attrs": _attributes(frame)}
    if (frequency := getattr(frame.index, "freqstr", None)) is not None and frame.index.dtype.kind in "mM":
        notes["frequency"] = frequency
    table = pa.Table.from_pandas(frame if not frame.attrs else _without_attributes(frame))
    metadata = {**(table.schema.metadata or {}), **_categories(frame)}
    table = table.replace_schema_metadata({**metadata, _NOTES: json.dumps(notes).encode()})
    back = frame_of(stored(table.slice(0, 1)), restore=False)
    notes["dtypes"] = {
        str(place): _restorable(dtype, other, f"the column {frame.columns[place]!r}")
        for place, (dtype, other) in enumerate(zip(frame.dtypes, back.dtypes, strict=True))
        if not _alike(dtype, other) and str(place) not in objects
    }
    notes["index"] = _index_dtypes(frame.index, back.index, "the index")
    notes["columns"] = labels = _index_dtypes(frame.columns, back.columns, "the column labels")
    if "category" in labels.values():
        raise FormatError("the column labels are categories; make them text, frame.columns = frame.columns.astype(str)")
    if list(frame.columns) != list(back.columns) or list(frame.columns.names) != list(back.columns.names):
        raise FormatError(
            f"the column labels {list(frame.columns)!r:.200} would come back as {list(back.columns)!r:.200}; make them text, "
            "frame.columns = frame.columns.astype(str)"
        )
    # pyarrow gives back a range only to the whole table.
    ranged = isinstance(frame.index, pd.RangeIndex) and isinstance(frame.index.name, (str, type(None)))
    if list(frame.index.names) != list(back.index.names) and not ranged:
        raise FormatError(f"the index names {list(frame.index.names)} would be lost; rename them with frame.rename_axis()")
    return table.replace_schema_metadata({**metadata, _NOTES: json.dumps(notes).encode()})


def frame_of(table: pa.Table, restore: bool = True) -> pd.DataFrame:
    """Return an Arrow table as a ``pandas.DataFrame``: as the dumped frame, where :func:`table_of` made the table.

    Args:
        table: any table.
        restore: undo pyarrow's changes.
    """
    import pandas as pd

    metadata = table.schema.metadata or {}
    notes = json.loads(metadata.get(_NOTES, b"{}"))
    frame: pd.DataFrame = table.to_pandas()
    if not restore or not notes:
        return _with_exact_integers(frame, table)
    for place, way in notes["objects"].items():
        if way != ["scalars", "None"] or not _is_object(frame.dtypes.iloc[int(place)]):
            # The table has the columns of the frame first, and the columns of its index after them.
            objects = ObjectColumn(*way).read(table[int(place)])
            _set_column(frame, int(place), pd.Series(objects, index=frame.index, dtype=object))
    for place, dtype in notes["dtypes"].items():
        wanted = _saved_categories(metadata, place) if dtype == "category" else dtype
        _set_column(frame, int(place), frame.iloc[:, int(place)].astype(wanted))
    for place, dtype in notes["index"].items():
        wanted = _saved_categories(metadata, f"index {place}") if dtype == "category" else dtype
        frame.index = _with_dtype(frame.index, int(place), wanted)
    for place, dtype in notes["columns"].items():
        frame.columns = _with_dtype(frame.columns, int(place), dtype)
    if "frequency" in notes:
        cast(Any, frame.index).freq = notes["frequency"]
    frame.attrs = notes["attrs"]
    return frame


def narrowed(table: pa.Table, whole: pa.Schema, columns: int) -> pa.Table:
    """Return some columns of an Arrow table, for :func:`frame_of` to read them as among the others.

    Args:
        table: the columns, and after them the columns of the frame's index.
        whole: the schema of the whole table.
        columns: the number of columns, without the index.
    """
    metadata = dict(whole.metadata or {})
    if _NOTES not in metadata:
        return table.replace_schema_metadata(metadata)
    notes = json.loads(metadata[_NOTES])
    before = {str(place): str(whole.names.index(name)) for place, name in enumerate(table.column_names[:columns])}
    for of_columns in ("objects", "dtypes"):
        notes[of_columns] = {now: notes[of_columns][then] for now, then in before.items() if then in notes[of_columns]}
    kept = {key: value for key, value in metadata.items() if not key.startswith(_CATEGORIES) or b"index" in key}
    for now, then in before.items():
        if (categories := metadata.get(_CATEGORIES + then.encode())) is not None:
            kept[_CATEGORIES + now.encode()] = categories
    return table.replace_schema_metadata({**kept, _NOTES: json.dumps(notes).encode()})


def _with_exact_integers(frame: pd.DataFrame, table: pa.Table) -> pd.DataFrame:
    """Make integers with missing values pandas' nullable integers, where pyarrow makes floats that cannot hold them."""
    import pandas as pd
    import pyarrow as pa

    for place in range(frame.shape[1]):
        column = table[place]
        if not column.null_count or not pa.types.is_integer(column.type) or str(frame.dtypes.iloc[place]) != "float64":
            continue
        if frame.iloc[:, place].abs().max() >= _FLOATS_ARE_EXACT_BELOW:
            nullable: Any = pd.UInt64Dtype() if pa.types.is_unsigned_integer(column.type) else pd.Int64Dtype()
            _set_column(frame, place, pd.Series(nullable.__from_arrow__(column), index=frame.index))
    return frame


def _set_column(frame: pd.DataFrame, place: int, column: pd.Series[Any]) -> None:
    frame.isetitem(place, cast(Any, column))  # pandas takes a series, its type stubs do not say so


def _objects(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return the way to read each column of objects back, by its place."""
    columns = {
        str(place): ObjectColumn.of(frame.iloc[:, place].to_numpy(), frame.columns[place])
        for place, dtype in enumerate(frame.dtypes)
        if _is_object(dtype)
    }
    return {place: (column.values, column.missing) for place, column in columns.items()}


def _attributes(frame: pd.DataFrame) -> dict[str, object]:
    try:
        kept: dict[str, object] = json.loads(json.dumps(frame.attrs))
        if same(kept, frame.attrs):
            return kept
    except (TypeError, ValueError, RecursionError):
        pass
    raise FormatError(
        f"the frame's attrs {frame.attrs!r:.200} are no JSON; clear them, frame.attrs = {{}}, or dump to a .pkl file"
    )


def _without_attributes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without attributes: pyarrow would write them a second time."""
    plain: pd.DataFrame = frame.copy(deep=False)
    plain.attrs = {}
    return plain


def _categories(frame: pd.DataFrame) -> dict[bytes, bytes]:
    """Return the categories of columns and index levels; Parquet may lose unused ones, and the order."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    dtypes = {str(place): dtype for place, dtype in enumerate(frame.dtypes)}
    dtypes.update({f"index {place}": level.dtype for place, level in enumerate(_levels(frame.index))})
    found = {}
    for key, dtype in dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype):
            if not isinstance(dtype.categories.dtype, (np.dtype, pd.StringDtype, pd.DatetimeTZDtype)):
                raise FormatError(
                    f"{_named(frame, key)} has categories of type {dtype.categories.dtype}, which Arrow has no form for; "
                    "make them text, astype(str), or dump to a .pkl file"
                )
            if _is_object(dtype.categories.dtype) and not is_kept(dtype.categories):
                raise FormatError(
                    f"{_named(frame, key)} has categories of several types; make them text, astype(str), or dump to a .pkl file"
                )
            column = pd.DataFrame({"categories": dtype.categories})
            notes = {"ordered": bool(dtype.ordered), "dtype": str(dtype.categories.dtype)}
            table = pa.Table.from_pandas(column, preserve_index=False)
            table = table.replace_schema_metadata({**table.schema.metadata, _NOTES: json.dumps(notes).encode()})
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            found[_CATEGORIES + key.encode()] = sink.getvalue().to_pybytes()
    return found


def _named(frame: pd.DataFrame, key: str) -> str:
    return "the index" if key.startswith("index") else f"the column {frame.columns[int(key)]!r}"


def _saved_categories(metadata: Mapping[bytes, bytes], key: str) -> pd.CategoricalDtype:
    import pandas as pd
    import pyarrow as pa

    table = pa.ipc.open_stream(metadata[_CATEGORIES + key.encode()]).read_all()
    notes = json.loads(table.schema.metadata[_NOTES])
    categories = pd.Index(table.to_pandas()["categories"]).rename(None)
    if notes["dtype"] == "object":
        categories = categories.astype(object)
    return pd.CategoricalDtype(categories, ordered=notes["ordered"])


def _is_object(dtype: object) -> bool:
    import numpy as np

    return isinstance(dtype, np.dtype) and dtype.hasobject


def _alike(dtype: object, other: object) -> bool:
    """Whether a column of one type comes back equal, given the type that comes back."""
    import pandas as pd

    if isinstance(dtype, pd.CategoricalDtype):
        return False  # the categories show only in the data
    return bool(dtype == other)


def _restorable(dtype: Any, other: object, what: str) -> str:
    """Return the name by which ``astype`` restores a column's type.

    Raises:
        FormatError: ``astype`` cannot.
    """
    import pandas as pd

    if isinstance(dtype, pd.StringDtype):
        return f"string[{dtype.storage}]" if dtype.na_value is pd.NA else "str"
    same_time = dtype.kind in "mM" and dtype.kind == getattr(other, "kind", "")
    if isinstance(dtype, pd.CategoricalDtype) or _is_object(dtype) or same_time:
        return str(dtype)
    raise FormatError(
        f"{what} is of type {dtype} and would come back as {other}; convert it with astype(), or dump to a .pkl file"
    )


def _index_dtypes(index: pd.Index[Any], back: pd.Index[Any], what: str) -> dict[str, str]:
    """Return the types to convert levels of an index to, by their places, for levels that come back changed."""
    levels, others = _levels(index), _levels(back)
    if len(levels) != len(others):
        raise FormatError(f"{what} would come back with {len(others)} levels for {len(levels)}; use frame.reset_index()")
    for level in levels:
        if _is_object(level.dtype) and not is_kept(level):
            raise FormatError(
                f"{what} holds values of the type {level.inferred_type}, or of several types; give them one type, or dump to "
                "a .pkl file"
            )
    return {
        str(place): _restorable(level.dtype, other.dtype, what)
        for place, (level, other) in enumerate(zip(levels, others, strict=True))
        if not _alike(level.dtype, other.dtype)
    }


def _levels(index: pd.Index[Any]) -> list[pd.Index[Any]]:
    return list(cast("pd.MultiIndex", index).levels) if index.nlevels > 1 else [index]


def _with_dtype(index: Any, place: int, dtype: object) -> Any:
    if index.nlevels == 1:
        return index.astype(dtype)
    return index.set_levels(index.levels[place].astype(dtype), level=place)
