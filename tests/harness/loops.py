"""Threads that do something until they are told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from typing_extensions import Self

__all__ = ["Loops"]


class Loops:
    """Threads that each call something again and again until the ``with`` block ends, then raise what went wrong in them."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._end = threading.Event()
        self._errors: list[BaseException] = []
        self.rounds = 0
        self._threads = [threading.Thread(target=self._run, args=(step,)) for step in steps]

    def _run(self, step: Callable[[], object]) -> None:
        try:
            while not self._end.is_set():
                step()
                self.rounds += 1
        except BaseException as error:
            self._errors.append(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
