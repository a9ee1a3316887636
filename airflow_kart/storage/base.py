"""What a store promises.

Objects are named by uri. An object appears whole or not at all: bytes go into an :class:`Upload`, which nobody sees
until it is published. Each published object has a version, by which a writer can ask that nobody else was there in
between. A store raises :class:`~airflow_kart.exceptions.StorageError` with the uri and what to do, and nothing else of
its backend's errors.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, Protocol, runtime_checkable

__all__ = [
    "ANY",
    "HIDDEN",
    "LOCKS",
    "UPLOADS",
    "Expected",
    "KeepsFiles",
    "KeepsUploads",
    "ListsInBulk",
    "Lookup",
    "ObjectContent",
    "ObjectStat",
    "Removable",
    "Store",
    "UnfinishedUpload",
    "Upload",
]

UPLOADS = ".kart-uploads"
"""Folder for what is not published yet, beside what is; no listing shows it."""
LOCKS = ".kart-locks"
"""Folder for locks, in a workspace's directory; no listing shows it."""
HIDDEN = (UPLOADS, LOCKS)
"""The folders that no listing shows."""


class _Anything(enum.Enum):
    ANY = enum.auto()


ANY: Final = _Anything.ANY
"""Whatever is there, or nothing."""

Expected = str | None | Literal[_Anything.ANY]
"""What a writer expects to replace: the object of a version, nothing (``None``), or whatever there is."""

Removable = str | Literal[_Anything.ANY]
"""What may be removed: the object of a version, or whatever there is."""


@dataclass(frozen=True)
class ObjectStat:
    """What a store knows of an object without reading it."""

    size: int
    """Length in bytes."""
    modified: dt.datetime
    """When it was published, with a time zone."""
    version: str
    """What tells it from whatever was or will be published under the same uri.

    In S3 it is the entity tag, which objects of equal bytes may share.
    """


@dataclass(frozen=True)
class ObjectContent:
    """A small object that was read as a whole."""

    data: bytes
    version: str
    """As in :class:`ObjectStat`."""


class Upload(Protocol):
    """Bytes on their way into a store, unseen by readers."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes; return how many were taken, which is all of them."""
        ...

    def restart(self) -> None:
        """Forget what was written, to write something else."""
        ...

    def finish(self) -> None:
        """Say that all bytes are written. After this, publishing neither writes nor computes."""
        ...

    def publish(self, expected: Expected = ANY) -> str:
        """Make the object visible under its uri, in one step, in place of what was there; return its version.

        Args:
            expected: what it may replace. Of several writers that expect the same, one publishes.

        Raises:
            ConflictError: something else is there; nothing was published, and the upload may be published again.
        """
        ...

    def discard(self) -> None:
        """Give the upload up and leave nothing behind. Harmless after :meth:`publish`."""
        ...


class Lookup(Protocol):
    """A way to look at objects without changing them."""

    def stat(self, uri: str) -> ObjectStat | None:
        """Return what is known of an object, or ``None`` where there is none."""
        ...

    def read(self, uri: str) -> ObjectContent | None:
        """Read a small object as a whole, or return ``None`` where there is none."""
        ...


class Store(Lookup, Protocol):
    """A place that keeps objects by uri. Threads share a store; equal uris have the same one in a process.

    Four attributes say what the place can do. Whoever uses a store asks these, never of which class the store is.
    """

    @property
    def conditional(self) -> bool:
        """Whether publishing and removing what is expected is one step, of which no other writer sees a half.

        Only such a store can keep leases (:mod:`airflow_kart.locks`).
        """
        ...

    @property
    def turns_exclude(self) -> bool:
        """Whether :meth:`publishing` keeps all other writers out, so that what is half published is a dead one's."""
        ...

    @property
    def steady_reads(self) -> bool:
        """Whether all bytes of an open stream are of one version of the object, or reading fails.

        Where this is false, an artifact is read from its beginning to its end and compared with its checksum, never in part.
        """
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes see what is published here."""
        ...

    def open(self, uri: str) -> BinaryIO:
        """Open an object for reading; the stream can seek, and may be a :class:`HashedStream`.

        Raises:
            FileNotFoundError: there is none.
            ObjectChangedError: by the stream, when it reads: the object was replaced or removed since it was opened, and
                the store no longer has it as it was.
        """
        ...

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> Upload:
        """Begin to write an object.

        Args:
            uri: where it goes.
            metadata: what the object says about itself, in stores whose objects can; cut to what the store takes.
        """
        ...

    def publishing(self, uris: Iterable[str]) -> AbstractContextManager[object]:
        """Return a turn at publishing objects.

        In a directory and in memory no two writers of the same uris have one at the same time. Buckets have no turns
        (``turns_exclude`` is false): there the writer's expectation (:meth:`Upload.publish`) alone decides who publishes.
        """
        ...

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        """Remove an object; return whether there was one.

        Args:
            uri: where it is.
            expected: what may be removed.

        Raises:
            ConflictError: something else is there; it was left in place.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Return the uris below a prefix that ends with ``/``, in no order."""
        ...

    def check_writable(self, uri: str) -> None:
        """Try to write below a uri and remove it again.

        Raises:
            StorageError: it cannot be written to.
        """
        ...


@runtime_checkable
class ListsInBulk(Protocol):
    """A store in which listing a folder takes fewer requests than looking up the many objects in it."""

    def stat_by_listing(self, uris: Iterable[str]) -> dict[str, ObjectStat | None]:
        """Return what listings tell of objects, ``None`` for those that are not there.

        Objects of which listing would take more requests than looking them up are left out.
        """
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A store whose objects are files of this machine, so that the kernel can lock files beside them."""

    def path(self, uri: str) -> str:
        """Return the path of an object or a folder: absolute, and one for all ways to write the uri."""
        ...


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was begun and neither published nor discarded: its process died, or is still writing."""

    uri: str
    """The uri the object would have."""
    upload: str
    """What the service calls it."""
    begun: dt.datetime
    """With a time zone."""


@runtime_checkable
class KeepsUploads(Protocol):
    """A store in which the upload of a process that died stays, and costs, until somebody removes it."""

    def abandoned_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Return the uploads below a prefix that are neither published nor discarded; living processes have some too."""
        ...

    def abort_abandoned(self, prefix: str, older_than: dt.timedelta) -> int:
        """Remove the uploads below a prefix that were begun longer ago than that; return how many they were."""
        ...
