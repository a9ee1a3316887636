"""Leases: locks as objects of a store, which their holders renew.

A run acquires a lock by creating its object, and renews the lock by replacing its own version of the object. The store's
conditional publication lets one of several runs succeed. A waiting run sees the version change. Where the version stays
the same for the time to live, by the clock of the waiting run, the waiting run takes the holder for dead and replaces its
version. No run compares clocks of machines.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import logging
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from airflow_kart.exceptions import ConflictError, LockError, LockLostError, StorageError
from airflow_kart.locks.base import Holder, Lease, Locks, Taken, checked_name, fields_of
from airflow_kart.storage import LOCKS, Expected, Store

LONGEST_LIFE = 3600
"""Seconds: a longer time to live, or none above zero, is not believed; the reader's own counts in its place."""

_TRIES = 5
_FORGOTTEN = dt.timedelta(seconds=2 * LONGEST_LIFE)
_MOST_LOOKED_AT = 100

log = logging.getLogger(__name__)


class LeaseLocks:
    """Locks as objects below ``.kart-locks`` of a directory, in any store that publishes conditionally.

    Args:
        store: keeps the directory.
        directory: a path or uri.
        time_to_live: seconds without a renewal after which another run may take a lock over.
    """

    kind = "lease"

    def __init__(self, store: Store, directory: str, time_to_live: float) -> None:
        self.store = store
        self.time_to_live = time_to_live
        self._directory = directory

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:
        """Acquire a lock that is free, or that a dead holder has left."""
        uri = self._uri(name)
        lease = _StoreLease(self, uri, holder)
        with _refusals("take", uri):
            found = self.read(uri) if dead is not None else None
            for _ in range(_TRIES):
                if found is not None and found.lease == lease.id:
                    lease.version = found.version  # the answer to the request that took it was lost
                    return lease
                if found is not None and not found.released and (dead is None or found.version != dead.version):
                    return found.taken
                try:
                    lease.publish(found)
                    return lease
                except ConflictError:
                    found = self.read(uri)
        return Taken(None, time_to_live=self.time_to_live)  # others were quicker each time, and are done already

    def look(self, name: str) -> Taken | None:
        """Return the holder of a lock."""
        uri = self._uri(name)
        with _refusals("look up", uri):
            found = self.read(uri)
        return None if found is None or found.released else found.taken

    def read(self, uri: str) -> _Seen | None:
        """Return the content of a lock's object, ``None`` where there is no object."""
        found = self.store.read(uri)
        return None if found is None else _Seen.of(found.data, found.version, self.time_to_live)

    @property
    def folder(self) -> str:
        """The uri of the folder that keeps the locks."""
        return f"{self._directory.rstrip('/')}/{LOCKS}/"

    def _uri(self, name: str) -> str:
        return f"{self.folder}{checked_name(name)}.json"


class _Seen(NamedTuple):
    """The content of a lock's object."""

    version: str
    holder: Holder | None
    time_to_live: float
    """The holder's own."""
    lease: str = ""
    """Different for each lease, also of one holder."""
    token: int = 0
    """The number of leases so far, this one included, of which each took over the one before."""
    released: bool = False
    """Whether the holder has released the lock in place of removing the object."""
    renewed: float | None = None
    """By the clock of the holder's host."""

    @classmethod
    def of(cls, data: bytes, version: str, time_to_live: float) -> _Seen:
        """Read bytes. Bytes that are no lock count as the lock of an unknown holder."""
        said = fields_of(data)
        stays, token, lease = said.get("time_to_live"), said.get("token"), said.get("lease")
        if not isinstance(stays, (int, float)) or not isinstance(token, int) or not isinstance(lease, str):
            return cls(version, None, time_to_live)
        believed = float(stays) if 0 < stays <= LONGEST_LIFE else time_to_live
        renewed = said.get("renewed")
        by_holder = float(renewed) if isinstance(renewed, (int, float)) else None
        return cls(version, Holder.from_json(data), believed, lease, token, said.get("released") is True, by_holder)

    @property
    def taken(self) -> Taken:
        return Taken(self.holder, self.version, self.time_to_live, self.renewed)


class _StoreLease:
    """The object of a lock that this run holds."""

    def __init__(self, locks: LeaseLocks, uri: str, holder: Holder) -> None:
        self.holder = holder
        self.time_to_live = locks.time_to_live
        self.id = uuid.uuid4().hex
        self.version: str | None = None
        self._locks = locks
        self._uri = uri
        self._token = 1
        self._count = 0

    def publish(self, before: _Seen | None) -> None:
        """Put the object in place of the one that was seen, or create it.

        Raises:
            ConflictError: the object has changed since, or appeared.
        """
        self._token = before.token + 1 if before is not None else 1
        self._put(before.version if before is not None else None)

    def renew(self) -> None:
        """Replace the object by the same with the next count."""
        with _refusals("renew", self._uri):
            for _ in range(_TRIES):
                try:
                    self._put(self.version)
                    return
                except ConflictError:
                    found = self._locks.read(self._uri)
                if found is None:
                    self.version = None  # somebody has removed it, such as a rule of the bucket
                elif found.lease == self.id:
                    self.version = found.version  # the answer to a request of ours was lost
                else:
                    raise LockLostError(
                        f"the lock {self._uri} was taken over by {found.holder or 'another run'}",
                        task=self.holder.task,
                        uri=self._uri,
                    )
        raise LockError(f"could not renew the lock {self._uri}: it changed at every try; try again", uri=self._uri)

    def release(self) -> None:
        """Remove this run's object; where the store refuses, mark the object as released."""
        with _refusals("release", self._uri):
            for _ in range(_TRIES):
                if self.version is None:
                    return
                try:
                    self._locks.store.remove(self._uri, self.version)
                    return
                except ConflictError:
                    found = self._locks.read(self._uri)
                    self.version = found.version if found is not None and found.lease == self.id else None
                except StorageError as refusal:
                    try:
                        self._put(self.version, released=True)
                        return
                    except StorageError:
                        raise refusal from None

    def _put(self, expected: Expected, *, released: bool = False) -> None:
        # The count makes the bytes others each time, and with them S3's entity tag.
        self._count += 1
        said = self.holder.to_json(
            lease=self.id,
            token=self._token,
            count=self._count,
            time_to_live=self.time_to_live,
            released=released,
            renewed=round(time.time(), 3),
        )
        upload = self._locks.store.upload(self._uri)
        try:
            upload.write(said.encode())
            self.version = upload.publish(expected)
        finally:
            upload.discard()


def remove_forgotten(locks: Locks) -> int:
    """Remove the objects of runs that died two hours ago and more, and that nobody has asked for since; return their number.

    Only leases need this: the system or a server removes other locks. The holder of a lease renews it four times an hour at
    least. A holder on a host whose clock is hours wrong makes its object anew with the next renewal.
    """
    removed = 0
    if isinstance(locks, LeaseLocks):
        try:
            for uri in itertools.islice(locks.store.list(locks.folder), _MOST_LOOKED_AT):
                stat = locks.store.stat(uri) if uri.endswith(".json") else None
                if stat is not None and dt.datetime.now(dt.timezone.utc) - stat.modified > _FORGOTTEN:
                    with contextlib.suppress(ConflictError):
                        removed += locks.store.remove(uri, stat.version)
        except StorageError as error:  # such as a user who may not list: the locks work all the same
            log.info("Could not look for locks of dead runs in %s: %s", locks.folder, error)
    return removed


@contextlib.contextmanager
def _refusals(action: str, uri: str) -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise LockError(f"could not {action} the lock {uri}: {error}", uri=uri) from error
