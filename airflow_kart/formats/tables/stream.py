"""The streams that table libraries read from and write to."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError, KartError

__all__ = ["Attempt", "Sink", "file_path", "reading", "writing"]

_SMALL = 64 << 10
_GATHERED = 256 << 10


class Sink(io.RawIOBase):
    """A stream for libraries that close what they are given: the real one stays open.

    Small pieces are gathered, large ones passed on without a copy. Some libraries put an error of the stream into words
    of their own; it is kept here, to be raised as what it was.
    """

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream
        self._gathered = bytearray()
        self.error: Exception | None = None

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def write(self, data: Any, /) -> int:
        """Write to the real stream, sooner or later."""
        size = memoryview(data).nbytes
        if size < _SMALL:
            self._gathered += data
            if len(self._gathered) >= _GATHERED:
                self.pass_on()
        else:
            self.pass_on()
            self._pass(data)
        return size

    def pass_on(self) -> None:
        """Write what was gathered."""
        if self._gathered:
            gathered, self._gathered = bytes(self._gathered), bytearray()
            self._pass(gathered)

    def _pass(self, data: Any) -> None:
        try:
            self._stream.write(data)
        except Exception as error:
            self.error = error
            raise


@contextmanager
def writing(stream: io.RawIOBase, what: str) -> Iterator[Sink]:
    """Give a library a stream to write to, and name what it refuses.

    Args:
        stream: where the bytes go.
        what: what is written, as in "the csv format cannot write this table".

    Raises:
        FormatError: the library refused the object.
    """
    sink = Sink(stream)
    try:
        yield sink
        sink.pass_on()
    except Exception as error:
        if sink.error is not None:
            raise sink.error from None
        if isinstance(error, (KartError, MemoryError)):
            raise
        raise FormatError(f"{what}: {error}") from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name what a library could not read.

    Args:
        what: what the bytes should be, as in "the bytes are not CSV".

    Raises:
        FormatError: the library refused the bytes.
    """
    try:
        yield
    except (KartError, MemoryError):
        raise
    except BaseException as error:
        # polars is written in Rust, and what goes wrong in it may come up beside Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise FormatError(f"the bytes are not {what} ({type(error).__name__}: {error})") from error
        raise


class Attempt:
    """One attempt at reading a stream from its begin.

    A library that gave up may have threads that are still reading; when the attempt has ended, they are told that the
    stream has too, and leave it to the next attempt.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        stream.seek(0)
        self._stream: BinaryIO | None = stream
        self._lock = threading.Lock()

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; none, when the attempt has ended."""
        with self._lock:
            return b"" if self._stream is None else self._stream.read(size)

    def end(self) -> None:
        """Leave the stream alone."""
        with self._lock:
            self._stream = None


def file_path(stream: BinaryIO) -> str | None:
    """Return a path by which a library may open the very file a stream reads, or ``None`` where there is none.

    On Linux it leads to the open file itself, whatever has been renamed over its name since.
    """
    raw = stream.raw if isinstance(stream, io.BufferedReader) else stream
    if not isinstance(raw, io.FileIO):
        return None
    path = f"/proc/self/fd/{raw.fileno()}"
    return path if os.path.exists(path) else None
