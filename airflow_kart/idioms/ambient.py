"""Values that a ``with`` block makes current for the code inside: the workspace, the publication of a run."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class _Entry(Generic[T]):
    """One block that is being executed."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class Ambient(Generic[T]):
    """The values of the blocks that surround a piece of code.

    A block is visible to its own code, to asyncio tasks that start inside it, and through :attr:`entered` to all threads of
    the process. Threads and asyncio tasks may enter the same value at once, and blocks may end in any order, as those of
    generators do.

    Args:
        name: for the context variable, which debuggers show.
    """

    def __init__(self, name: str) -> None:
        self._surrounding: ContextVar[tuple[_Entry[T], ...]] = ContextVar(name, default=())
        self._entered: dict[_Entry[T], bool] = {}  # each change is one step of a dict, for which threads need no lock

    @property
    def current(self) -> T | None:
        """The value of the innermost block around the caller, ``None`` outside of all blocks."""
        surrounding = self._surrounding.get()
        return surrounding[-1].value if surrounding else None

    @property
    def entered(self) -> list[T]:
        """The values of all blocks that the process is executing, in the order of entry."""
        return [entry.value for entry in list(self._entered)]

    def enter(self, value: T) -> None:
        """Begin a block."""
        entry = _Entry(value)
        self._surrounding.set((*self._surrounding.get(), entry))
        self._entered[entry] = True

    def leave(self, value: T) -> None:
        """End the innermost block of a value. Where the caller entered none, as a finalizer, end one that others entered."""
        surrounding = self._surrounding.get()
        own = next((entry for entry in reversed(surrounding) if entry.value is value), None)
        try:
            if own is not None:
                self._surrounding.set(tuple(entry for entry in surrounding if entry is not own))
        finally:
            self._forget(own, value)

    def _forget(self, own: _Entry[T] | None, value: T) -> None:
        # A finalizer may have ended this entry in place of its own, which stays behind: one of the same value goes then.
        for entry in [own, *reversed(list(self._entered))]:
            if entry is not None and entry.value is value and self._entered.pop(entry, False):
                return
