"""The service behind a bucket store.

Each method makes one request, as a rule, and raises one of the faults of :mod:`~airflow_kart.storage.buckets.faults` when the
request fails. The caller decides about another try, and tells the user.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from airflow_kart.storage.base import ANY, Expected, ObjectContent, ObjectStat, Removable
from airflow_kart.storage.buckets.body import Body
from airflow_kart.storage.buckets.faults import ExpiredFault


@dataclass(frozen=True)
class Head:
    """The facts of an object in a service."""

    stat: ObjectStat
    token: str
    """The token of the upload that made the object; empty for objects that others made."""


@dataclass(frozen=True)
class ListedObject:
    """An entry of a listing."""

    key: str
    stat: ObjectStat


@dataclass(frozen=True)
class Unfinished:
    """An upload that is neither completed nor aborted."""

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
    """The argument for the next page, ``None`` after the last one."""


class BucketKey(NamedTuple):
    """A bucket, and a key or a prefix in the bucket."""

    bucket: str
    key: str
    """The key of an object, or the common beginning of keys. No character is special."""


class Piece(NamedTuple):
    """Some bytes of one version of an object."""

    place: BucketKey
    version: str
    span: range


class Service(Protocol):
    """A service that keeps objects in buckets.

    A large object travels in parts. The parts of an upload are invisible, and become an object in one request.
    """

    metadata_limit: int
    """Bytes of metadata that an object may have."""
    copied_at_once: int
    """Bytes that :meth:`copy_part` copies at most."""

    @property
    def who(self) -> str:
        """The connection and the endpoint, for messages; without secrets."""
        ...

    def renew(self, fault: ExpiredFault) -> None:
        """Get new credentials in place of the expired ones."""
        ...

    def head(self, place: BucketKey) -> Head:
        """Look an object up."""
        ...

    def get(self, place: BucketKey, start: int = 0, stop: int | None = None, version: str | None = None) -> Body:
        """Ask for the bytes of an object, from ``start`` up to ``stop``, or for all of them.

        Raises:
            ConflictFault: the object is of another version.
        """
        ...

    def read_quickly(self, place: BucketKey) -> ObjectContent | None:
        """Return the bytes of a small object where that costs less than :meth:`get`; ``None`` where :meth:`get` has to ask.

        Raises:
            MissingFault: there is no object.
        """
        ...

    def put(self, place: BucketKey, data: bytes, expected: Expected, metadata: dict[str, str]) -> str:
        """Make an object; return its version.

        Raises:
            ConflictFault, MissingFault: another object is there, or none, against the expectation.
        """
        ...

    def begin(self, place: BucketKey, metadata: dict[str, str]) -> str:
        """Begin to send parts; return the id of the upload."""
        ...

    def put_part(self, place: BucketKey, upload: str, number: int, data: bytes) -> Any:
        """Send a part, counted from 1; return its name in the service."""
        ...

    def copy_part(self, place: BucketKey, upload: str, number: int, source: Piece) -> Any:
        """Let the service copy a part from another object; return the part's name in the service.

        Raises:
            ConflictFault: the other object is of another version.
        """
        ...

    def arrange(self, place: BucketKey, upload: str, parts: Sequence[Any]) -> Sequence[Any]:
        """Prepare the parts, after the last one, so that completing takes one request; return the parts to complete."""
        ...

    def complete(
        self, place: BucketKey, upload: str, parts: Sequence[Any], expected: Expected, metadata: dict[str, str]
    ) -> str:
        """Make an object of parts; return its version.

        Raises:
            ConflictFault, MissingFault: another object is there, or none, against the expectation.
            LostUploadFault: the service does not have this upload (any more).
        """
        ...

    def clear(self, place: BucketKey, upload: str) -> None:
        """Remove the parts that completing has left."""
        ...

    def abandon(self, place: BucketKey, upload: str) -> None:
        """Remove the parts of an aborted upload; the absence of parts is no fault."""
        ...

    def remove(self, place: BucketKey, expected: Removable = ANY) -> None:
        """Remove an object; its absence is no fault.

        Raises:
            ConflictFault: the object is of another version.
        """
        ...

    def list(self, place: BucketKey, page: Any, *, deep: bool = True, after: str = "") -> Page:
        """Return one page of the objects with a common beginning of keys, ordered by key, as :class:`ListedObject`.

        ``deep=False`` leaves out the objects with a further slash in their keys, ``after`` those with keys before this one.
        """
        ...

    def list_unfinished(self, place: BucketKey, page: Any) -> Page:
        """Return one page of the unfinished uploads with a common beginning of keys, as :class:`Unfinished`."""
        ...


def bucket_key_of(uri: str) -> BucketKey:
    """Return bucket and key of a uri. The part before an ``@`` is a connection's id, which chooses the store."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return BucketKey(bucket.rpartition("@")[2], key)
