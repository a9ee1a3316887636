"""Zip archives that depend on nothing but the names and contents of their members, written as a stream."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError

__all__ = ["add_member", "member", "reading_archive", "unreadable", "writing_archive"]

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the first moment ZIP knows
_BUFFER = 1 << 20


def member(name: str, *, compressed: bool = True) -> zipfile.ZipInfo:
    """Return the entry for a file in an archive, without the time it was written."""
    info = zipfile.ZipInfo(name, date_time=_FIRST_DAY)
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    return info


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Name an archive that cannot be read.

    Raises:
        FormatError: so it is.
    """
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        OverflowError,
        KeyError,
        IndexError,
    ) as error:
        raise FormatError(f"the bytes are not {what} ({type(error).__name__}: {error})") from error


@contextmanager
def writing_archive(stream: io.RawIOBase) -> Iterator[zipfile.ZipFile]:
    """Write an archive to a stream that cannot seek."""
    with zipfile.ZipFile(_Unclosable(stream), "w", allowZip64=True) as archive:
        yield archive


@contextmanager
def add_member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """Write a member of an archive, of any size, as it is."""
    with archive.open(member(name, compressed=False), "w", force_zip64=True) as inner:
        buffered = io.BufferedWriter(_Unclosable(inner), _BUFFER)
        yield buffered
        if not buffered.closed:  # closing it flushes too
            buffered.flush()


@contextmanager
def reading_archive(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Read an archive.

    Raises:
        FormatError: the bytes are no archive, or are damaged.
    """
    with unreadable("a zip archive that can be read"), zipfile.ZipFile(stream) as archive:
        yield archive


class _Unclosable(io.RawIOBase):
    """A raw stream whose closing leaves the real one open."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        written: int = self._stream.write(data)
        return written
