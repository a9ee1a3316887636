"""An object on its way into a bucket.

The upload keeps a small object in memory, and publishing puts the object. The upload sends a large object in parts
meanwhile, or lets the service copy them, and publishing makes an object of the parts. Either way one conditional request
makes the object visible. When the answer to this request is lost, the upload recognises its own object by the token in the
metadata.
"""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from airflow_kart.exceptions import ConflictError, StorageError
from airflow_kart.storage.base import ANY, Expected, ObjectStat
from airflow_kart.storage.buckets.faults import (
    BusyFault,
    ConflictFault,
    Fault,
    LostUploadFault,
    MissingFault,
    TransientFault,
)
from airflow_kart.storage.buckets.metadata import fitted
from airflow_kart.storage.buckets.parts import MOST, Parts, part_size
from airflow_kart.storage.buckets.service import BucketKey, Piece, Service, bucket_key_of

_T = TypeVar("_T")
_OF_PUBLISHING = (ConflictFault, MissingFault, LostUploadFault, TransientFault)

log = logging.getLogger(__name__)


class Caller(Protocol):
    """Makes requests for an upload."""

    @property
    def service(self) -> Service:
        """The service for the requests."""
        ...

    def call(self, action: str, uri: str, request: Callable[[], _T], known: tuple[type[Fault], ...] = ()) -> _T:
        """Make a request, and repeat it after transient faults; raise ``known`` faults unchanged, others as StorageError."""
        ...

    def refused(self, action: str, uri: str, fault: Fault) -> StorageError:
        """Return the error for a fault."""
        ...


class ObjectUpload:
    """An object on its way; see :class:`~airflow_kart.storage.base.Upload`."""

    def __init__(self, caller: Caller, uri: str, metadata: Mapping[str, str]) -> None:
        self._caller = caller
        self._service = caller.service
        self._uri = uri
        self._place = bucket_key_of(uri)
        self._token = uuid.uuid4().hex
        self._metadata = fitted(metadata, self._token, self._service.metadata_limit)
        self._buffer = io.BytesIO()
        self._data: bytes | None = None
        self._parts: Parts | None = None
        self._upload = ""
        self._version = ""
        self._discarded = False
        self._sent: Sequence[Any] = ()

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes; send each part as soon as it is full."""
        view = memoryview(data).cast("B")
        rest = view
        while len(rest):
            room = self._room()
            if not room:
                self._send_part()
                room = self._room()
            self._buffer.write(rest[:room])
            rest = rest[room:]
        return len(view)

    def copy(self, source: BucketKey, found: ObjectStat) -> None:
        """Let the service fill the upload with an object of another key, in place of writing.

        Args:
            source: the object.
            found: its facts; an object of another version is not copied.

        Raises:
            StorageError: the service does not copy the object.
        """

        def copy_part(number: int, piece: Piece) -> Any:
            return self._call("copy to", lambda: self._service.copy_part(self._place, self._upload, number, piece))

        parts = self._begin(copy_part)
        step = max(self._service.copied_at_once, -(-found.size // MOST))
        for start in range(0, found.size, step):
            parts.add(Piece(source, found.version, range(start, min(start + step, found.size))))
        self.finish()

    def restart(self) -> None:
        """Abort the parts sent so far, and begin anew."""
        self._abandon()
        self._buffer, self._data, self._sent = io.BytesIO(), None, ()

    def finish(self) -> None:
        """Send the last part, and wait for all parts."""
        if self._data is not None or self._sent:
            return
        if self._parts is None:
            self._data = self._take()
            return
        if self._buffer.tell():
            self._send_part()
        sent = self._parts.finish()
        self._sent = self._call("write", lambda: self._service.arrange(self._place, self._upload, sent))

    def publish(self, expected: Expected = ANY) -> str:
        """Make the object visible."""
        if self._version:
            return self._version
        if self._discarded:
            raise ValueError(f"the upload of {self._uri} was discarded")
        self.finish()
        try:
            self._version = self._call("publish", lambda: self._publish(expected), _OF_PUBLISHING)
        except (ConflictFault, MissingFault, BusyFault) as fault:
            self._version = self._version_if_ours()
            if not self._version:
                raise ConflictError(
                    f"could not publish {self._uri}: another writer was first, and the object is not the expected one",
                    uri=self._uri,
                ) from fault
        except LostUploadFault as fault:
            self._version = self._version_if_ours()
            if not self._version:
                raise StorageError(
                    f"could not publish {self._uri}: its parts are gone, as somebody aborted the upload "
                    "(a lifecycle rule of the bucket, perhaps); run the task again",
                    uri=self._uri,
                ) from fault
        except TransientFault as fault:
            self._version = self._version_if_ours()
            if not self._version:
                raise self._caller.refused("publish", self._uri, fault) from fault
        self._data, self._parts = b"", None
        self._tidy(self._service.clear)
        return self._version

    def discard(self) -> None:
        """Abort the upload."""
        self._discarded = True
        self._buffer, self._data = io.BytesIO(), b""
        self._abandon()

    def _room(self) -> int:
        return part_size(self._parts.next_number if self._parts is not None else 1) - self._buffer.tell()

    def _take(self) -> bytes:
        data = self._buffer.getvalue()  # takes no copy, where nothing is written any more
        self._buffer = io.BytesIO()
        return data

    def _send_part(self) -> None:
        parts = self._parts or self._begin(self._put_part)
        parts.add(self._take())

    def _begin(self, send: Callable[[int, Any], Any]) -> Parts:
        self._upload = self._call("write", lambda: self._service.begin(self._place, self._metadata))
        self._parts = parts = Parts(send)
        return parts

    def _put_part(self, number: int, data: bytes) -> Any:
        return self._call("write", lambda: self._service.put_part(self._place, self._upload, number, data))

    def _publish(self, expected: Expected) -> str:
        if self._sent:
            return self._service.complete(self._place, self._upload, self._sent, expected, self._metadata)
        return self._service.put(self._place, self._data or b"", expected, self._metadata)

    def _version_if_ours(self) -> str:
        """Return the version of the object if this upload made the object, else an empty text."""
        try:
            found = self._call("look up", lambda: self._service.head(self._place), (MissingFault,))
        except MissingFault:
            return ""
        return found.stat.version if found.token == self._token else ""

    def _abandon(self) -> None:
        if self._parts is not None:
            self._parts.stop()
            self._parts = None
            self._tidy(self._service.abandon)

    def _tidy(self, remove: Callable[[BucketKey, str], None]) -> None:
        """Remove remaining parts. Nobody sees the parts, so a failure here does not fail the upload."""
        if not self._upload:
            return
        try:
            self._call("tidy up after", lambda: remove(self._place, self._upload))
        except StorageError as error:
            log.warning("parts of an upload remain: %s", error)
        self._upload = ""

    def _call(self, action: str, request: Callable[[], _T], known: tuple[type[Fault], ...] = ()) -> _T:
        return self._caller.call(action, self._uri, request, known)
