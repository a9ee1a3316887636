"""An exception on its way from one process to another.

Pickle makes an exception anew by calling its class with ``args``. That fails where the constructor takes other arguments,
and where an attribute cannot be pickled. Here the exception comes back by its class, its ``args`` and its other
attributes, without a call of the constructor; and where the class cannot make the way, at least by its words.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_kart.exceptions import TaskFailedError


class Parcel:
    """Wraps an exception for the way; unpickling gives the exception itself, with its traceback as words in its cause.

    Args:
        error: the exception.
        task: the task that raised the exception, as ``repr()`` writes it.
    """

    def __init__(self, error: BaseException, task: str) -> None:
        self._packed = _pack(error, task)
        self._traceback = "".join(traceback.format_exception(type(error), error, error.__traceback__))

    def __reduce__(self) -> tuple[Callable[[_Packed, str], BaseException], tuple[_Packed, str]]:
        """Come out as the exception itself."""
        return _arrived, (self._packed, self._traceback)


class WorkerTraceback(Exception):  # noqa: N818 - no error, but the words of one
    """The traceback of an exception in another process."""


def _arrived(packed: _Packed, words: str) -> BaseException:
    error = _unpack(packed)
    error.__cause__ = WorkerTraceback(f'\n"""\n{words}"""')
    return error


@dataclass(frozen=True)
class _Packed:
    """The pickled parts of an exception; parts that cannot be pickled are missing."""

    whole: bytes | None
    """The exception, where pickle makes an equal one of it."""
    cls: bytes | None
    args: bytes | None
    attributes: dict[str, bytes]
    members: tuple[_Packed, ...]
    """The exceptions of an exception group."""
    words: str
    task: str


def _pack(error: BaseException, task: str) -> _Packed:
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ()) if _is_group(type(error)) else ()
    return _Packed(
        whole=_whole(error),
        cls=_pickled(type(error)),
        args=_pickled(error.args[:1] if members else error.args) or _pickled(tuple(map(_plain, error.args))),
        attributes={name: data for name, value in vars(error).items() if (data := _pickled(value)) is not None},
        members=tuple(_pack(member, task) for member in members),
        words=f"{type(error).__name__}: {error}",
        task=task,
    )


def _whole(error: BaseException) -> bytes | None:
    """Return an exception pickled, if unpickling makes the same of it."""
    data = _pickled(error)
    if data is None:
        return None
    try:
        again = pickle.loads(data)
    except Exception:  # noqa: BLE001 - a constructor may raise anything
        return None
    same = type(again) is type(error) and str(again) == str(error) and vars(again).keys() == vars(error).keys()
    return data if same else None


def _unpack(packed: _Packed) -> BaseException:
    for way in (_from_whole, _from_parts):
        try:
            error = way(packed)
        except Exception:  # noqa: BLE001, S112 - a class may refuse in any way; the next way follows
            continue
        if error is not None:
            return error
    return TaskFailedError(f"{packed.task} failed in a worker process: {packed.words}", task=packed.task)


def _from_whole(packed: _Packed) -> BaseException | None:
    found = pickle.loads(packed.whole) if packed.whole is not None else None
    return found if isinstance(found, BaseException) else None


def _from_parts(packed: _Packed) -> BaseException | None:
    if packed.cls is None or packed.args is None:
        return None
    cls: Any = pickle.loads(packed.cls)
    args: tuple[Any, ...] = pickle.loads(packed.args)
    if packed.members:
        args = (*args, [_unpack(member) for member in packed.members])
    error = cls.__new__(cls, *args)
    if not isinstance(error, BaseException):
        return None
    error.args = args
    for name, data in packed.attributes.items():
        error.__dict__[name] = pickle.loads(data)
    # The words may come from an attribute that was lost.
    return error if packed.members or f"{cls.__name__}: {error}" == packed.words else None


def _is_group(cls: type[BaseException]) -> bool:
    return any(base.__name__ == "BaseExceptionGroup" and base.__module__ == "builtins" for base in cls.__mro__)


def _pickled(value: object) -> bytes | None:
    from airflow_kart.formats.pickle import dumps

    try:
        return dumps(value)
    except Exception:  # noqa: BLE001 - a value may refuse in any way
        return None


def _plain(value: object) -> object:
    """Return a value, or its words where it cannot be pickled."""
    return value if _pickled(value) is not None else repr(value)
