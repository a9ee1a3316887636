"""The process of a preview: decodes one artifact, whose blocks it asks its parent for.

The parent sends a request, and then the blocks that this process names by their numbers; the answer comes after a last number.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import resource
import select
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import msgspec

from airflow_kart.plugin.preview.content import Preview, Request, plain
from airflow_kart.plugin.preview.reading import content_of

MOST_BYTES = 16 << 20
"""Bytes of an artifact that a preview reads at most."""
MEMORY = 768 << 20
BLOCK = 128 << 10
NUMBER = struct.Struct("<Q")
NONE = 2**64 - 1
"""In place of a block's number: the answer follows. In place of a length: the block is refused."""
_CPU_SECONDS = 5
_MOMENT, _PATIENCE = 0.1, 600
"""Seconds until a process counts as a spare one, and until a spare one ends."""


def send(to: IO[bytes], number: int, data: bytes = b"") -> None:
    """Send a number, and bytes."""
    to.write(NUMBER.pack(number) + data)
    to.flush()


def exactly(source: IO[bytes], size: int) -> bytes:
    """Return so many bytes, or raise an ``EOFError`` where the other process has ended."""
    data = source.read(size)
    if len(data) < size:
        raise EOFError
    return data


def received(source: IO[bytes]) -> int:
    """Return the number that the other process sends."""
    found: int = NUMBER.unpack(exactly(source, NUMBER.size))[0]
    return found


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

    def fetch(number: int) -> bytes:
        send(to, number)
        if (length := received(source)) == NONE:
            raise OSError(f"a preview reads {MOST_BYTES >> 20} MB at most")
        return exactly(source, length)

    if not select.select([source], [], [], _MOMENT)[0]:  # a spare process: there is time until somebody asks
        with suppress(ImportError):
            importlib.import_module("pyarrow.parquet")
            importlib.import_module("pyarrow.compute")
        if not select.select([source], [], [], _PATIENCE)[0]:
            return
    asked = Request(**json.loads(exactly(source, received(source))))
    try:
        found = content_of(asked, io.BufferedReader(_Asked(asked.bytes, fetch), BLOCK))
    except Exception as error:  # noqa: BLE001 - decoders of hostile bytes raise anything
        words = plain(str(error) or type(error).__name__)
        found = Preview(note=f"The bytes cannot be shown as {plain(asked.format, 40)}: {words}.")
    answer = msgspec.json.encode(found)
    send(to, NONE, NUMBER.pack(len(answer)) + answer)


def _limit() -> None:
    """Bound time and memory of this process, as far as the system can, and let it write no file."""
    for name, most in (("CPU", _CPU_SECONDS), ("AS", MEMORY), ("CORE", 0), ("FSIZE", 0)):
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
