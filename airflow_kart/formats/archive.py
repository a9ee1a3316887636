"""Zip archives that are written as a stream, equal for equal contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError

__all__ = ["add_member", "reading_archive", "writing_archive"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can name
_BUFFER = 1 << 20


@contextmanager
def writing_archive(stream: io.RawIOBase) -> Iterator[zipfile.ZipFile]:
    """Write an archive to a stream that cannot seek; members are stored as they are."""
    with zipfile.ZipFile(_Unclosable(stream), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        yield archive


@contextmanager
def add_member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """Write a member of an archive, of any size; times and owners are not recorded."""
    with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as member:
        buffered = io.BufferedWriter(_Unclosable(member), _BUFFER)
        yield buffered
        if not buffered.closed:  # closing it flushes too
            buffered.flush()


@contextmanager
def reading_archive(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Read an archive.

    Raises:
        FormatError: the bytes are no archive, or are damaged.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise FormatError(f"the bytes are not a zip archive that can be read ({error})") from error


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
