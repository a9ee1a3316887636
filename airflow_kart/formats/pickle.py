"""Any Python object, as a pickle that other processes can load.

Classes and functions of a DAG file live in a module whose name only one Airflow process knows, so no other process could
load a plain pickle of their instances. This module writes them by value with cloudpickle, which keeps the speed of the C
pickler for everything else. A class also carries its logical name: a process that has loaded the DAG file gets the loaded
class back, so ``isinstance`` holds; every other process gets the written class. dill writes the objects that cloudpickle
cannot. Plain pickle reads the pickles of both. dill and pandas read pickles of others: dill's of ``__main__``, and old
frames of pandas.
"""

from __future__ import annotations

import io
import pickle
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError, KartError
from airflow_kart.formats.base import Writable, type_name
from airflow_kart.formats.bulk import Scalars, may_be_bulk, reduced_bulk
from airflow_kart.formats.definitions import (
    PROTOCOL,
    StablePickler,
    by_public_address,
    by_value,
    registry_as_before,
    write_by_value,
)
from airflow_kart.formats.rehearsal import Rehearsal
from airflow_kart.formats.set_order import PlainSet, SetOrderPickler, has_sets, plain_set
from airflow_kart.identity.names import is_importable
from airflow_kart.stored import Unpickler

_NUMBERS = frozenset({type(None), bool, int, float})


@dataclass(frozen=True)
class PickleFormat:
    """Any object cloudpickle or dill can write, as pickle protocol 5 (PEP 574).

    An object that could not be loaded again is refused: :mod:`airflow_kart.formats.rehearsal` says for which classes, and
    up to which size. A lock comes back free.
    """

    name = "pickle"

    def dump(self, obj: object, stream: Writable) -> None:
        """Write an object, with cloudpickle or else with dill."""
        if type(obj) in _NUMBERS:  # written alike by all picklers, with nothing to try out
            stream.write(pickle.dumps(obj, PROTOCOL))
            return
        rehearsal = Rehearsal(stream)
        try:
            with registry_as_before():
                _dump(obj, rehearsal)
        except (KartError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - an object's own reduction may raise anything
            self._dump_with_dill(obj, rehearsal, error)
        with registry_as_before():
            rehearsal.check(obj, self.load, _PartPickler)

    def _dump_with_dill(self, obj: object, stream: Rehearsal, first: Exception) -> None:
        import dill

        class DillPickler(dill.Pickler):  # type: ignore[misc]  # dill ships no types
            def reducer_override(self, inner: object) -> Any:
                stream.first.setdefault(type(inner), inner)
                reduced = by_public_address(inner)
                return by_value(inner) if reduced is NotImplemented else reduced

        stream.restart()
        try:
            with registry_as_before():
                DillPickler(stream, protocol=PROTOCOL, recurse=True).dump(obj)
        except (KartError, OSError, MemoryError):
            raise
        except Exception as second:  # noqa: BLE001 - as above
            raise FormatError(
                f"a {type_name(obj)} cannot be pickled: {first} (cloudpickle), {second} (dill); "
                "drop what cannot be stored (open files, connections, threads) before dumping it"
            ) from first

    def load(self, stream: BinaryIO) -> object:
        """Read an object. Any pickle may run code: load only artifacts you trust."""
        try:
            return Unpickler(stream).load()
        except MemoryError:
            raise
        except Exception as error:
            for load in (_load_with_dill, _load_with_pandas):
                stream.seek(0)
                try:
                    return load(stream)
                except MemoryError:
                    raise
                except Exception:  # noqa: BLE001, S112 - the first error says most
                    continue
            if isinstance(error, (ImportError, AttributeError)):
                raise FormatError(
                    f"the pickle needs something this process does not have: {error}; install the packages its sidecar "
                    "lists, or run the task again where the code is as it is now"
                ) from error
            raise FormatError(
                f"the bytes are not a pickle that can be read here: {type(error).__name__}: {error}"
            ) from error


def _load_with_dill(stream: BinaryIO) -> object:
    """Read objects of ``__main__`` that dill wrote, under names that only dill knows."""
    import dill

    return dill.load(stream)


def _load_with_pandas(stream: BinaryIO) -> object:
    """Read frames of old pandas, whose classes have other names and places by now."""
    import pandas as pd

    return pd.read_pickle(stream, compression=None)


def dumps(obj: object) -> bytes:
    """Return an object as a pickle that other processes can load."""
    buffer = _Buffer()
    PickleFormat().dump(obj, buffer)
    return buffer.getvalue()


class _Buffer(io.BytesIO):
    def restart(self) -> None:
        self.seek(0)
        self.truncate()


class _ArtifactPickler(StablePickler):
    """Writes classes and functions by value that no other process could import; remembers no values of large columns."""

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__(stream, protocol=PROTOCOL)
        self._usual: set[type] = set()  # classes whose objects are reduced in the usual way
        self._first: dict[type, object] = stream.first if isinstance(stream, Rehearsal) else {}

    def reducer_override(self, obj: object) -> Any:
        cls = type(obj)
        if cls in self._usual:
            return NotImplemented
        self._first.setdefault(cls, obj)
        if isinstance(obj, Scalars):
            return list, (), None, self._without_memo(obj)
        if isinstance(obj, PlainSet):
            return tuple(obj)
        reduced = by_value(obj) if isinstance(obj, type) else reduced_bulk(obj)
        if reduced is not NotImplemented:
            return reduced
        if isinstance(obj, types.FunctionType) and not is_importable(obj.__module__ or "builtins"):
            write_by_value(obj.__module__)
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented and not isinstance(obj, (type, types.FunctionType)) and not may_be_bulk(cls):
            self._usual.add(cls)
        return reduced

    def _without_memo(self, scalars: Scalars) -> Iterator[object]:
        """Yield values for the pickler to write but not to remember."""
        self.fast = True
        try:
            yield from scalars
        finally:
            self.fast = False


def _dump(obj: object, stream: Rehearsal) -> None:
    pickler, plain = _ArtifactPickler(stream), plain_set(obj)
    if plain is None and has_sets(obj):
        try:
            SetOrderPickler(stream, pickler, PROTOCOL).dump(obj)
        except (KartError, OSError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - too deep for a pickler in Python, or for any
            stream.restart()
            pickler = _ArtifactPickler(stream)
        else:
            return
    pickler.dump(obj if plain is None else plain)


class _PartPickler(_ArtifactPickler):
    """Writes only the numbers of some objects."""

    def __init__(self, stream: io.RawIOBase, leave_out: Callable[[object], int | None]) -> None:
        super().__init__(stream)
        self._leave_out = leave_out

    def persistent_id(self, obj: object) -> int | None:
        return self._leave_out(obj)
