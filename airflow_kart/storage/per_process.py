"""A value that each process makes for itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

_T = TypeVar("_T")


class _Slot(Generic[_T]):
    __slots__ = ("lock", "made")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[_T] = []


class PerProcess(Generic[_T]):
    """A value, such as a client with open connections, that must not cross a fork. Threads share it.

    Args:
        make: makes the value of a process, when it is first asked for.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._slots: dict[int, _Slot[_T]] = {}  # a slot's lock is its process's own, so no fork can leave it locked

    def get(self) -> _T:
        """Return this process's value."""
        slot = self._slots.setdefault(os.getpid(), _Slot())
        with slot.lock:
            if not slot.made:
                slot.made.append(self._make())
            return slot.made[0]

    def renew(self, old: _T) -> None:
        """Make the value anew, unless another thread has done so since ``old`` was got."""
        slot = self._slots.setdefault(os.getpid(), _Slot())
        with slot.lock:
            if slot.made and slot.made[0] is old:
                slot.made[:] = [self._make()]
