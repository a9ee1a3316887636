"""The streams that table libraries read from and write to."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError, KartError

__all__ = ["Sink", "file_path", "reading", "writing"]

_BUFFER = 1 << 20


class Sink(io.RawIOBase):
    """A raw stream for libraries that close what they are given: the real one stays open.

    Some put an error of the stream into words of their own; it is kept here, to be raised as what it was.
    """

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream
        self.error: Exception | None = None

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def write(self, data: Any, /) -> int | None:
        """Write to the real stream, unless that failed."""
        if self.error is not None:  # what a buffer still holds when it is cleared away
            return memoryview(data).nbytes
        try:
            return self._stream.write(data)
        except Exception as error:
            self.error = error
            raise


@contextmanager
def writing(stream: io.RawIOBase, what: str) -> Iterator[Any]:
    """Give a library a buffered stream to write to, and name what it refuses.

    Args:
        stream: where the bytes go.
        what: what is written, as in "the csv format cannot write this table".

    Raises:
        FormatError: the library refused the object.
    """
    sink = Sink(stream)
    buffered = io.BufferedWriter(sink, _BUFFER)
    try:
        yield buffered
        if not buffered.closed:
            buffered.flush()
    except Exception as error:
        if sink.error is not None:
            raise sink.error from None
        sink.error = error
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


def file_path(stream: BinaryIO) -> str | None:
    """Return a path by which a library may open the very file a stream reads, or ``None`` where there is none.

    On Linux it leads to the open file itself, whatever has been renamed over its name since.
    """
    raw = stream.raw if isinstance(stream, io.BufferedReader) else stream
    if not isinstance(raw, io.FileIO):
        return None
    path = f"/proc/self/fd/{raw.fileno()}"
    return path if os.path.exists(path) else None
