"""Objects that a task generates while a format writes them: an error of the generator stays the task's own error."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _OwnError(BaseException):
    """Carries a generator's error past formats and libraries, which turn exceptions into errors of their own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class _Guarded(Iterator[object]):
    def __init__(self, inner: Iterator[object]) -> None:
        self._inner = inner

    def __next__(self) -> object:
        try:
            return next(self._inner)
        except StopIteration:
            raise
        except Exception as error:
            raise _OwnError(error) from error


def guarded(obj: object) -> object:
    """Return the object to write: a generator of parts whose errors :func:`own_errors` raises, or the object itself."""
    return _Guarded(obj) if isinstance(obj, Iterator) else obj


def own_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function raise the error of a :func:`guarded` generator as the generator raised it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except _OwnError as carried:
            error = carried.error
        raise error

    return run
