"""Bytes of an object from the network, and the patience with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from airflow_kart.storage.buckets.faults import TransientFault

_CHUNK = 256 << 10
_PATIENCE = 10.0
_SLOWEST = 16 << 10


class Body(Protocol):
    """An answer with bytes of an object, readable as the bytes arrive."""

    @property
    def size(self) -> int:
        """Length of the whole object in bytes."""
        ...

    @property
    def version(self) -> str:
        """Version of the object."""
        ...

    def read(self, most: int, /) -> bytes:
        """Return the bytes that have arrived, ``most`` of them at most, and none at the end."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


def fill(view: memoryview, body: Body) -> Iterator[int]:
    """Fill a buffer from a body; yield how many bytes each step has brought.

    Raises:
        TransientFault: the body is too short, or so slow that a new request is better.
    """
    had = 0
    began = time.monotonic()
    while had < len(view):
        data = body.read(min(_CHUNK, len(view) - had))
        if not data:
            raise TransientFault(f"the answer ended after {had} of {len(view)} bytes")
        view[had : had + len(data)] = data
        had += len(data)
        yield len(data)
        waited = time.monotonic() - began
        if had < len(view) and waited > _PATIENCE and had / waited < _SLOWEST:
            raise TransientFault(f"the answer comes at {had / waited:.0f} bytes a second")
    body.read(1)  # at its end a body gives its connection back to the pool
