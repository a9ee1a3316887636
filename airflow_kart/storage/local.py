"""Objects as files: the store of a laptop, a shared volume, and the default.

An upload is a file in a hidden folder beside its object. Publishing renames the file, which POSIX makes atomic within a
file system. The file's name carries the writer's host and process: the next writer to the same directory recognises and
removes the files of dead writers.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import functools
import hashlib
import os
import re
import socket
import stat
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import quote, unquote

from airflow_kart import settings
from airflow_kart.exceptions import ConflictError, StorageError
from airflow_kart.storage.base import ANY, HIDDEN, UPLOADS, Expected, ObjectContent, ObjectStat, Removable

__all__ = ["LocalStore", "is_file_uri", "path_of"]

_LOCK = "publishing.lock"
_TURNS = threading.local()  # the directories this thread has locked, since a second lock of its own would wait for the first
_UPLOAD_NAME = re.compile(r"([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")
_WORDS = {
    errno.ENOSPC: "no space is left there; free some, or choose another workspace_directory",
    errno.EDQUOT: "the disk quota is used up; free some, or choose another workspace_directory",
    errno.EROFS: "the file system is read-only; choose another workspace_directory",
    errno.EACCES: "permission denied; give this user write access, or choose another workspace_directory",
    errno.EPERM: "not permitted; give this user write access, or choose another workspace_directory",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EISDIR: "a directory is in the way",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter path in make_target",
}


class LocalStore:
    """Objects as files, by absolute path or ``file://`` uri.

    Args:
        fsync: whether publishing waits until the bytes are on the disk; by default as ``[kart] fsync`` says.
    """

    conditional = True
    turns_exclude = True
    steady_reads = True  # a file is never written over, and an open one stays readable when it is replaced
    shared = True

    def __init__(self, fsync: bool | None = None) -> None:
        self.fsync = settings.kart_bool("fsync") if fsync is None else fsync

    def path(self, uri: str) -> str:
        """Return the normal path of a uri."""
        return os.path.normpath(path_of(uri))

    def stat(self, uri: str) -> ObjectStat | None:
        """Return a file's size and modification time, or ``None``."""
        path = path_of(uri)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _refused("look up", uri, error)
        if not stat.S_ISREG(found.st_mode):
            return None
        return ObjectStat(found.st_size, dt.datetime.fromtimestamp(found.st_mtime, dt.timezone.utc), _version(found))

    def open(self, uri: str) -> BinaryIO:
        """Open a file for reading."""
        try:
            return open(path_of(uri), "rb", opener=_open_regular)
        except FileNotFoundError:
            raise
        except OSError as error:
            _refused("read", uri, error)

    def read(self, uri: str) -> ObjectContent | None:
        """Return a file's bytes and version, or ``None``."""
        try:
            with self.open(uri) as stream:
                return ObjectContent(stream.read(), _version(os.fstat(stream.fileno())))
        except FileNotFoundError:
            return None

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> LocalUpload:  # noqa: ARG002 - the protocol's
        """Begin to write a file; files carry no metadata."""
        return LocalUpload(self, uri, path_of(uri))

    @contextlib.contextmanager
    def publishing(self, uris: Iterable[str]) -> Iterator[None]:
        """Lock the directories of the files, in order, for the moment it takes to rename files into place."""
        held: set[str] = _TURNS.__dict__.setdefault("held", set())
        folders = {os.path.join(os.path.dirname(path_of(uri)), UPLOADS) for uri in uris} - held
        with contextlib.ExitStack() as locks:
            for folder in sorted(folders):
                try:
                    if not os.path.isdir(folder):
                        os.makedirs(folder, exist_ok=True)
                    lock = locks.enter_context(open(os.path.join(folder, _LOCK), "wb", buffering=0))
                    fcntl.flock(lock, fcntl.LOCK_EX)  # released when it is closed, or with the process
                except OSError as error:
                    _refused("lock", folder, error)
            held |= folders
            locks.callback(held.difference_update, folders)
            yield

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        """Remove a file; to compare an expected version, take a turn."""
        if expected is ANY:
            return self._unlink(uri)
        with self.publishing([uri]):
            found = self.stat(uri)
            if found is not None and found.version != expected:
                raise ConflictError(f"could not remove {uri}: another writer has replaced it", uri=uri)
            return self._unlink(uri)

    def _unlink(self, uri: str) -> bool:
        try:
            os.unlink(path_of(uri))
        except FileNotFoundError:
            return False
        except OSError as error:
            _refused("remove", uri, error)
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Return the files below a directory, without uploads and locks."""
        for folder, subfolders, names in os.walk(path_of(prefix)):
            subfolders[:] = [name for name in subfolders if name not in HIDDEN]
            yield from (_like(prefix, os.path.join(folder, name)) for name in names)

    def check_writable(self, uri: str) -> None:
        """Write a probe below a directory, and remove the probe."""
        probe = self.upload(os.path.join(path_of(uri), "probe"))
        try:
            probe.write(b"probe")
            probe.finish()
        finally:
            probe.discard()


class LocalUpload:
    """A file on its way; see :class:`~airflow_kart.storage.base.Upload`."""

    def __init__(self, store: LocalStore, uri: str, path: str) -> None:
        self._store = store
        self._uri = uri
        self._path = path
        self._fsync = store.fsync
        folder = os.path.join(os.path.dirname(path), UPLOADS)
        self._temporary = os.path.join(folder, f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        try:
            if not os.path.isdir(folder):
                os.makedirs(folder, exist_ok=True)
            _remove_abandoned(folder)
            self._file = open(self._temporary, "xb", buffering=0)  # noqa: SIM115 - finish() and discard() close it
        except OSError as error:
            _refused("write", uri, error)

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes to the file."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(view):
                written += self._file.write(view[written:])
        except OSError as error:
            _refused("write", self._uri, error)
        return written

    def restart(self) -> None:
        """Empty the file."""
        self._file.seek(0)
        self._file.truncate()

    def finish(self) -> None:
        """Close the file; with fsync, wait until the bytes are on the disk."""
        if self._file.closed:
            return
        try:
            if self._fsync:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            _refused("write", self._uri, error)

    def publish(self, expected: Expected = ANY) -> str:
        """Rename the file to its name."""
        self.finish()
        if expected is ANY:
            return self._rename()
        with self._store.publishing([self._uri]):
            found = self._store.stat(self._uri)
            if expected != (found.version if found is not None else None):
                raise ConflictError(f"could not publish {self._uri}: another writer was first", uri=self._uri)
            return self._rename()

    def _rename(self) -> str:
        try:
            version = _version(os.stat(self._temporary))
            os.replace(self._temporary, self._path)
            if self._fsync:
                _sync_directory(os.path.dirname(self._path))
        except OSError as error:
            _refused("publish", self._uri, error)
        return version

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file; a pipe in its place would let its readers wait for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "there is no regular file")


def _version(found: os.stat_result) -> str:
    """Return the version of a file: a writer always creates a new file, and never overwrites the old one."""
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _remove_abandoned(folder: str) -> None:
    """Remove the uploads of dead processes of this host from a folder."""
    for name in os.listdir(folder):
        match = _UPLOAD_NAME.fullmatch(name)
        if match and match[1] == _host() and not _alive(int(match[2])):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))


@functools.lru_cache(maxsize=1)
def _host() -> str:
    """Return this host, or container, as eight hex digits. Process ids are compared only within one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = space = ""
    return hashlib.blake2b(f"{socket.gethostname()} {boot} {space}".encode(), digest_size=4).hexdigest()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def path_of(uri: str) -> str:
    """Return a path unchanged, and the path of a ``file://`` uri (RFC 8089), in which only percent signs are special.

    Raises:
        StorageError: the uri names another host.
    """
    if not is_file_uri(uri):
        return uri
    host, slash, path = uri[len("file://") :].partition("/")
    if host not in ("", "localhost"):
        raise StorageError(f"{uri}: a file uri cannot name another host; mount its disk and use the path", uri=uri)
    return unquote(slash + path)


def _like(prefix: str, path: str) -> str:
    """Return a path in the spelling of a prefix: as a path, or as a ``file://`` uri."""
    return f"file://{quote(path)}" if is_file_uri(prefix) else path


def is_file_uri(uri: str) -> bool:
    """Whether a uri is of the ``file`` scheme."""
    return uri[: len("file://")].lower() == "file://"


def _sync_directory(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(action: str, uri: str, error: OSError) -> NoReturn:
    words = _WORDS.get(error.errno or 0, error.strerror or str(error))
    raise StorageError(f"could not {action} {uri}: {words}", uri=uri) from error
