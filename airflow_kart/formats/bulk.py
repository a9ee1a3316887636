"""The bulk of a pickle, large columns of objects or texts, written without taking their memory again.

A pickler remembers every object it wrote, in case it meets the object again, and the unpickler does the same: for ten
million texts that are all different, as much memory as a good part of the texts. And a pandas column that Arrow holds is
copied before it is pickled. What is written here instead is read by plain pickle with numpy, pandas and pyarrow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["Scalars", "reduced_bulk"]

_LARGE = 100_000
_SAMPLE = 1_000
_KINDS = frozenset({str, bytes, int, float, bool, type(None)})


class Scalars:
    """The values of an array, to be written as a list, none of them remembered.

    Args:
        array: a one-dimensional array of objects, each of which holds no others.
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    def __iter__(self) -> Iterator[Any]:
        return iter(self._array)


def reduced_bulk(obj: Any) -> Any:
    """Return how to write a large column of objects or texts; ``NotImplemented`` for all else."""
    if (np := sys.modules.get("numpy")) is not None and type(obj) is np.ndarray:
        return _reduced_objects(obj, np)
    if type(obj).__module__.startswith("pandas.") and hasattr(obj, "__arrow_array__"):
        return _reduced_arrow(obj)
    return NotImplemented


def _reduced_objects(array: Any, np: Any) -> Any:
    """Reduce an array of scalars that are nearly all different."""
    if array.dtype.kind != "O" or array.size < _LARGE:
        return NotImplemented
    if array.ndim != 1:
        order = "F" if array.flags.f_contiguous else "C"
        return np.reshape, (array.ravel(order), array.shape, order)
    sample = array[:: max(1, array.size // _SAMPLE)]
    if len({id(value) for value in sample}) < 0.9 * sample.size or not set(map(type, array)) <= _KINDS:
        return NotImplemented
    return np.fromiter, (Scalars(array), array.dtype, array.size)


def _reduced_arrow(array: Any) -> Any:
    """Reduce a column that Arrow holds to what Arrow holds, unless that is a slice of more."""
    import pandas as pd

    if not isinstance(array, pd.arrays.ArrowExtensionArray):
        return NotImplemented
    chunks: Any = array.__arrow_array__()
    if len(chunks) < _LARGE or chunks.get_total_buffer_size() > 1.1 * chunks.nbytes:
        return NotImplemented
    dtype: Any = array.dtype
    return dtype.__from_arrow__, (chunks,)
