"""What a bucket store needs of a service that keeps objects in buckets.

Each method makes one request, as a rule, and raises one of the faults of :mod:`~airflow_kart.storage.buckets.faults` when that
fails: who calls it decides whether to try again, and tells the user.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from airflow_kart.storage.base import ANY, Expected, ObjectStat, Removable
from airflow_kart.storage.buckets.body import Body
from airflow_kart.storage.buckets.faults import ExpiredFault

__all__ = ["BucketKey", "Head", "ListedObject", "Page", "Service", "Unfinished", "bucket_key_of"]


@dataclass(frozen=True)
class Head:
    """What a service knows of an object."""

    stat: ObjectStat
    token: str
    """The token of the upload that made it, empty where none of ours did."""


@dataclass(frozen=True)
class ListedObject:
    """An entry of a listing."""

    key: str
    stat: ObjectStat


@dataclass(frozen=True)
class Unfinished:
    """An upload that was begun and neither completed nor given up."""

    key: str
    """The key the object would have."""
    upload: str
    begun: dt.datetime
    """With a time zone."""


@dataclass(frozen=True)
class Page:
    """A part of a listing."""

    entries: Sequence[Any]
    next: Any
    """What to ask for the next page with, or ``None`` after the last one."""


class BucketKey(NamedTuple):
    """What a uri names in a service."""

    bucket: str
    key: str
    """The object's, or what the keys of objects begin with. No character is special."""


class Service(Protocol):
    """A service that keeps objects in buckets.

    A large object is sent in parts. They belong to an upload, are seen by nobody, and become an object in one request.
    """

    metadata_limit: int
    """How many bytes of metadata an object may have."""

    @property
    def who(self) -> str:
        """With what it is spoken to, for messages: the connection, and where that says so the endpoint."""
        ...

    def renew(self, fault: ExpiredFault) -> None:
        """Get new credentials in place of those that have expired."""
        ...

    def head(self, place: BucketKey) -> Head:
        """Look an object up."""
        ...

    def get(self, place: BucketKey, start: int = 0, stop: int | None = None, version: str | None = None) -> Body:
        """Ask for the bytes of an object, from ``start`` up to ``stop``, or for all of them.

        Raises:
            ConflictFault: it is not of the version that is asked for.
        """
        ...

    def put(self, place: BucketKey, data: bytes, expected: Expected, metadata: dict[str, str]) -> str:
        """Make an object; return its version.

        Raises:
            ConflictFault, MissingFault: what is there is not what is expected.
        """
        ...

    def begin(self, place: BucketKey, metadata: dict[str, str]) -> str:
        """Begin to send parts; return the id of the upload."""
        ...

    def put_part(self, place: BucketKey, upload: str, number: int, data: bytes) -> Any:
        """Send a part, counted from 1; return what the service knows the part by."""
        ...

    def arrange(self, place: BucketKey, upload: str, parts: Sequence[Any]) -> Sequence[Any]:
        """Do beforehand what completing would need besides its one request, after the last part; return the parts now."""
        ...

    def complete(
        self, place: BucketKey, upload: str, parts: Sequence[Any], expected: Expected, metadata: dict[str, str]
    ) -> str:
        """Make an object of parts; return its version.

        Raises:
            ConflictFault, MissingFault: what is there is not what is expected.
            LostUploadFault: there is no such upload (any more).
        """
        ...

    def clear(self, place: BucketKey, upload: str) -> None:
        """Remove what completing has left of the parts."""
        ...

    def abandon(self, place: BucketKey, upload: str) -> None:
        """Remove the parts of an upload that is given up; none being left is no fault."""
        ...

    def remove(self, place: BucketKey, expected: Removable = ANY) -> None:
        """Remove an object; there being none is no fault.

        Raises:
            ConflictFault: what is there is not what is expected.
        """
        ...

    def list(self, place: BucketKey, page: Any, *, deep: bool = True) -> Page:
        """Return one page of the objects whose keys begin so, in the order of their keys, as :class:`ListedObject`.

        With ``deep=False`` only those with no further slash in their keys.
        """
        ...

    def list_unfinished(self, place: BucketKey, page: Any) -> Page:
        """Return one page of the uploads that were begun for keys that begin so, as :class:`Unfinished`."""
        ...


def bucket_key_of(uri: str) -> BucketKey:
    """Return what a uri names. What stands before an ``@`` is a connection's id, for those who choose the store."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return BucketKey(bucket.rpartition("@")[2], key)
