"""Streams between formats and stores, and their abilities besides reading and writing: hashing, and fetching ahead."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

HashName = Literal["sha256", "xxh3"]


class WriteOnly(io.RawIOBase):
    """A raw stream that takes bytes."""

    def writable(self) -> bool:
        """Return true."""
        return True


@runtime_checkable
class HashedStream(Protocol):
    """A stream that hashes an object while a reader reads in order; by default with XXH3, 128 bits."""

    @property
    def hash_name(self) -> HashName:
        """The name of the hash."""
        ...

    def hash_with(self, name: HashName) -> None:
        """Choose another hash, before the first read."""
        ...

    def hexdigest(self) -> str:
        """Return the hash of the whole object, in hex. The stream reads the bytes that nobody has read in order so far.

        The position stays the same.

        Raises:
            ObjectChangedError: as for reading.
        """
        ...


@runtime_checkable
class ExpectsRanges(Protocol):
    """A stream over a network, of one version of an object, to which a reader can announce its reads."""

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin to fetch the ranges of coming reads, several at once, and nothing else.

        Args:
            ranges: begin and end of each range, in bytes; ordered, and without overlap.
        """
        ...
