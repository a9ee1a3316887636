"""The bulk of a pickle, large columns of objects or texts, written without a second copy in memory.

A pickler remembers every written object, in case the object comes again, and the unpickler does the same: for ten
million different texts both take as much memory as a good part of the texts. And pandas copies a column that Arrow holds
before pickling the column. This module writes such columns in a form that plain pickle reads with numpy, pandas and pyarrow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol, cast

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Objects = np.ndarray[tuple[int, ...], np.dtype[np.object_]]

_LARGE = 100_000
_SAMPLE = 1_000
_KINDS = frozenset({str, bytes, int, float, bool, type(None)})


class _HeldByArrow(Protocol):
    def __from_arrow__(self, array: object) -> object: ...


class Scalars:
    """The values of an array; the pickler writes them as a list and remembers none.

    Args:
        array: a one-dimensional array of objects that hold no other objects.
    """

    def __init__(self, array: Objects) -> None:
        self._array = array

    def __iter__(self) -> Iterator[object]:
        return iter(self._array)


def may_be_bulk(cls: type) -> bool:
    """Whether :func:`reduced_bulk` may reduce objects of a class."""
    return cls.__module__.partition(".")[0] in ("numpy", "pandas")


def reduced_bulk(obj: object) -> object:
    """Return the reduction of a large column of objects or texts; ``NotImplemented`` for all else."""
    if (np := sys.modules.get("numpy")) is not None and type(obj) is np.ndarray:
        return _reduced_objects(cast("Objects", obj))
    if type(obj).__module__.startswith("pandas.") and hasattr(obj, "__arrow_array__"):
        return _reduced_arrow(obj)
    return NotImplemented


def _reduced_objects(array: Objects) -> object:
    """Reduce an array of scalars that are nearly all different."""
    import numpy as np

    if array.dtype.kind != "O" or array.size < _LARGE:
        return NotImplemented
    if array.ndim != 1:
        order: Literal["F", "C"] = "F" if array.flags.f_contiguous else "C"
        return np.reshape, (array.ravel(order), array.shape, order)
    sample = array[:: max(1, array.size // _SAMPLE)]
    if len({id(value) for value in sample}) < 0.9 * sample.size or not set(map(type, array)) <= _KINDS:
        return NotImplemented
    return np.fromiter, (Scalars(array), array.dtype, array.size)


def _reduced_arrow(array: object) -> object:
    """Reduce a column that Arrow holds to its Arrow chunks, unless they are a slice of more."""
    import pandas as pd

    if not isinstance(array, pd.arrays.ArrowExtensionArray):
        return NotImplemented
    chunks: pa.ChunkedArray = array.__arrow_array__()
    if len(chunks) < _LARGE or chunks.get_total_buffer_size() > 1.1 * chunks.nbytes:
        return NotImplemented
    dtype = cast(_HeldByArrow, array.dtype)
    return dtype.__from_arrow__, (chunks,)
