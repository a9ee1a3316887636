"""A pool of threads that also works while the interpreter ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A pool of threads that does the work in the calling thread once Python starts no more threads.

    The main thread may end while another one still makes an artifact: Python waits for that thread, but accepts no more
    work for pools, and from 3.12 on starts no more threads.
    """

    _ended = False

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a thread of the pool call a function, or call the function here."""
        try:
            return super().submit(function, *args, **kwargs)
        except RuntimeError:
            if self._ended:
                raise
        future: Future[T] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)
        return future

    def each(self, function: Callable[[S], T], things: Sequence[S]) -> list[T]:
        """Return what a function makes of things, in their order; the first error ends the work.

        The threads take thing after thing, and need no future for each, as :meth:`map` does.
        """
        waiting, made = deque(enumerate(things)), dict[int, T]()

        def work() -> None:
            while True:
                try:
                    number, thing = waiting.popleft()
                except IndexError:
                    return
                try:
                    made[number] = function(thing)
                except BaseException:
                    waiting.clear()
                    raise

        try:
            for working in [self.submit(work) for _ in range(min(self._max_workers, len(things)))]:
                working.result()
        finally:
            waiting.clear()
        return [made[number] for number in range(len(things))]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; the pool accepts no more work."""
        self._ended = True
        super().shutdown(wait, cancel_futures=cancel_futures)
