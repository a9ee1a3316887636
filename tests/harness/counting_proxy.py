"""An HTTP proxy that counts the bytes of the answers it has sent on."""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

from harness.http_proxy import Handler, started, told_to

__all__ = ["bytes_sent", "counting"]

_ASKED = "/bytes-sent"
_PIECE = 16 << 10  # what a client that breaks off no longer takes is not counted


class Counted:
    """A stream to a client that counts."""

    total = 0
    lock = threading.Lock()

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            self._stream.write(piece)
            with Counted.lock:
                Counted.total += len(piece)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Counting(Handler):
    """Passes a request on and counts, or tells how much was counted."""

    def setup(self) -> None:
        super().setup()
        self.wfile: Any = Counted(self.wfile)

    def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return (200, {}, str(Counted.total).encode()) if self.path == _ASKED else super().ask(body)


@contextlib.contextmanager
def counting(service: str) -> Iterator[str]:
    """Start a counting proxy before a service; give its address."""
    with started(service, module="harness.counting_proxy") as address:
        yield address


def bytes_sent(proxy: str) -> int:
    """Return how many bytes a proxy has sent to its clients so far."""
    with urllib.request.urlopen(proxy + _ASKED, timeout=30) as answer:
        return int(answer.read())


if __name__ == "__main__":
    told_to(Counting)
