"""The parts of a large object, sent by a few threads while the rest is still being written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

__all__ = ["PART", "Parts", "part_size"]

PART = 8 << 20
"""Length of a part in bytes; what is not longer is no large object."""

_AT_ONCE = 4
_MANY = 5000
_LARGE_PART = 64 << 20


def part_size(number: int) -> int:
    """Return how long a part is, counted from 1: services take 10,000 parts at most, whatever the object's size."""
    return PART if number <= _MANY else _LARGE_PART


class Parts:
    """Parts under way: four at a time, and not more than four in memory.

    Args:
        send: sends a part, given its number from 1 and its bytes, and returns what it is known by; called in threads.
    """

    def __init__(self, send: Callable[[int, bytes], Any]) -> None:
        self._send = send
        self._pool = ThreadPoolExecutor(_AT_ONCE, "kart-write")
        self._room = threading.Semaphore(_AT_ONCE)
        self._sent: list[Future[Any]] = []
        self._failed: BaseException | None = None

    @property
    def next_number(self) -> int:
        """The number of the part that comes next."""
        return len(self._sent) + 1

    def add(self, data: bytes) -> None:
        """Send one more part; wait while there are too many under way.

        Raises:
            StorageError: a part could not be sent.
        """
        self._room.acquire()
        if self._failed is not None:
            self._room.release()
            raise self._failed
        self._sent.append(self._pool.submit(self._send_one, self.next_number, data))

    def finish(self) -> Sequence[Any]:
        """Wait until all parts are sent; return what they are known by, in order.

        Raises:
            StorageError: a part could not be sent.
        """
        sent = [future.result() for future in self._sent]
        self._pool.shutdown()
        return sent

    def stop(self) -> None:
        """Send no more, and wait for what is under way."""
        self._pool.shutdown(cancel_futures=True)

    def _send_one(self, number: int, data: bytes) -> Any:
        try:
            return self._send(number, data)
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._room.release()
