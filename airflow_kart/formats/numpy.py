"""numpy arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from airflow_kart.exceptions import FormatError, KartError
from airflow_kart.formats.archive import MOST_BYTES, check_most, check_size, member, unreadable
from airflow_kart.formats.base import READING, Writable, require_type, type_name

if TYPE_CHECKING:
    import numpy as np

    from airflow_kart.formats.archive import Writes

    Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

_SINGLE = "data"
_HEADER = 128  # bytes, and more for types with many fields


@dataclass(frozen=True)
class NumpyFormat:
    """A ``numpy.ndarray`` as NPY (numpy's own format), of any type but Python objects."""

    name = "npy"

    def dump(self, obj: object, stream: Writable) -> None:
        """Write an array."""
        _write(_checked(obj, self.name), stream, self.name)

    def load(self, stream: BinaryIO) -> Array:
        """Read an array."""
        return _read(stream)


@dataclass(frozen=True)
class NpzFormat:
    """numpy arrays as a compressed NPZ archive: a dict of arrays by name, or one array under the name ``data``.

    Equal arrays make equal bytes.

    Args:
        max_bytes: the largest total size of the arrays, against archives that unpack to more than a machine holds.
    """

    max_bytes: int = field(default=MOST_BYTES, metadata=READING)

    single: bool | None = field(default=None, repr=False, metadata=READING)
    """Whether to load one array, or a dict; by default the names decide. :meth:`for_type` sets this field."""

    name = "npz"

    def __post_init__(self) -> None:
        """Check the options."""
        check_most(self.max_bytes, "NpzFormat")

    def for_type(self, dumped: str) -> NpzFormat:
        """Return the format that loads a dict where the dumped object was a dict."""
        return replace(self, single=dumped != "builtins.dict")

    def dump(self, obj: object, stream: io.RawIOBase) -> None:
        """Write an array, or a dict of arrays."""
        if isinstance(obj, dict):
            require_type(obj, dict, self.name, "dump a dict of arrays, dict(...)")
        given: Mapping[object, object] = obj if isinstance(obj, dict) else {_SINGLE: obj}
        arrays: dict[str, Array] = {}
        for name, array in given.items():
            if not isinstance(name, str) or not name or any(character in name for character in "/\\\0"):
                raise FormatError(f"the npz format cannot name an array {name!r}; use a str without slashes")
            arrays[name] = _checked(array, self.name)
        check_size(sum(array.nbytes + _HEADER for array in arrays.values()), self.max_bytes)
        with zipfile.ZipFile(cast(BinaryIO, stream), "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                with archive.open(member(f"{name}.npy"), "w", force_zip64=True) as inner:
                    _write(array, inner, self.name)

    def load(self, stream: BinaryIO) -> Array | dict[str, Array]:
        """Read an array, or a dict of arrays."""
        with unreadable("NPZ"), zipfile.ZipFile(stream) as archive:
            check_size(sum(info.file_size for info in archive.infolist()), self.max_bytes)
            arrays = {}
            for info in archive.infolist():
                with archive.open(info) as inner:
                    arrays[info.filename.removesuffix(".npy")] = _read(inner)
        single = list(arrays) == [_SINGLE] if self.single is None else self.single
        if not single:
            return arrays
        if _SINGLE not in arrays:
            raise FormatError(f"the archive holds no array named {_SINGLE!r}, but {', '.join(arrays) or 'none'}")
        return arrays[_SINGLE]


def _checked(array: object, format_name: str) -> Array:
    """Return an array that the format keeps exactly.

    Raises:
        FormatError: the object is no array, or the format has no form for its type.
    """
    import numpy as np

    if not isinstance(array, np.ndarray) or type(array) not in (np.ndarray, np.memmap):
        advice = "dump numpy arrays, numpy.asarray(...)"
        if isinstance(array, np.ma.MaskedArray):
            advice = "dump {'data': array.data, 'mask': array.mask} to a .npz file"
        raise FormatError(f"the {format_name} format cannot write a {type_name(array)}; {advice}")
    if array.dtype.hasobject:
        raise FormatError(
            f"the {format_name} format cannot write an array of Python objects; give it a type, array.astype(...), "
            "or dump to a .pkl file"
        )
    try:
        kept = np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(array.dtype)) == array.dtype
    except (TypeError, ValueError, UserWarning):
        kept = False
    if not kept or array.dtype.metadata:
        raise FormatError(
            f"the {format_name} format would not keep the type {array.dtype!r}; convert it, array.astype(...), or dump to a .pkl file"
        )
    return array


def _write(array: Array, stream: Writes, format_name: str) -> None:
    import numpy as np

    try:
        np.lib.format.write_array(cast(BinaryIO, stream), np.asarray(array), allow_pickle=False)
    except (ValueError, TypeError) as error:
        raise FormatError(f"the {format_name} format cannot write this array: {error}") from error


def _read(stream: IO[bytes]) -> Array:
    import numpy as np

    try:
        array: Array = np.lib.format.read_array(cast(BinaryIO, stream), allow_pickle=False)
    except KartError:
        raise
    except Exception as error:  # numpy reads the header as Python, and memory may run out over a wrong one
        raise FormatError(f"the bytes are no numpy array that can be read here ({type(error).__name__}: {error})") from error
    return array
