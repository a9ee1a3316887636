"""Frames compared by their contents, whatever the order of rows and columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from airflow_kart.formats.base import type_name
from airflow_kart.formats.table_kind import kind_of_table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_MOST_LABELS = 10


def assert_frame_contents_equal(actual: object, expected: object, **options: Any) -> None:
    """Check that two frames have the same contents, whatever the order of rows and columns.

    The rows of pandas frames are matched by index label, so neither index nor columns may have a label twice; type and
    name of the index do not count. Polars frames have no index: their rows are matched by value and number of
    occurrences.

    Args:
        actual: a ``pandas.DataFrame`` or ``polars.DataFrame``.
        expected: a frame of the same library.
        options: arguments of the library's own ``testing.assert_frame_equal``, for example ``check_exact`` or ``rtol``.

    Raises:
        AssertionError: the frames differ; the message says where.
    """
    kinds = _kind("actual", actual), _kind("expected", expected)
    if kinds[0] != kinds[1]:
        raise AssertionError(f"actual is a {kinds[0]} frame, expected a {kinds[1]} frame")
    if kinds[0] == "polars":
        left, right = cast("pl.DataFrame", actual), cast("pl.DataFrame", expected)
        _compare_labels("columns", left.columns, right.columns)
        from polars.testing import assert_frame_equal

        assert_frame_equal(left, right, **{"check_row_order": False, "check_column_order": False, **options})
    else:
        _compare_pandas(cast("pd.DataFrame", actual), cast("pd.DataFrame", expected), options)


def _compare_pandas(actual: pd.DataFrame, expected: pd.DataFrame, options: dict[str, Any]) -> None:
    from pandas.testing import assert_frame_equal

    for name, frame in (("actual", actual), ("expected", expected)):
        for axis, labels in (("index", frame.index), ("columns", frame.columns)):
            if not labels.is_unique:
                twice = _listed(labels[labels.duplicated()].unique())
                raise AssertionError(f"the {axis} of {name} has labels more than once: {twice}")
    _compare_labels("columns", actual.columns, expected.columns)
    _compare_labels("index labels", actual.index, expected.index)
    rows, columns = expected.index.get_indexer(actual.index), expected.columns.get_indexer(actual.columns)
    assert_frame_equal(actual, expected.iloc[rows, columns].set_axis(actual.index), **options)


def _kind(name: str, frame: object) -> str:
    if (kind := kind_of_table(frame)) in ("pandas", "polars"):
        return kind
    raise AssertionError(f"{name} is a {type_name(frame)}, not a pandas or polars DataFrame")


def _compare_labels(what: str, actual: pd.Index[Any] | list[str], expected: pd.Index[Any] | list[str]) -> None:
    import pandas as pd

    mine, theirs = pd.Index(actual), pd.Index(expected)
    surplus, missing = mine[theirs.get_indexer(mine) < 0], theirs[mine.get_indexer(theirs) < 0]
    if len(surplus) or len(missing):
        only = [("actual", surplus), ("expected", missing)]
        words = "; ".join(f"only in {name}: {_listed(labels)}" for name, labels in only if len(labels))
        raise AssertionError(f"the {what} differ; {words}")


def _listed(labels: Iterable[object]) -> str:
    listed = [repr(label) for label in labels]
    return ", ".join(listed[:_MOST_LABELS]) + (
        f" and {len(listed) - _MOST_LABELS} more" if len(listed) > _MOST_LABELS else ""
    )
