"""What a stream over the bytes of an object may offer besides reading: hashing, and fetching ahead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

__all__ = ["ExpectsRanges", "HashName", "HashedStream"]

HashName = Literal["sha256", "xxh3"]


@runtime_checkable
class HashedStream(Protocol):
    """A stream that hashes the object it reads while it reads it, as far as that goes in order: with XXH3, 128 bits."""

    @property
    def hash_name(self) -> HashName:
        """What it hashes with."""
        ...

    def hash_with(self, name: HashName) -> None:
        """Hash with something else, from the beginning: to be said before anything is read."""
        ...

    def hexdigest(self) -> str:
        """Return the hash of the whole object, in hex; what was not read yet, or not in order, is read for it.

        The position stays where it is.

        Raises:
            ObjectChangedError: as for reading.
        """
        ...


@runtime_checkable
class ExpectsRanges(Protocol):
    """A stream over a network, of one version of an object, that can be told what will be read of it."""

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Begin to fetch what will be read, several ranges at once, and nothing beyond them.

        Args:
            ranges: begin and end of each, in bytes, in order and apart from each other.
        """
        ...
