"""The parts of a large object: a few threads send them while the writer goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from airflow_kart.storage.threads import Threads

PART = 8 << 20
"""Length of a part in bytes; a longer object is a large one."""
MOST = 10_000
"""Parts that an upload may have."""

_AT_ONCE = 4
_MANY = 5000
_LARGE_PART = 64 << 20


def part_size(number: int) -> int:
    """Return the length of a part by its number from 1: services take :data:`MOST` parts, for objects of any size."""
    return PART if number <= _MANY else _LARGE_PART


class Parts:
    """Parts on their way: four at a time, and no more than four in memory.

    Args:
        send: sends a part, given its number from 1 and its bytes, or whatever stands for them, and returns its name in the
            service; called in threads.
    """

    def __init__(self, send: Callable[[int, Any], Any]) -> None:
        self._send = send
        self._pool = Threads(_AT_ONCE, "kart-write")
        self._room = threading.Semaphore(_AT_ONCE)
        self._sent: list[Future[Any]] = []
        self._failed: BaseException | None = None

    @property
    def next_number(self) -> int:
        """The number of the part that comes next."""
        return len(self._sent) + 1

    def add(self, data: object) -> None:
        """Send one more part; wait while four are on their way.

        Raises:
            StorageError: the service refused a part.
        """
        self._room.acquire()
        if self._failed is not None:
            self._room.release()
            raise self._failed
        self._sent.append(self._pool.submit(self._send_one, self.next_number, data))

    def finish(self) -> Sequence[Any]:
        """Wait for all parts; return their names in the service, in order.

        Raises:
            StorageError: the service refused a part.
        """
        sent = [future.result() for future in self._sent]
        self._pool.shutdown()
        return sent

    def stop(self) -> None:
        """Send no more parts, and wait for those on their way."""
        self._pool.shutdown(cancel_futures=True)

    def _send_one(self, number: int, data: object) -> Any:
        try:
            return self._send(number, data)
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._room.release()
