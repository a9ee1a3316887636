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
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import cloudpickle

from airflow_kart.exceptions import FormatError, KartError
from airflow_kart.formats.base import Writable, type_name
from airflow_kart.formats.bulk import Scalars, reduced_bulk
from airflow_kart.identity.names import is_importable, logical_module_name, public_address
from airflow_kart.stored import Unpickler, named, restore_class

__all__ = ["PickleFormat", "dumps"]

_PROTOCOL = 5
_REGISTRY = threading.RLock()


@dataclass(frozen=True)
class PickleFormat:
    """Any object cloudpickle or dill can write, as pickle protocol 5 (PEP 574)."""

    name = "pickle"

    def dump(self, obj: object, stream: Writable) -> None:
        """Write an object, with cloudpickle or else with dill."""
        try:
            with _registry_as_before():
                _ArtifactPickler(stream, protocol=_PROTOCOL).dump(obj)
        except (KartError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - an object's own reduction may raise anything
            self._dump_with_dill(obj, stream, error)

    def _dump_with_dill(self, obj: object, stream: Writable, first: Exception) -> None:
        import dill

        class DillPickler(dill.Pickler):  # type: ignore[misc]  # dill ships no types
            def reducer_override(self, inner: object) -> Any:
                reduced = _by_public_address(inner)
                return _by_value(inner) if reduced is NotImplemented else reduced

        stream.restart()
        try:
            with _registry_as_before():
                DillPickler(stream, protocol=_PROTOCOL, recurse=True).dump(obj)
        except (KartError, OSError, MemoryError):
            raise
        except Exception as second:  # noqa: BLE001 - as above
            raise FormatError(
                f"a {type_name(obj)} cannot be pickled: {first} (cloudpickle), {second} (dill); "
                "drop what cannot be stored (open files, connections, locks, threads) before dumping it"
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


class _StablePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """cloudpickle's pickler; names classes and functions of this package by their public addresses."""

    def reducer_override(self, obj: object) -> Any:
        reduced = _by_public_address(obj)
        return super().reducer_override(obj) if reduced is NotImplemented else reduced


class _ArtifactPickler(_StablePickler):
    """Writes classes and functions by value that no other process could import; remembers no values of large columns."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, Scalars):
            return list, (), None, self._without_memo(obj)
        reduced = _by_value(obj) if isinstance(obj, type) else reduced_bulk(obj)
        if reduced is not NotImplemented:
            return reduced
        if isinstance(obj, types.FunctionType) and not is_importable(obj.__module__ or "builtins"):
            _write_by_value(obj.__module__)
        return super().reducer_override(obj)

    def _without_memo(self, scalars: Scalars) -> Iterator[object]:
        """Yield values for the pickler to write but not to remember."""
        self.fast = True
        try:
            yield from scalars
        finally:
            self.fast = False


def _by_public_address(obj: object) -> object:
    """Return the reduction of a public class or function of this package; ``NotImplemented`` for all else."""
    address = public_address(obj) if isinstance(obj, (type, types.FunctionType)) else None
    return NotImplemented if address is None else (named, (address,))


def _by_value(obj: object) -> object:
    """Return the reduction of a class or function that no other process could import; ``NotImplemented`` for all else.

    A class carries its logical name too, for a process that has loaded the class.
    """
    if not isinstance(obj, (type, types.FunctionType)) or is_importable(obj.__module__ or "builtins"):
        return NotImplemented
    _write_by_value(obj.__module__)
    if not _at_module_level(obj):
        return NotImplemented
    try:
        by_value = _cloudpickled(obj)
    except Exception:  # noqa: BLE001 - objects that it refers to may need dill
        return NotImplemented
    if isinstance(obj, type):
        return restore_class, (logical_module_name(obj.__module__), obj.__qualname__, by_value)
    return pickle.loads, (by_value,)


def _cloudpickled(obj: object) -> bytes:
    stream = io.BytesIO()
    _StablePickler(stream, protocol=_PROTOCOL).dump(obj)
    return stream.getvalue()


def _at_module_level(obj: type | types.FunctionType) -> bool:
    found: object = sys.modules.get(obj.__module__)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _write_by_value(name: str) -> None:
    """Tell cloudpickle to write a module's classes and functions by value; for ``__main__`` cloudpickle does so anyway."""
    if name != "__main__" and name in sys.modules and name not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(sys.modules[name])


@contextmanager
def _registry_as_before() -> Iterator[None]:
    """Restore cloudpickle's registry, which belongs to the whole process."""
    with _REGISTRY:
        before = set(cloudpickle.list_registry_pickle_by_value())
        try:
            yield
        finally:
            for name in set(cloudpickle.list_registry_pickle_by_value()) - before:
                cloudpickle.unregister_pickle_by_value(sys.modules[name])
