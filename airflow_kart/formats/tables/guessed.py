"""Guessed types of columns in text of others: a type is kept only where each value comes through exactly."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGER = r"^(0|-?[1-9]\d*)$"
_FLOAT = r"^-?(0|[1-9]\d{0,14})$"  # also the float -0.0, which is written as -0
_LONG = r"^[+-]?\d{16,}$"  # a float may not hold such an integer
_CODE = r"^[+-]?0\d"  # leading zeros


def may_be_inexact(guessed: pa.DataType) -> bool:
    """Whether a guess of pyarrow's may have changed values."""
    from pyarrow import types

    return bool(types.is_integer(guessed) or types.is_floating(guessed) or types.is_boolean(guessed))


def exact_columns(table: pa.Table, texts: pa.Table) -> pa.Table:
    """Return a table whose columns hold each value exactly: with the guessed type, a better one, or as text.

    Args:
        table: as pyarrow guessed the types.
        texts: those columns whose guesses may be inexact, as text.
    """
    for name in texts.column_names:
        place = table.column_names.index(name)
        table = table.set_column(place, name, _exact(table[name], texts[name]))
    return table


def _exact(guessed: pa.ChunkedArray, text: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_boolean(guessed.type):
        return text if _any(text, "^[01]$") else guessed
    if pa.types.is_integer(guessed.type):
        if _all(text, _INTEGER):
            return guessed
        return text.cast(pa.float64()) if _all(text, _FLOAT) else text
    if _all(text, _INTEGER):  # too large for int64
        try:
            return text.cast(pa.uint64())
        except pa.ArrowInvalid:
            return text
    return text if _any(text, _LONG) or _any(text, _CODE) else guessed


def _any(text: pa.ChunkedArray, pattern: str) -> bool:
    compute = importlib.import_module("pyarrow.compute")  # the import makes its functions
    return bool(compute.any(compute.match_substring_regex(text, pattern)).as_py())


def _all(text: pa.ChunkedArray, pattern: str) -> bool:
    compute = importlib.import_module("pyarrow.compute")
    return compute.all(compute.match_substring_regex(text, pattern)).as_py() is not False
