"""Objects in buckets: the common part of the stores of S3 and of Google Cloud Storage.

The store repeats each request after transient faults. A refusal becomes a
:class:`~airflow_kart.exceptions.StorageError` that names the uri, the reason and the connection. Buckets have no locks:
of several writers, the expected version picks the winner.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import math
import posixpath
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO, NamedTuple, TypeVar

from airflow_kart import settings
from airflow_kart.exceptions import ConflictError, ObjectChangedError, StorageError
from airflow_kart.storage.base import (
    ANY,
    HIDDEN,
    LARGEST_READ,
    UPLOADS,
    ObjectContent,
    ObjectStat,
    Removable,
    UnfinishedUpload,
)
from airflow_kart.storage.buckets.body import Body, fill
from airflow_kart.storage.buckets.faults import ConflictFault, Fault, MissingFault, RefusedFault, Retries, TransientFault
from airflow_kart.storage.buckets.parts import PART
from airflow_kart.storage.buckets.ranged import BLOCK, Ranged, RangedStream
from airflow_kart.storage.buckets.service import BucketKey, Page, Service, bucket_key_of
from airflow_kart.storage.buckets.upload import ObjectUpload
from airflow_kart.storage.threads import Threads

_T = TypeVar("_T")
_HIDDEN = frozenset(HIDDEN)
_LOOKS_PER_PAGE = 20
_PAGES_AT_ONCE = 24  # after each page: the first one may be unlike the others

log = logging.getLogger(__name__)


class BucketStore:
    """Objects by uri, ``scheme://bucket/key``. Threads may share the store, and processes may inherit the store.

    Args:
        service: keeps the buckets.
        retries: how often to repeat a request; by default as ``[kart] storage_retries`` says.
    """

    conditional = True
    turns_exclude = False
    steady_reads = True
    shared = True

    def __init__(self, service: Service, retries: Retries | None = None) -> None:
        self.service = service
        self._retries = retries or Retries()

    def stat(self, uri: str) -> ObjectStat | None:
        """Return an object's size, time and version, or ``None``."""
        try:
            return self.call("look up", uri, lambda: self.service.head(bucket_key_of(uri)), (MissingFault,)).stat
        except MissingFault:
            return None

    def stat_by_listing(self, uris: Iterable[str]) -> dict[str, ObjectStat | None]:
        """Return the facts of objects from listings, for folders in which a listing takes fewer requests than lookups.

        A page tells how many of the uris a page names hereabouts; then several of the next pages are asked for at once.
        """
        folders: dict[str, list[str]] = {}
        for uri in dict.fromkeys(uris):
            folders.setdefault(uri.rpartition("/")[0] + "/", []).append(uri)
        stretches = [_Stretch(folder, sorted(inside)) for folder, inside in folders.items() if len(inside) > _LOOKS_PER_PAGE]
        found: dict[str, ObjectStat | None] = {}
        with Threads(settings.check_threads(), "kart-check") as pool:
            while stretches:
                pages, left = pool.each(self._stat_by_page, stretches), list[_Stretch]()
                for stretch, known in zip(stretches, pages, strict=True):
                    found.update(known)
                    if len(known) >= _LOOKS_PER_PAGE:  # else lookups of the others are cheaper
                        left += stretch.rest(len(known))
                stretches = left
        return found

    def open(self, uri: str) -> BinaryIO:
        """Open an object for reading: a :class:`~airflow_kart.storage.base.HashedStream` over blocks of one version."""
        try:
            body = self.call("read", uri, lambda: self.service.get(bucket_key_of(uri), 0, BLOCK), (MissingFault,))
        except MissingFault as fault:
            raise FileNotFoundError(uri) from fault
        source = _Source(self, uri, body)
        return RangedStream(Ranged(body.size, source.fetch, at_hand=True, end=source.end))

    def read(self, uri: str) -> ObjectContent | None:
        """Return an object's bytes and version, in one request, or ``None``."""

        def request() -> ObjectContent:
            with contextlib.closing(self.service.get(bucket_key_of(uri))) as body:
                if body.size > LARGEST_READ:
                    raise RefusedFault(f"{body.size} bytes are too many for a small object")
                data = bytearray(body.size)
                for _ in fill(memoryview(data), body):
                    pass
            return ObjectContent(bytes(data), body.version)

        try:
            if (found := self.service.read_quickly(bucket_key_of(uri))) is not None:
                return found
            return self.call("read", uri, request, (MissingFault,))
        except MissingFault:
            return None

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> ObjectUpload:
        """Begin to write an object."""
        return ObjectUpload(self, uri, metadata or {})

    def copied(self, source: str, uri: str, *, metadata: Mapping[str, str] | None = None) -> ObjectUpload | None:
        """Return an upload with the bytes of another object, copied inside the service.

        ``None`` for an object of one part, as fewer requests read and put such an object, and where the service refuses.
        """
        found = self.stat(source)
        if found is None:
            raise FileNotFoundError(source)
        if found.size <= PART:
            return None
        upload = self.upload(uri, metadata=metadata)
        try:
            upload.copy(bucket_key_of(source), found)
        except BaseException as error:
            upload.discard()
            if not isinstance(error, StorageError):
                raise
            log.info("the bytes of %s are read instead: %s", source, error)
            return None
        return upload

    def publishing(self, uris: Iterable[str]) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 - the protocol's
        """Return at once: buckets have no turns."""
        return contextlib.nullcontext()

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        """Remove an object."""
        found = self.stat(uri)  # asked first, as a request that is made twice finds nothing the second time
        if found is None:
            return False
        try:
            # Some services that speak S3's protocol remove whatever there is, so what was found is compared too.
            if expected is not ANY and found.version != expected:
                raise ConflictFault
            self.call("remove", uri, lambda: self.service.remove(bucket_key_of(uri), expected), (ConflictFault,))
        except ConflictFault as fault:
            raise ConflictError(f"could not remove {uri}: another writer has replaced it", uri=uri) from fault
        return True

    def check_writable(self, uri: str) -> None:
        """Put a hidden probe below a uri, and remove the probe."""
        probe = posixpath.join(uri, UPLOADS, f"probe-{uuid.uuid4().hex}")
        upload = self.upload(probe)
        upload.write(b"probe")
        upload.publish(None)
        self.remove(probe)

    def abandoned_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Return the unfinished uploads of large objects below a prefix.

        Their parts cost storage. The upload of a living process looks the same as the one of a dead process.
        """
        base, place = _base_and_key(prefix)
        for entry in self._entries("list", prefix, partial(self.service.list_unfinished, place)):
            yield UnfinishedUpload(base + entry.key, entry.upload, entry.begun)

    def abort_abandoned(self, prefix: str, older_than: dt.timedelta) -> int:
        """Abort the unfinished uploads below a prefix that are older; return their number.

        Choose an age in which the longest task writes its largest output.
        """
        before = dt.datetime.now(dt.timezone.utc) - older_than
        found = [upload for upload in self.abandoned_uploads(prefix) if upload.begun < before]
        for upload in found:
            self.call(
                "abort the upload of", upload.uri, partial(self.service.abandon, bucket_key_of(upload.uri), upload.upload)
            )
        return len(found)

    def call(self, action: str, uri: str, request: Callable[[], _T], known: tuple[type[Fault], ...] = ()) -> _T:
        """Make a request, and repeat it after transient faults; raise ``known`` faults unchanged, others as StorageError."""
        try:
            return self._retries.call(f"{action} {uri}", request, self.service.renew)
        except known:
            raise
        except Fault as fault:
            raise self.refused(action, uri, fault) from fault

    def refused(self, action: str, uri: str, fault: Fault) -> StorageError:
        """Return the error for a fault."""
        words = str(fault) if not isinstance(fault, TransientFault) else f"{fault}, and trying again did not help"
        return StorageError(f"could not {action} {uri}: {words} ({self.service.who})", uri=uri)

    def _entries(self, action: str, uri: str, request: Callable[[Any], Page]) -> Iterator[Any]:
        page = self.call(action, uri, partial(request, None))
        yield from page.entries
        while page.next is not None:
            page = self.call(action, uri, partial(request, page.next))
            yield from page.entries

    def _stat_by_page(self, stretch: _Stretch) -> dict[str, ObjectStat | None]:
        """Return the facts of the first uris of a stretch from one page of a listing."""
        base, place = _base_and_key(stretch.folder)
        after = bucket_key_of(stretch.uris[0][:-1]).key
        try:
            listed = self.call("list", stretch.folder, partial(self.service.list, place, None, deep=False, after=after))
        except StorageError:
            return {}  # who may not list may still look up
        stats = {base + entry.key: entry.stat for entry in listed.entries}
        if listed.next is not None and list(stats) != sorted(stats):
            return {}  # S3's express buckets have no order
        through = next(reversed(stats), "")
        return {uri: stats.get(uri) for uri in stretch.uris if listed.next is None or uri <= through}

    def list(self, prefix: str) -> Iterator[str]:
        """Return the uris below a prefix, page by page, without parts of uploads and locks."""
        return (uri for uri, _ in self.listed(prefix))

    def listed(self, prefix: str) -> Iterator[tuple[str, ObjectStat]]:
        """Return uris and facts of the objects below a prefix, as :meth:`list`."""
        base, place = _base_and_key(prefix)
        for entry in self._entries("list", prefix, partial(self.service.list, place)):
            if _HIDDEN.isdisjoint(entry.key[len(place.key) :].split("/")):
                yield base + entry.key, entry.stat


class _Stretch(NamedTuple):
    """Some uris of a folder, in order."""

    folder: str
    uris: list[str]

    def rest(self, known: int) -> Iterator[_Stretch]:
        """Return the uris that a page did not name as a few stretches, none shorter than a page like this one names.

        Args:
            known: how many of the uris the page named.
        """
        size = known * max(1, math.ceil((len(self.uris) - known) / known / _PAGES_AT_ONCE))
        for start in range(known, len(self.uris), size):
            yield _Stretch(self.folder, self.uris[start : start + size])


def _base_and_key(prefix: str) -> tuple[str, BucketKey]:
    """Return the part of the uris below a prefix before their keys, and bucket and key of the prefix."""
    place = bucket_key_of(prefix)
    return prefix[: len(prefix) - len(place.key)], place


class _Source:
    """The source of a stream's bytes: one version of an object, with the first block already on its way."""

    def __init__(self, store: BucketStore, uri: str, body: Body) -> None:
        self._store = store
        self._uri = uri
        self._first: Body | None = body
        self._version = body.version
        self._ended = False

    def fetch(self, start: int, view: memoryview) -> None:
        """Fill a buffer with the bytes from an offset on; continue where a broken answer ended."""
        had = 0

        def request() -> None:
            nonlocal had
            if self._ended:
                raise RefusedFault("the stream was closed")
            body = None
            if start + had == 0:
                body, self._first = self._first, None
            if body is None:
                body = self._store.service.get(bucket_key_of(self._uri), start + had, start + len(view), self._version)
            with contextlib.closing(body):
                for count in fill(view[had:], body):
                    had += count

        try:
            self._store.call("read", self._uri, request, (ConflictFault, MissingFault))
        except (ConflictFault, MissingFault) as fault:
            raise ObjectChangedError(
                f"could not read {self._uri}: another writer replaced or removed the object after reading began; "
                "read it again from the start",
                uri=self._uri,
            ) from fault

    def end(self) -> None:
        """Release the connection, and stop all fetches."""
        self._ended = True
        if self._first is not None:
            self._first.close()
            self._first = None
