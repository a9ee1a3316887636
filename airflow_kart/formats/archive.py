"""Zip archives that depend only on the names and contents of their members, written as a stream."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol, cast

from typing_extensions import Buffer

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.streams import WriteOnly

MOST_BYTES = 16 << 30
"""The usual limit of unpacked bytes: far above real artifacts, far below a bomb's."""

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the first moment ZIP knows
_BUFFER = 1 << 20


class Writes(Protocol):
    """A stream to write to: that of an upload, or of an archive's member."""

    def write(self, data: Buffer, /) -> int | None:
        """Write bytes; return their number."""
        ...


def member(name: str, *, compressed: bool = True) -> zipfile.ZipInfo:
    """Return an archive's entry for a file, without the time of writing."""
    info = zipfile.ZipInfo(name, date_time=_FIRST_DAY)
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    return info


def check_most(most: object, format_name: str) -> None:
    """Refuse an option that is no limit in bytes.

    Raises:
        ConfigurationError: the option is no positive number.
    """
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigurationError(f"{format_name} got max_bytes={most!r}; give a number of bytes above zero")


def check_size(size: int, most: int) -> None:
    """Refuse content that is larger than a limit, both to write and to read.

    Raises:
        FormatError: the content is larger.
    """
    if size > most:
        raise FormatError(
            f"the unpacked content has {size} bytes or more, and the limit is {most}; give the format max_bytes=..."
        )


def check_members(archive: zipfile.ZipFile, most: int, *, portable: bool = True) -> None:
    """Refuse an archive to unpack: too large, with names that leave the folder, or with several files of one name.

    Args:
        archive: the archive.
        most: the largest total size of the files, in bytes.
        portable: whether names must mean the same on every system.

    Raises:
        FormatError: the archive cannot be unpacked safely.
    """
    names: set[str] = set()
    for info in archive.infolist():
        if (wrong := unsafe(info.filename.removesuffix("/"), portable=portable)) is not None or info.filename in names:
            raise FormatError(f"the archive has a file named {info.filename!r}: {wrong or 'there are two of them'}")
        names.add(info.filename)
    check_size(sum(info.file_size for info in archive.infolist()), most)


def unsafe(name: str, *, portable: bool = True) -> str | None:
    """Return why no file can be unpacked by a name, or ``None``."""
    parts = name.split("/")
    if not name or "" in parts or "." in parts or ".." in parts:
        return "it is no plain relative path"
    if portable and any(character in name for character in "\\:\0"):
        return "a backslash, colon or NUL means other things elsewhere"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "it is no valid Unicode"
    return None


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Turn errors of reading an archive into one that names the archive.

    Args:
        what: the kind of archive, as in "the bytes are not a ZIP archive".

    Raises:
        FormatError: the archive cannot be read.
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
    with zipfile.ZipFile(cast(BinaryIO, _Unclosable(stream)), "w", allowZip64=True) as archive:
        yield archive


@contextmanager
def add_member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """Write a member of an archive, of any size, uncompressed."""
    with archive.open(member(name, compressed=False), "w", force_zip64=True) as inner:
        buffered = io.BufferedWriter(_Unclosable(inner), _BUFFER)
        yield cast(BinaryIO, buffered)
        if not buffered.closed:  # close() flushes too
            buffered.flush()


@contextmanager
def reading_archive(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Read an archive.

    Raises:
        FormatError: the bytes are no archive, or are damaged.
    """
    with unreadable("a zip archive that can be read"), zipfile.ZipFile(stream) as archive:
        yield archive


class _Unclosable(WriteOnly):
    """A raw stream: closing this stream leaves the inner one open."""

    def __init__(self, stream: Writes) -> None:
        self._stream = stream

    def write(self, data: Buffer, /) -> int | None:
        return self._stream.write(data)
