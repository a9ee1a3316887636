"""The streams that table libraries read from and write to."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from typing_extensions import Buffer

from airflow_kart.exceptions import FormatError, KartError
from airflow_kart.streams import WriteOnly

_SMALL = 64 << 10
_GATHERED = 256 << 10


class Sink(WriteOnly):
    """A stream for libraries that close their streams: the real one stays open.

    A sink gathers small pieces, and passes large ones on without a copy. Some libraries put an error of the stream into
    words of their own; the sink keeps the stream's error, so that callers can raise that one.
    """

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._gathered = bytearray()
        self.error: Exception | None = None

    def write(self, data: Buffer, /) -> int:
        """Write to the real stream, sooner or later."""
        view = memoryview(data)
        size = view.nbytes
        if size < _SMALL:
            self._gathered += view.cast("B") if view.c_contiguous and size else bytes(view)
            if len(self._gathered) >= _GATHERED:
                self.pass_on()
        else:
            self.pass_on()
            self._pass(data)
        return size

    def pass_on(self) -> None:
        """Write the gathered bytes."""
        if self._gathered:
            gathered, self._gathered = bytes(self._gathered), bytearray()
            self._pass(gathered)

    def _pass(self, data: Buffer) -> None:
        try:
            self._stream.write(data)
        except Exception as error:
            self.error = error
            raise


@contextmanager
def writing(stream: io.RawIOBase, what: str) -> Iterator[Sink]:
    """Give a library a stream to write to, and turn its refusal into an error of this package.

    Args:
        stream: takes the bytes.
        what: the beginning of the error, as in "the csv format cannot write this table".

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
    """Turn a library's refusal of bytes into an error of this package.

    Args:
        what: the expected content, as in "the bytes are not CSV".

    Raises:
        FormatError: the library refused the bytes.
    """
    try:
        yield
    except (KartError, MemoryError):
        raise
    except BaseException as error:
        # polars is written in Rust: its panics are no subclass of Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise FormatError(f"the bytes are not {what} ({type(error).__name__}: {error})") from error
        raise


class Attempt:
    """One attempt at reading a stream from its begin.

    A library that gave up may have threads that still read. When the attempt has ended, they see the end of the stream,
    and leave the stream to the next attempt.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        stream.seek(0)
        self._stream: BinaryIO | None = stream
        self._lock = threading.Lock()

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; no bytes after the attempt has ended."""
        with self._lock:
            return b"" if self._stream is None else self._stream.read(size)

    def end(self) -> None:
        """Leave the stream alone."""
        with self._lock:
            self._stream = None


def file_path(stream: BinaryIO) -> str | None:
    """Return a path by which a library may open the very file of a stream, or ``None`` where no such path exists.

    On Linux the path leads to the open file itself, even if another file has its name by now.
    """
    raw = stream.raw if isinstance(stream, io.BufferedReader) else stream
    if not isinstance(raw, io.FileIO):
        return None
    path = f"/proc/self/fd/{raw.fileno()}"
    return path if os.path.exists(path) else None
