"""Objects wherever Airflow's ObjectStoragePath reaches: Azure, and the file systems of other providers.

These file systems have no conditional writes in common. An object still appears whole, as the writer moves a finished file
into place. But the comparison with the expected version precedes the move, as a step of its own: threads of one process
take turns, other processes and machines may get in between. A stream of a replaced object may mix both versions. For
several writers at once, S3 and Google Cloud Storage are the better places.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import posixpath
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from airflow_kart.connections import safe_cause, without_passwords
from airflow_kart.exceptions import ConfigurationError, ConflictError, KartError, StorageError
from airflow_kart.storage.base import ANY, HIDDEN, LARGEST_READ, UPLOADS, Expected, ObjectContent, ObjectStat, Removable

_TELLING = ("ETag", "etag", "version_id", "generation", "ino", "mtime", "last_modified", "LastModified", "created", "size")
"""Facts that differ between two files of one name; each file system knows some of them."""


class ObjectPathStore:
    """Objects by the uris of Airflow's ObjectStoragePath, ``scheme://conn_id@container/path``."""

    conditional = False
    turns_exclude = False
    steady_reads = False
    shared = True

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def __reduce__(self) -> tuple[type[ObjectPathStore], tuple[()]]:
        """Pickle without the lock."""
        return ObjectPathStore, ()

    def stat(self, uri: str) -> ObjectStat | None:
        """Return a file's size, time and version, or ``None``."""
        with _refusals("look up", uri):
            files, path = _files_and_path(uri)
            try:
                info = files.info(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if info["type"] != "file" or uri.endswith("/"):
                return None
            return ObjectStat(int(info["size"]), _modified(files, path), _version(info))

    def open(self, uri: str) -> BinaryIO:
        """Open a file for reading."""
        with _refusals("read", uri):
            files, path = _files_and_path(uri)
            stream: BinaryIO = files.open(path, "rb")
            return stream

    def read(self, uri: str) -> ObjectContent | None:
        """Return a file's bytes and version, or ``None``."""
        while True:
            before = self.stat(uri)
            if before is None:
                return None
            if before.size > LARGEST_READ:
                raise StorageError(f"could not read {uri}: {before.size} bytes are too many for a small file", uri=uri)
            with contextlib.suppress(FileNotFoundError), self.open(uri) as stream:
                data = stream.read()
                if self.stat(uri) == before:
                    return ObjectContent(data, before.version)

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> ObjectPathUpload:  # noqa: ARG002 - the protocol's
        """Begin to write a file; files carry no metadata."""
        return ObjectPathUpload(self, uri)

    def publishing(self, uris: Iterable[str]) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 - the protocol's
        """Return at once: this store has no turns."""
        return contextlib.nullcontext()

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        """Remove a file; the comparison with the expected version is a step of its own, as everywhere here."""
        with self._turn, _refusals("remove", uri):
            found = self.stat(uri) if expected is not ANY else None
            if found is not None and found.version != expected:
                raise ConflictError(f"could not remove {uri}: another writer has replaced it", uri=uri)
            files, path = _files_and_path(uri)
            try:
                files.rm_file(path)
            except FileNotFoundError:
                return False
            return True

    def list(self, prefix: str) -> Iterator[str]:
        """Return the files below a folder, without uploads and locks."""
        with _refusals("list", prefix):
            files, path = _files_and_path(prefix)
            found = files.find(path)
        for name in found:
            below = posixpath.relpath(name, path)
            if not set(HIDDEN).intersection(below.split("/")):
                yield prefix + below

    def check_writable(self, uri: str) -> None:
        """Write a probe below a folder, and remove the probe."""
        probe = self.upload(f"{uri.rstrip('/')}/probe")
        try:
            probe.write(b"probe")
            probe.finish()
        finally:
            probe.discard()

    def move(self, source: str, uri: str, expected: Expected) -> str:
        """Move a file into place, after comparing the expected version; return the new version."""
        with self._turn, _refusals("publish", uri):
            if expected is not ANY:
                found = self.stat(uri)
                if expected != (found.version if found is not None else None):
                    raise ConflictError(f"could not publish {uri}: another writer was first", uri=uri)
            files, path = _files_and_path(uri)
            files.mv(source, path)
            return _version(files.info(path))


class ObjectPathUpload:
    """A file on its way; see :class:`~airflow_kart.storage.base.Upload`."""

    def __init__(self, store: ObjectPathStore, uri: str) -> None:
        self._store = store
        self._uri = uri
        with _refusals("write", uri):
            self._files, path = _files_and_path(uri)
            folder = posixpath.join(posixpath.dirname(path), UPLOADS)
            self._temporary = posixpath.join(folder, uuid.uuid4().hex)
            self._files.makedirs(folder, exist_ok=True)
            self._stream: io.BufferedIOBase = self._files.open(self._temporary, "wb")

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes to the file."""
        view = memoryview(data).cast("B")
        with _refusals("write", self._uri):
            self._stream.write(view)
        return len(view)

    def restart(self) -> None:
        """Write the file anew."""
        with _refusals("write", self._uri):
            self._stream.close()
            self._stream = self._files.open(self._temporary, "wb")

    def finish(self) -> None:
        """Close the file."""
        if not self._stream.closed:
            with _refusals("write", self._uri):
                self._stream.close()

    def publish(self, expected: Expected = ANY) -> str:
        """Move the file to its name."""
        self.finish()
        return self._store.move(self._temporary, self._uri, expected)

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(Exception):
            self._stream.close()
        with contextlib.suppress(Exception):
            self._files.rm_file(self._temporary)


def is_known_scheme(scheme: str) -> bool:
    """Whether fsspec knows a scheme; the first use shows whether Airflow has the file system."""
    try:
        from fsspec.registry import available_protocols
    except ImportError:
        return False
    return scheme in available_protocols()


def _files_and_path(uri: str) -> tuple[Any, str]:
    """Return the file system of a uri, and the path there.

    Raises:
        ConfigurationError: Airflow has no file system for the scheme.
    """
    from airflow.sdk import ObjectStoragePath

    try:
        found = ObjectStoragePath(uri)
        return found.fs, found.path
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"no store keeps {uri}: {error}; install the Airflow provider that brings file systems of this scheme, "
            "or choose another workspace_directory",
            uri=uri,
        ) from error


def _modified(files: Any, path: str) -> dt.datetime:
    modified: dt.datetime = files.modified(path)
    return modified if modified.tzinfo is not None else modified.replace(tzinfo=dt.timezone.utc)


def _version(info: Mapping[str, Any]) -> str:
    return " ".join(str(info[name]) for name in _TELLING if info.get(name) is not None)


@contextlib.contextmanager
def _refusals(action: str, uri: str) -> Iterator[None]:
    """Raise a StorageError in place of a file system's errors: each file system has errors of its own."""
    try:
        yield
    except KartError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and action == "read":
            raise
        words = f"could not {action} {uri}: {type(error).__name__}: {without_passwords(str(error))}"
        raise StorageError(words, uri=uri) from safe_cause(error)
