"""Objects in this process: the store of tests and of a notebook's quick trial.

Uris are ``memory://name/path``. Other processes do not see the objects, which end with this process. An object is one
``bytes`` that readers share.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from airflow_kart.exceptions import ConfigurationError, ConflictError
from airflow_kart.storage.base import ANY, HIDDEN, Expected, ObjectContent, ObjectStat, Removable

_SCHEME = "memory://"


class MemoryStore:
    """Objects by ``memory://`` uri, for as long as the store lives. Threads may share the store."""

    conditional = True
    turns_exclude = True
    steady_reads = True
    shared = False

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, ObjectStat]] = {}
        self._versions = itertools.count(1)
        self._lock = threading.Lock()  # held for a moment, by whoever changes or lists the objects
        self._turn = threading.RLock()

    def stat(self, uri: str) -> ObjectStat | None:
        """Return an object's size and time of publication, or ``None``."""
        found = self._objects.get(_key(uri))
        return None if found is None else found[1]

    def open(self, uri: str) -> BinaryIO:
        """Open an object for reading; the stream keeps its version of the object."""
        found = self._objects.get(_key(uri))
        if found is None:
            raise FileNotFoundError(uri)
        return io.BytesIO(found[0])  # takes no copy of bytes that nobody changes

    def read(self, uri: str) -> ObjectContent | None:
        """Return an object's bytes and version, or ``None``."""
        found = self._objects.get(_key(uri))
        return None if found is None else ObjectContent(found[0], found[1].version)

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> MemoryUpload:  # noqa: ARG002 - the protocol's
        """Begin to write an object; nobody would see its metadata."""
        return MemoryUpload(self, _key(uri))

    @contextlib.contextmanager
    def publishing(self, uris: Iterable[str]) -> Iterator[None]:
        """Let one thread publish at a time, for all uris: publishing takes no longer than a few entries in a dict."""
        for uri in uris:
            _key(uri)
        with self._turn:
            yield

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        """Remove an object."""
        key = _key(uri)
        with self._lock:
            found = self._objects.get(key)
            if found is not None and expected is not ANY and found[1].version != expected:
                raise ConflictError(f"could not remove {uri}: another writer has replaced it", uri=uri)
            return self._objects.pop(key, None) is not None

    def list(self, prefix: str) -> Iterator[str]:
        """Return the uris below a prefix at this moment, without uploads and locks."""
        below = _key(prefix)
        with self._lock:
            keys = [key[len(below) :] for key in self._objects if key.startswith(below)]
        return (prefix + key for key in keys if not set(HIDDEN).intersection(key.split("/")))

    def check_writable(self, uri: str) -> None:
        """Check the uri; memory can be written to."""
        _key(uri)

    def put(self, key: str, data: bytes, expected: Expected) -> str:
        """Make an object visible: the last step of an upload."""
        with self._lock:
            before = self._objects.get(key)
            if expected is not ANY and expected != (before[1].version if before is not None else None):
                raise ConflictError(f"could not publish {_SCHEME}{key}: another writer was first", uri=f"{_SCHEME}{key}")
            stat = ObjectStat(len(data), dt.datetime.now(dt.timezone.utc), str(next(self._versions)))
            self._objects[key] = (data, stat)
        return stat.version


class MemoryUpload:
    """Bytes on their way; see :class:`~airflow_kart.storage.base.Upload`."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._stream = io.BytesIO()
        self._data = b""

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes."""
        return self._stream.write(memoryview(data).cast("B"))

    def restart(self) -> None:
        """Drop all bytes."""
        self._stream.seek(0)
        self._stream.truncate()

    def finish(self) -> None:
        """Take the bytes out of the stream, without a copy."""
        if not self._stream.closed:
            self._data = self._stream.getvalue()
            self._stream.close()

    def publish(self, expected: Expected = ANY) -> str:
        """Put the bytes under their uri."""
        self.finish()
        return self._store.put(self._key, self._data, expected)

    def discard(self) -> None:
        """Drop the bytes."""
        self._stream.close()
        self._data = b""


def _key(uri: str) -> str:
    """Return the key of a uri: everything after the scheme, in which no character is special.

    Raises:
        ConfigurationError: the uri has no name after the scheme.
    """
    scheme, key = uri[: len(_SCHEME)], uri[len(_SCHEME) :]
    if scheme.lower() != _SCHEME or not key or key.startswith("/"):
        raise ConfigurationError(
            f"{uri!r} names no place in memory; write memory:// and a name, as in memory://trial", uri=uri
        )
    return key
