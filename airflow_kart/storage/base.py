"""The promises of a store.

A uri names an object. An object appears whole or not at all: a writer fills an :class:`Upload`, which stays invisible until
the writer publishes it. Each published object has a version. A writer that names the version it expects to replace finds
out about other writers. A store raises :class:`~airflow_kart.exceptions.StorageError` with the uri and the remedy in place
of its backend's errors.
"""

from __future__ import annotations

import datetime as dt
import enum
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, Literal, NamedTuple, Protocol, runtime_checkable

from typing_extensions import TypeIs

UPLOADS = ".kart-uploads"
"""Folder for unpublished bytes, beside the published ones; no listing shows this folder."""
LOCKS = ".kart-locks"
"""Folder for locks, in a workspace's directory; no listing shows this folder."""
INDEX = ".kart-index"
"""The folder of a workspace that names artifacts by what they were made from."""
CATALOGUE = ".kart-catalogue"
"""The folder of a workspace that remembers what its sidecars say."""
RUNS = ".kart-runs"
"""The folder of a workspace that remembers what each run computed and reused."""
PINS = ".kart-pins"
"""The folder of a workspace that names the tasks whose artifacts no garbage collection removes."""
HIDDEN = (UPLOADS, LOCKS, INDEX, CATALOGUE, RUNS, PINS)
"""The folders that no listing shows."""
LARGEST_READ = 256 << 20
"""Bytes that :meth:`Lookup.read` reads at most: sidecars, locks and packs are far smaller, so a larger object is none."""


class _Anything(enum.Enum):
    ANY = enum.auto()


ANY: Final = _Anything.ANY
"""Any object, or none."""

Expected = str | None | Literal[_Anything.ANY]
"""The object that a writer expects to replace: the one of a version, none (``None``), or any."""

Removable = str | Literal[_Anything.ANY]
"""The object that may be removed: the one of a version, or any."""


class ObjectStat(NamedTuple):
    """The facts of an object that a store knows without reading."""

    size: int
    """Length in bytes."""
    modified: dt.datetime
    """Time of publication, with a time zone."""
    version: str
    """Different for each object that was or will be published under the same uri.

    The version in S3 is the entity tag; objects of equal bytes may share a tag.
    """


class ObjectContent(NamedTuple):
    """A small object, read as a whole."""

    data: bytes
    version: str
    """As in :class:`ObjectStat`."""


class Upload(Protocol):
    """Bytes on their way into a store, invisible to readers."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes; return their number, as all of them fit."""
        ...

    def restart(self) -> None:
        """Drop all bytes, to write others."""
        ...

    def finish(self) -> None:
        """End the writing. After this call, publishing neither writes nor computes."""
        ...

    def publish(self, expected: Expected = ANY) -> str:
        """Make the object visible under its uri, in one step, in place of its predecessor; return its version.

        Args:
            expected: the predecessor. Of several writers that expect the same one, one publishes.

        Raises:
            ConflictError: another object is there. The upload stays as it was, and may be published again.
        """
        ...

    def discard(self) -> None:
        """Abort the upload and leave nothing behind. Harmless after :meth:`publish`."""
        ...


class Lookup(Protocol):
    """A way to look at objects without changing them."""

    def stat(self, uri: str) -> ObjectStat | None:
        """Return the facts of an object, ``None`` where there is no object."""
        ...

    def read(self, uri: str) -> ObjectContent | None:
        """Read a small object as a whole; return ``None`` where there is no object.

        Raises:
            StorageError: the store refuses, or the object has more than :data:`LARGEST_READ` bytes.
        """
        ...


class Store(Lookup, Protocol):
    """A place that keeps objects by uri. Threads share a store.

    Four attributes describe the abilities of the place. Callers ask these attributes, never for the class of a store.
    """

    @property
    def conditional(self) -> bool:
        """Whether publishing and removing compare the expected version and act in one step, for writers in all processes.

        Leases (:mod:`airflow_kart.locks`) need a conditional store.
        """
        ...

    @property
    def turns_exclude(self) -> bool:
        """Whether :meth:`publishing` excludes all other writers, so that a half published artifact is a dead writer's."""
        ...

    @property
    def steady_reads(self) -> bool:
        """Whether all bytes of an open stream are of one version of the object, or reading fails.

        From a store without steady reads, readers load whole artifacts and compare the checksum, never parts.
        """
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes see the objects."""
        ...

    def open(self, uri: str) -> BinaryIO:
        """Open an object for reading; the stream can seek, and may be a :class:`~airflow_kart.streams.HashedStream`.

        Raises:
            FileNotFoundError: there is no object.
            ObjectChangedError: a read of the stream failed, as another writer replaced or removed the object after the
                opening, and the store has lost the old version.
        """
        ...

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> Upload:
        """Begin to write an object.

        Args:
            uri: of the object.
            metadata: object metadata. The store cuts them to its limit; stores without metadata ignore them.
        """
        ...

    def publishing(self, uris: Iterable[str]) -> AbstractContextManager[object]:
        """Return a turn at publishing objects, as a context manager.

        In a directory and in memory two writers of the same uris never have their turns at the same time. Buckets have no
        turns (``turns_exclude`` is false): there the expected version (:meth:`Upload.publish`) alone picks the winner.

        Raises:
            StorageError: the turn was not to be had, as the store refuses, or another writer does not end its turn.
        """
        ...

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        """Remove an object; return whether there was one.

        Args:
            uri: of the object.
            expected: the object that may be removed.

        Raises:
            ConflictError: another object is there; the store has left that object in place.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Return the uris below a prefix that ends with ``/``, in no order; those in hidden folders only where the prefix ends with one."""
        ...

    def check_writable(self, uri: str) -> None:
        """Write a probe below a uri, and remove the probe.

        Raises:
            StorageError: the store refuses.
        """
        ...


@runtime_checkable
class ListsInBulk(Protocol):
    """A store in which listing a folder takes fewer requests than looking up many objects in the folder."""

    def stat_by_listing(self, uris: Iterable[str]) -> dict[str, ObjectStat | None]:
        """Return the facts of objects from listings, ``None`` for missing objects.

        The result lacks the objects for which a listing would take more requests than lookups.
        """
        ...

    def listed(self, prefix: str) -> Iterator[tuple[str, ObjectStat]]:
        """Return uris and facts of the objects that :meth:`Store.list` names."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A store whose objects are files of this machine, so that the kernel can lock files beside them."""

    def path(self, uri: str) -> str:
        """Return the path of an object or a folder: absolute, and one for all ways to write the uri."""
        ...

    def version_of(self, found: os.stat_result) -> str:
        """Return the version of an object from the facts of its file."""
        ...


_WITH_FILES: dict[type, bool] = {}


def keeps_files(store: object) -> TypeIs[KeepsFiles]:
    """Whether a store keeps files: ``isinstance(store, KeepsFiles)``, which takes long for a protocol, asked once per class."""
    cls = type(store)
    if cls not in _WITH_FILES:
        _WITH_FILES[cls] = isinstance(store, KeepsFiles)
    return _WITH_FILES[cls]


@runtime_checkable
class CopiesFast(Protocol):
    """A store that copies an object without reading the bytes."""

    def copied(self, source: str, uri: str, *, metadata: Mapping[str, str] | None = None) -> Upload | None:
        """Return a finished upload with the bytes of one version of another object; ``None`` where only reading helps.

        Args:
            source: the other object; the store keeps both.
            uri: of the object to be.
            metadata: as for :meth:`Store.upload`, in place of the source's.

        Raises:
            FileNotFoundError: there is no such object.
        """
        ...


class UnfinishedUpload(NamedTuple):
    """An upload that is neither published nor discarded: its process died, or still writes."""

    uri: str
    """The uri of the object to be."""
    upload: str
    """The name of the upload in the service."""
    begun: dt.datetime
    """With a time zone."""


@runtime_checkable
class KeepsUploads(Protocol):
    """A store in which the upload of a dead process stays, and costs, until somebody removes the upload."""

    def abandoned_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Return the unfinished uploads below a prefix, also those of living processes."""
        ...

    def abort_abandoned(self, prefix: str, older_than: dt.timedelta) -> int:
        """Abort the unfinished uploads below a prefix that are older; return their number."""
        ...
