"""Classes and functions in pickles: by reference, by public address, or by value with their logical name.

No other process can import a class of a DAG file or of ``__main__``. A pickle holds such a class by value, and its logical
name for processes that have loaded the file: they get the loaded class, so that ``isinstance`` holds.
"""

from __future__ import annotations

import _thread
import enum
import hashlib
import io
import pickle
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import cloudpickle

from airflow_kart.exceptions import KartError
from airflow_kart.formats.set_order import SetOrderPickler, may_hold_sets
from airflow_kart.identity.code import fingerprint
from airflow_kart.identity.executions import found_in, running_namespaces
from airflow_kart.identity.names import is_importable, logical_class_name, logical_module_name, public_address
from airflow_kart.stored import complete_enum, named, restore_class

PROTOCOL = 5
"""The pickle protocol of all pickles (PEP 574)."""
_REGISTRY = threading.RLock()
_SCALARS = (str, bytes, int, float, complex, bool, type(None))
_CODE = (type, types.FunctionType, staticmethod, classmethod, property, enum.Enum)


class StablePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """cloudpickle's pickler, with public addresses of this package, whole enums, locks and weak collections."""

    def reducer_override(self, obj: object) -> Any:
        """Return the reduction of an object, or ``NotImplemented`` for the usual one."""
        if not isinstance(obj, (type, types.FunctionType)):
            own = _REDUCED.get(type(obj))
            return NotImplemented if own is None else own(obj)
        reduced = by_public_address(obj)
        if reduced is not NotImplemented:
            return reduced
        reduced = _with_lasting_id(obj, super().reducer_override(obj))
        return _whole_enum(obj, reduced) if isinstance(obj, enum.EnumMeta) and isinstance(reduced, tuple) else reduced


def by_public_address(obj: object) -> object:
    """Return the reduction of a public class or function of this package; ``NotImplemented`` for all else."""
    address = public_address(obj) if isinstance(obj, (type, types.FunctionType)) else None
    return NotImplemented if address is None else (named, (address,))


def by_value(obj: object) -> object:
    """Return the reduction of a class or function that no other process could import; ``NotImplemented`` for all else.

    A class carries its logical name too, for a process that has loaded the class.
    """
    if not isinstance(obj, (type, types.FunctionType)) or is_importable(obj.__module__ or "builtins"):
        return NotImplemented
    write_by_value(obj.__module__)
    if not _at_module_level(obj):
        return NotImplemented
    written = _written(obj)
    if not isinstance(obj, type):
        return NotImplemented if written is None else (pickle.loads, (written,))
    return restore_class, (logical_module_name(obj.__module__), obj.__qualname__, written or b"")


def _written(obj: type | types.FunctionType) -> bytes | None:
    """Return a class or function by value, as a pickle; ``None`` where neither cloudpickle nor dill can write the value."""
    stream = io.BytesIO()
    try:
        StablePickler(stream, protocol=PROTOCOL).dump(obj)
        if may_hold_sets(stream.getvalue()):
            stream = io.BytesIO()
            SetOrderPickler(stream, StablePickler(stream, protocol=PROTOCOL), PROTOCOL).dump(obj)
    except (KartError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - objects that it refers to may need dill
        return _written_by_dill(obj)
    return stream.getvalue()


def _written_by_dill(obj: type | types.FunctionType) -> bytes | None:
    """Return a class or function of ``__main__`` as dill's pickle; dill writes those of other modules by reference only."""
    import dill

    if obj.__module__ != "__main__":
        return None
    try:
        written: bytes = dill.dumps(obj, protocol=PROTOCOL, recurse=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - an object's own reduction may raise anything
        return None
    return written


# Reductions of locks, which come back free, and of weak collections: pickle and cloudpickle have none.
_REDUCED: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    _thread.LockType: lambda _lock: (_thread.allocate_lock, ()),
    _thread.RLock: lambda _lock: (threading.RLock, ()),
    weakref.WeakSet: lambda some: (weakref.WeakSet, (list(some),)),
    weakref.WeakKeyDictionary: lambda some: (weakref.WeakKeyDictionary, (dict(some),)),
    weakref.WeakValueDictionary: lambda some: (weakref.WeakValueDictionary, (dict(some),)),
}


def _whole_enum(cls: enum.EnumMeta, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return cloudpickle's reduction of an enum, completed: aliases, composite flags, and the attributes of members.

    cloudpickle lists canonical members only, and sets all other names afterwards, which enums refuse.
    """
    make, arguments, state = reduced[:3]
    if getattr(make, "__name__", "") != "_make_skeleton_enum":  # by reference
        return reduced
    all_members = cast("Mapping[str, enum.Enum]", cls.__members__)
    members = {name: member.value for name, member in all_members.items()}
    own = {name: _own_attributes(vars(member)) for name, member in all_members.items() if member.name == name}
    own = {name: values for name, values in own.items() if values}
    class_state = {name: value for name, value in state[0].items() if name not in members}
    arguments = (*arguments[:3], members, *arguments[4:])
    return make, arguments, ((class_state, state[1]), own), None, None, complete_enum


def _with_lasting_id(obj: object, reduced: Any) -> Any:
    """Return cloudpickle's reduction of a class with an id made of the class's code: cloudpickle's differs in each process.

    By the id a process that loads a class by value several times has one class. Local classes keep cloudpickle's id, as one
    definition makes several of them.
    """
    make = getattr(reduced[0], "__name__", "") if isinstance(reduced, tuple) else ""
    if not isinstance(obj, type) or make not in ("_make_skeleton_class", "_make_skeleton_enum") or not _at_module_level(obj):
        return reduced
    try:
        code = fingerprint(obj)
    except Exception:  # noqa: BLE001 - there is no source
        return reduced
    lasting = hashlib.sha256(f"{logical_class_name(obj)} {code}".encode()).hexdigest()[:32]
    return (reduced[0], (*reduced[1][:-2], lasting, reduced[1][-1]), *reduced[2:])


def _own_attributes(values: Mapping[str, object]) -> dict[str, object]:
    """Return the attributes that an enum's own constructor gave a member."""
    return {name: value for name, value in values.items() if not (name.startswith("_") and name.endswith("_"))}


def _at_module_level(obj: type | types.FunctionType) -> bool:
    """Whether a class or function has its name in its module, or had it when the module was executed before.

    ``airflow dags test`` executes a DAG file twice, and runs the tasks of the first execution.
    """
    if "<locals>" in obj.__qualname__:
        return False
    module = sys.modules.get(obj.__module__)
    now = None if module is None else found_in(vars(module), obj.__qualname__)
    if now is obj or _same_definition(obj, now):
        return True
    running = (space for space in running_namespaces() if space["__name__"] == obj.__module__)
    return any(found_in(space, obj.__qualname__) is obj for space in running)


def _same_definition(one: object, other: object) -> bool:
    """Whether two classes or functions come from the same lines of code, executed twice."""
    if type(one) is not type(other):
        return False
    if isinstance(one, type) and isinstance(other, type):
        mine, theirs = _definition(one), _definition(other)
        alike = _names(one) == _names(other) and mine.keys() == theirs.keys()
        return alike and all(_same_code(mine[name], theirs[name]) for name in mine)
    return _same_code(one, other)


def _same_code(one: object, other: object) -> bool:
    if isinstance(one, type) and isinstance(other, type):  # they may refer to each other in a circle
        return _names(one) == _names(other)
    if isinstance(one, types.FunctionType) and isinstance(other, types.FunctionType):
        return one.__code__ == other.__code__
    if isinstance(one, (staticmethod, classmethod)) and isinstance(other, (staticmethod, classmethod)):
        return _same_code(one.__func__, other.__func__)
    if isinstance(one, property) and isinstance(other, property):
        return _same_code(one.fget, other.fget)
    if isinstance(one, enum.Enum) and isinstance(other, enum.Enum):
        return one.name == other.name and (type(one.value) not in _SCALARS or one.value == other.value)
    return type(one) is type(other)


def _names(cls: type) -> list[str]:
    return [cls.__module__, cls.__qualname__, *(base.__qualname__ for base in cls.__bases__)]


def _definition(cls: type) -> dict[str, object]:
    """Return the code of a class, and the members of an enum: plain attributes may change after the definition."""
    return {name: value for name, value in vars(cls).items() if isinstance(value, _CODE)}


def write_by_value(name: str) -> None:
    """Tell cloudpickle to write a module's classes and functions by value; for ``__main__`` cloudpickle does so anyway."""
    if name != "__main__" and name in sys.modules and name not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(sys.modules[name])


@contextmanager
def registry_as_before() -> Iterator[None]:
    """Restore cloudpickle's registry, which belongs to the whole process."""
    with _REGISTRY:
        before = set(cloudpickle.list_registry_pickle_by_value())
        try:
            yield
        finally:
            for name in set(cloudpickle.list_registry_pickle_by_value()) - before:
                cloudpickle.unregister_pickle_by_value(sys.modules[name])
