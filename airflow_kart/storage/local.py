"""Objects as files: the store of a laptop, a shared volume, and the default.

An upload is a file in a hidden folder beside its object. Publishing renames the file, which POSIX makes atomic within a
file system. The file's name carries the writer's host and process: the next writer to the same directory recognises and
removes the files of dead writers.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, unquote

from airflow_kart import settings
from airflow_kart.exceptions import ConflictError, StorageError
from airflow_kart.storage.abandoned import abandoned_below, remove_abandoned, writer
from airflow_kart.storage.base import (
    ANY,
    HIDDEN,
    LARGEST_READ,
    UPLOADS,
    Expected,
    ObjectContent,
    ObjectStat,
    Removable,
    UnfinishedUpload,
)
from airflow_kart.storage.regular_file import open_for_reading, refused
from airflow_kart.storage.turns import turn_at

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 128 << 10
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NUMBERS = itertools.count(int.from_bytes(os.urandom(4), "big"))  # of uploads; another process may have had this one's id


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

    @staticmethod
    def version_of(found: os.stat_result) -> str:
        """Return the version of a file: a writer always creates a new file, and never overwrites the old one."""
        return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"

    def stat(self, uri: str) -> ObjectStat | None:
        """Return a file's size and modification time, or ``None``."""
        path = path_of(uri)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            refused("look up", uri, error)
        if not stat.S_ISREG(found.st_mode):
            return None
        return ObjectStat(
            found.st_size, dt.datetime.fromtimestamp(found.st_mtime, dt.timezone.utc), LocalStore.version_of(found)
        )

    def open(self, uri: str) -> BinaryIO:
        """Open a file for reading."""
        descriptor, _ = _opened(uri)
        return io.BufferedReader(_ReadFile(io.FileIO(descriptor), uri), _BUFFER)

    def read(self, uri: str) -> ObjectContent | None:
        """Return a file's bytes and version, or ``None``."""
        try:
            descriptor, found = _opened(uri)
        except FileNotFoundError:
            return None
        try:
            if found.st_size > LARGEST_READ:
                raise StorageError(f"could not read {uri}: {found.st_size} bytes are too many for a small file", uri=uri)
            data = os.read(descriptor, found.st_size + 1)
            while len(data) < found.st_size and (more := os.read(descriptor, found.st_size - len(data))):
                data += more
            return ObjectContent(data, LocalStore.version_of(found))
        except OSError as error:
            refused("read", uri, error)
        finally:
            os.close(descriptor)

    def upload(self, uri: str, *, metadata: Mapping[str, str] | None = None) -> LocalUpload:  # noqa: ARG002 - the protocol's
        """Begin to write a file; files carry no metadata."""
        try:
            return LocalUpload(self, uri, path_of(uri))
        except OSError as error:
            refused("write", uri, error)

    def copied(self, source: str, uri: str, *, metadata: Mapping[str, str] | None = None) -> LocalUpload | None:  # noqa: ARG002
        """Return an upload that is a hard link to another file, ``None`` where the file system has no such links."""
        path = path_of(source)
        if not os.path.isfile(path) or os.path.islink(path):
            raise FileNotFoundError(path)
        try:
            return LocalUpload(self, uri, path_of(uri), path)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, a file system without links, or too many of them
            return None

    def publishing(self, uris: Iterable[str]) -> contextlib.AbstractContextManager[None]:
        """Exclude other writers of the files, for the moment of renaming files into place."""
        return turn_at([path_of(uri) for uri in uris])

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
            refused("remove", uri, error)
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """Return the files below a directory, without uploads and locks."""
        for folder, subfolders, names in os.walk(path_of(prefix)):
            subfolders[:] = [name for name in subfolders if name not in HIDDEN]
            yield from (_like(prefix, os.path.join(folder, name)) for name in names)

    def abandoned_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Return the files that killed processes left below a directory; of other hosts, those of living processes too."""
        return abandoned_below(path_of(prefix))

    def abort_abandoned(self, prefix: str, older_than: dt.timedelta) -> int:
        """Remove such files that nobody has written to for so long; return their number."""
        before = dt.datetime.now(dt.timezone.utc) - older_than
        return sum(self._unlink(found.upload) for found in list(self.abandoned_uploads(prefix)) if found.begun < before)

    def check_writable(self, uri: str) -> None:
        """Write a probe below a directory, and remove the probe."""
        probe = self.upload(os.path.join(path_of(uri), "probe"))
        try:
            probe.write(b"probe")
            probe.finish()
        finally:
            probe.discard()


def _opened(uri: str) -> tuple[int, os.stat_result]:
    """Open a file for reading; return the descriptor and the facts of the file.

    Raises:
        FileNotFoundError: there is no file.
        StorageError: the file cannot be opened, or is no regular file.
    """
    try:
        return open_for_reading(path_of(uri))
    except FileNotFoundError:
        raise
    except OSError as error:
        refused("read", uri, error)


class _ReadFile(io.RawIOBase):
    """A file whose errors name its uri."""

    def __init__(self, file: io.FileIO, uri: str) -> None:
        self._file = file
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    @property
    def name(self) -> str:
        return path_of(self._uri)

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:
            return self._file.readinto(buffer)
        except OSError as error:
            refused("read", self._uri, error)

    def readall(self) -> bytes:
        try:
            return self._file.readall()
        except OSError as error:
            refused("read", self._uri, error)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)  # readers expect OSErrors of positions that do not exist

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


class LocalUpload:
    """A file on its way; see :class:`~airflow_kart.storage.base.Upload`."""

    def __init__(self, store: LocalStore, uri: str, path: str, source: str | None = None) -> None:
        self._store = store
        self._uri = uri
        self._path = path
        self._fsync = store.fsync
        self._version = ""
        self._unpublished = True
        self._descriptor = -1
        self._linked = source is not None
        above, slash, _ = path.rpartition("/")
        folder = f"{above}{slash}{UPLOADS}"
        self._temporary = f"{folder}/{writer()}-{next(_NUMBERS) & 0xFFFFFFFF:08x}"
        remove_abandoned(folder)
        try:
            self._begin(source)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            self._begin(source)

    def _begin(self, source: str | None) -> None:
        if source is None:
            self._descriptor = os.open(self._temporary, _NEW, 0o666)
        else:
            os.link(source, self._temporary, follow_symlinks=False)
            self._version = LocalStore.version_of(os.stat(self._temporary))

    def write(self, data: bytes | memoryview, /) -> int:
        """Add bytes to the file."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        except OSError as error:
            refused("write", self._uri, error)
        return written

    def restart(self) -> None:
        """Empty the file."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, 0)

    def finish(self) -> None:
        """Close the file; with fsync, wait until the bytes are on the disk."""
        if self._descriptor < 0:
            return
        try:
            if self._fsync:
                os.fsync(self._descriptor)
            self._version = LocalStore.version_of(os.fstat(self._descriptor))
            self._close()
        except OSError as error:
            refused("write", self._uri, error)

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
            os.replace(self._temporary, self._path)
            self._unpublished = False
            if self._linked:  # of two names for one file, the kernel keeps both
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._temporary)
            if self._fsync:
                _sync_directory(os.path.dirname(self._path))
        except OSError as error:
            refused("publish", self._uri, error)
        return self._version

    def discard(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._close()
        if self._unpublished:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        """Close the file of an upload that nobody ended."""
        try:  # noqa: SIM105 - contextlib may be gone by now, as Python ends
            self._close()
        except (AttributeError, TypeError, OSError):
            pass


def path_of(uri: str) -> str:
    """Return a path unchanged, and the path of a ``file://`` uri (RFC 8089), in which only percent signs are special.

    Raises:
        StorageError: the uri names another host.
    """
    if uri.startswith("/") or not is_file_uri(uri):
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
