"""Reading an object of a bucket like a file: only the needed bytes, when a reader needs them.

For a reader that reads on and on, the stream fetches blocks in advance, several at once. A reader that jumps gets the
bytes it asks for and no more. A reader that announces ranges gets these, several at once. All bytes are of one version of
the object.
"""

from __future__ import annotations

import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import xxhash

from airflow_kart.storage.threads import Threads
from airflow_kart.streams import HashName

BLOCK = 8 << 20
"""Length of a block in bytes."""

_AHEAD = 3
_HELD = 6
_BUFFER = 256 << 10
_SHORT = 1 << 20

Fetch = Callable[[int, memoryview], None]
"""Fills a buffer with the bytes of the object from an offset on."""


class Ranged(io.RawIOBase):
    """An object as a raw stream, under the buffer of a :class:`RangedStream`.

    Args:
        size: length of the object in bytes.
        fetch: fetches bytes, in any thread.
        at_hand: whether the first block is already on its way, and costs nothing.
        end: called when the stream is closed.
    """

    def __init__(self, size: int, fetch: Fetch, at_hand: bool, end: Callable[[], None]) -> None:
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._at_hand = at_hand
        self._end = end
        self._position = 0
        self._next = 0
        self._run = _SHORT  # how much was read in a row; who begins at the beginning is taken to read on
        self._blocks: dict[int, Future[memoryview]] = {}
        self._expected: dict[int, tuple[int, Future[memoryview]]] = {}  # by begin: end, and what was read
        self._pool: Threads | None = None
        self.hash_name: HashName = "xxh3"
        self._digest: Any = xxhash.xxh3_128()
        self._hasher: Threads | None = None
        self._hashing: Future[None] | None = None
        self._hashed = 0

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def tell(self) -> int:
        """Return the position."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position; only reading fetches bytes."""
        self._check_open()
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read up to the end of a block, as a raw stream may."""
        self._check_open()
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        if not view:
            return 0
        if self._position != self._next:
            self._run = _SHORT if self._position == 0 else 0
        index = self._position // BLOCK
        if (count := self._read_expected(view)) > 0:
            self._position += count
            return count
        if index not in self._blocks and self._run < _SHORT and len(view) < _SHORT and not self._costs_nothing(index):
            self._fetch(self._position, view)
            count = len(view)
        else:
            count = self._read_block(index, view)
        self._position += count
        self._next = self._position
        self._run += count
        return count

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin to fetch ranges; see :class:`~airflow_kart.streams.ExpectsRanges`."""
        self._check_open()
        for start, end in ranges:
            for begin in range(start, end, BLOCK):
                stop = min(begin + BLOCK, end)
                self._expected[begin] = (stop, self._worker().submit(self._load, begin, stop))

    def readall(self) -> bytes:
        """Read the rest, with one copy in memory."""
        rest = io.BytesIO()
        view = memoryview(bytearray(min(BLOCK, max(0, self._size - self._position))))
        while count := self.readinto(view):
            rest.write(view[:count])
        return rest.getvalue()

    def hash_with(self, name: HashName) -> None:
        """Choose another hash; see :class:`~airflow_kart.streams.HashedStream`."""
        if self._hashed:
            raise ValueError("the stream has been read, and hashed, already")
        self.hash_name, self._digest = name, hashlib.sha256() if name == "sha256" else xxhash.xxh3_128()

    def hexdigest(self) -> str:
        """Return the hash of the whole object; see :class:`~airflow_kart.streams.HashedStream`."""
        self._check_open()
        for index in range(self._hashed, self._last + 1):
            self._block(index, index + _AHEAD)
        if self._hashing is not None:
            self._hashing.result()
        return str(self._digest.hexdigest())

    def close(self) -> None:
        """Stop all fetches, and release everything."""
        if not self.closed:
            self._end()
            for pool in (self._pool, self._hasher):
                if pool is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
            self._blocks.clear()
            self._expected.clear()
        super().close()

    @property
    def _last(self) -> int:
        return (self._size - 1) // BLOCK

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the stream is closed")

    def _costs_nothing(self, index: int) -> bool:
        return self._at_hand and index == 0 and self._size <= BLOCK

    def _read_expected(self, view: memoryview) -> int:
        """Read from an announced range, and drop a range at its end; return the number of bytes."""
        begins = list(self._expected)
        begin = begins[place - 1] if (place := bisect_right(begins, self._position)) else -1
        end, loading = self._expected.get(begin, (0, None))
        if loading is None or self._position >= end:
            return 0
        found = loading.result()[self._position - begin : self._position - begin + len(view)]
        view[: len(found)] = found
        if self._position + len(found) == end:
            del self._expected[begin]
        return len(found)

    def _read_block(self, index: int, view: memoryview) -> int:
        wanted = (self._position + len(view) - 1) // BLOCK
        expected = index + 2 * self._run // BLOCK  # the longer somebody reads on, the more is asked for in advance
        block = self._block(index, max(wanted, expected))
        offset = self._position - index * BLOCK
        count = min(len(view), len(block) - offset)
        view[:count] = block[offset : offset + count]
        return count

    def _block(self, index: int, through: int) -> memoryview:
        """Return a block, and begin to fetch the next ones."""
        for number in range(index, min(through, index + _AHEAD, self._last) + 1):
            if number not in self._blocks:
                self._make_room(index)
                start = number * BLOCK
                self._blocks[number] = self._worker().submit(self._load, start, min(start + BLOCK, self._size))
        try:
            block = self._blocks[index].result()
        except BaseException:
            self._blocks.pop(index, None)  # whoever reads on tries anew
            raise
        if index == self._hashed:
            self._hash(block)
        return block

    def _make_room(self, index: int) -> None:
        while len(self._blocks) >= _HELD:
            farthest = max(self._blocks, key=lambda number: (number < index, abs(number - index)))
            self._blocks.pop(farthest).cancel()

    def _load(self, start: int, end: int) -> memoryview:
        block = memoryview(bytearray(end - start))
        self._fetch(start, block)
        return block

    def _hash(self, block: memoryview) -> None:
        """Let a thread hash the next block in order, beside the decoding; one block waits at most."""
        if self._hashing is not None:
            self._hashing.result()
        if self._hasher is None:
            self._hasher = Threads(1, "kart-hash")
        self._hashed += 1
        self._hashing = self._hasher.submit(self._digest.update, block)

    def _worker(self) -> Threads:
        if self._pool is None:
            self._pool = Threads(_AHEAD + 1, "kart-read")
        return self._pool


class RangedStream(io.BufferedReader):
    """An object as a buffered stream, which is a ``HashedStream`` and ``ExpectsRanges`` too.

    Both protocols are in :mod:`airflow_kart.streams`.
    """

    def __init__(self, raw: Ranged) -> None:
        super().__init__(raw, _BUFFER)
        self._ranged = raw

    @property
    def hash_name(self) -> HashName:
        """The name of the hash."""
        return self._ranged.hash_name

    def hash_with(self, name: HashName) -> None:
        """Choose another hash."""
        self._ranged.hash_with(name)

    def hexdigest(self) -> str:
        """Return the hash of the whole object."""
        return self._ranged.hexdigest()

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin to fetch announced ranges."""
        self._ranged.expect(ranges)
