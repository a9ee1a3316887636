"""The process of a preview: decodes one artifact, whose blocks it asks its parent for.

The parent sends a request, and then the blocks that this process names by their numbers; the answer comes after a last number.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import msgspec

from airflow_kart.plugin.preview.content import Preview, Request, plain
from airflow_kart.plugin.preview.reading import content_of

MOST_BYTES = 8 << 20
"""Bytes of an artifact that a preview reads at most."""
MEMORY = 1 << 30
BLOCK = 128 << 10
NUMBER, LENGTH = struct.Struct("<Q"), struct.Struct("<q")
RESULT = 2**64 - 1
_CPU_SECONDS = 5


def send(to: IO[bytes], data: bytes | None) -> None:
    """Send bytes after their length; ``None`` refuses a block."""
    to.write(LENGTH.pack(-1 if data is None else len(data)) + (data or b""))
    to.flush()


def exactly(source: IO[bytes], size: int) -> bytes:
    """Return so many bytes.

    Raises:
        EOFError: the other process has ended.
    """
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


class _Asked(io.RawIOBase):
    """The artifact as a file, whose blocks come from the parent."""

    def __init__(self, size: int, fetch: Callable[[int], bytes]) -> None:
        super().__init__()
        self._size = size
        self._position = 0
        self._fetch = fetch
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        place = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence] + offset
        if place < 0:
            raise ValueError("a place before the beginning")
        self._position = place
        return place

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        number, offset = divmod(self._position, BLOCK)
        if self._position >= self._size or not len(view):
            return 0
        if number not in self._blocks:
            self._blocks[number] = self._fetch(number)
        part = self._blocks[number][offset : offset + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)


def main() -> None:
    """Decode one artifact, in a process of its own."""
    _limit()
    source, to = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr

    def received() -> bytes:
        (length,) = LENGTH.unpack(exactly(source, LENGTH.size))
        if length < 0:
            raise OSError(f"a preview reads {MOST_BYTES >> 20} MB at most")
        return exactly(source, length)

    def fetch(number: int) -> bytes:
        to.write(NUMBER.pack(number))
        to.flush()
        return received()

    asked = msgspec.json.decode(received(), type=Request)
    try:
        found = content_of(asked, io.BufferedReader(_Asked(asked.bytes, fetch), BLOCK))
    except Exception as error:  # noqa: BLE001 - decoders of hostile bytes raise anything
        words = plain(str(error) or type(error).__name__)
        found = Preview(note=f"The bytes cannot be shown as {plain(asked.format, 40)}: {words}.")
    to.write(NUMBER.pack(RESULT))
    send(to, msgspec.json.encode(found))


def _limit() -> None:
    """Bound memory and time of this process, where the system can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
