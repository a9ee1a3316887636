"""Loading back, when an object is dumped, the objects that a pickle may hold without being loadable.

Some objects pickle well and fail only when loaded: an exception whose constructor takes other arguments, a class that
delegates ``__getattr__``, a subclass of ``dict`` or ``str`` with a constructor of its own. A rehearsal finds them at bounded
cost. Plain data, tables, arrays and classes without hooks for pickle cost nothing. A pickle of up to :data:`WHOLE` bytes with
other classes is loaded once. Of a larger pickle the first object of each of these classes is pickled again and loaded,
without the arrays and long collections inside.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from typing_extensions import Buffer

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import Writable, type_name
from airflow_kart.stored import Unpickler
from airflow_kart.streams import WriteOnly

WHOLE = 2 << 20
"""Bytes of the largest pickle that is loaded back as a whole, and of the largest object in a larger pickle."""
_LONG = 100
_LARGE = 16 << 10
_MOST_CLASSES = 100
_TRUSTED = frozenset({"numpy", "pandas", "polars", "pyarrow"}) | sys.stdlib_module_names
_HOOKS = frozenset(
    [
        "__new__",
        "__getattr__",
        "__getattribute__",
        "__setattr__",
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
        "__setstate__",
        "__getnewargs__",
        "__getnewargs_ex__",
    ]
)
_Leaves = Callable[[object], int | None]


class MakesPickler(Protocol):
    """Makes a pickler that writes objects as the artifact's pickler does."""

    def __call__(self, stream: io.RawIOBase, leave_out: _Leaves) -> _Pickler:
        """Make a pickler.

        Args:
            stream: takes the bytes.
            leave_out: returns a number for an object to write only the number of, else ``None``.
        """
        ...


class _Pickler(Protocol):
    def dump(self, obj: object, /) -> None: ...


class Rehearsal(WriteOnly):
    """A stream that keeps a small pickle, and the first object of each class in a pickle.

    Args:
        stream: takes the bytes too.
    """

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._kept: bytearray | None = bytearray()
        self.first: dict[type, object] = {}
        """The first object of each class; the pickler adds them."""

    def write(self, data: Buffer, /) -> int | None:
        """Write to the real stream."""
        if self._kept is not None:
            size = memoryview(data).nbytes
            self._kept = self._kept + bytes(data) if len(self._kept) + size <= WHOLE else None
        return self._stream.write(data)

    def restart(self) -> None:
        """Forget all bytes and classes so far."""
        self._kept = bytearray()
        self.first = {}
        self._stream.restart()

    def check(self, obj: object, load: Callable[[BinaryIO], object], make: MakesPickler) -> None:
        """Load objects of risky classes back.

        Args:
            obj: the object that was pickled into this stream.
            load: loads a pickle, as consumers do.
            make: makes the picklers for single objects.

        Raises:
            FormatError: an object cannot be loaded.
        """
        if any(_has(cls, "__del__") for cls in self.first):  # an end of a copy may end more than the copy
            return
        risky = [one for cls, one in itertools.islice(self.first.items(), _MOST_CLASSES) if _may_not_load(cls)]
        if not risky:
            return
        if self._kept is None:
            for one in risky:
                _check_one(one, make)
            return
        try:
            load(io.BytesIO(self._kept))
        except MemoryError:
            raise
        except Exception as error:
            for one in risky:
                _check_one(one, make)  # names the class, if a single object fails too
            raise _refused(obj, error.__cause__ or error) from error


def _check_one(obj: object, make: MakesPickler) -> None:
    """Pickle an object without the arrays and long collections inside, and load the pickle.

    Raises:
        FormatError: the object cannot be loaded, nor its whole pickle.
    """
    for without in (True, False):
        left: list[object] = []

        def leave_out(inner: object, left: list[object] = left, without: bool = without) -> int | None:
            if not without or inner is obj or not _is_bulk(inner):
                return None
            left.append(inner)
            return len(left) - 1

        stream = _Limited(WHOLE if without else None)
        try:
            make(stream, leave_out).dump(obj)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - the object is large, or dill wrote it
            return
        try:
            _Loader(stream.content(), left).load()
        except MemoryError:
            raise
        except Exception as error:
            if not without or not left:
                raise _refused(obj, error) from error
        else:
            return


class _Limited(WriteOnly):
    """A stream in memory that refuses more than some bytes."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._content = bytearray()

    def write(self, data: Buffer, /) -> int:
        content = bytes(data)
        if self._most is not None and len(self._content) + len(content) > self._most:
            raise OverflowError
        self._content += content
        return len(content)

    def restart(self) -> None:
        self._content.clear()

    def content(self) -> BinaryIO:
        return io.BytesIO(self._content)


class _Loader(Unpickler):
    """Loads a pickle whose bulk was left out."""

    def __init__(self, stream: BinaryIO, left: list[object]) -> None:
        super().__init__(stream)
        self._left = left

    def persistent_load(self, number: int) -> Any:
        """Return an object that was left out, so that loading cannot change the original."""
        found: Any = self._left[number]
        if type(found) in (list, dict, set, bytearray):
            return found.copy()
        if type(found).__module__ == "numpy":
            found = found.view()
            found.flags.writeable = False
        return found


def _is_bulk(obj: object) -> bool:
    cls = type(obj)
    if cls in (list, dict, set, tuple, frozenset):
        return len(obj) > _LONG  # type: ignore[arg-type]  # they have a length
    if cls in (str, bytes, bytearray):
        return len(obj) > _LARGE  # type: ignore[arg-type]  # the same
    root = cls.__module__.partition(".")[0]
    return (root == "numpy" and cls.__name__ == "ndarray") or root in ("polars", "pyarrow")


def _may_not_load(cls: type) -> bool:
    """Whether a class takes part in pickling, so that its objects may pickle well and not load."""
    root = _root(cls)
    if root.startswith("_cython_") or (root in _TRUSTED and (root == "builtins" or not issubclass(cls, BaseException))):
        return False
    for base in cls.__mro__[:-1]:
        if _root(base) == "builtins" or not _HOOKS.isdisjoint(vars(base)) or vars(base).get("__hash__") is not None:
            return True
    return False


def _root(cls: type) -> str:
    return str(cls.__module__).partition(".")[0]


def _has(cls: type, name: str) -> bool:
    return _root(cls) not in _TRUSTED and hasattr(cls, name)


def _refused(obj: object, error: BaseException) -> FormatError:
    return FormatError(
        f"a {type_name(obj)} can be pickled, but its pickle cannot be loaded ({type(error).__name__}: {error}); give its class "
        "a __reduce__ with the arguments of its constructor, or dump its content as plain data"
    )
