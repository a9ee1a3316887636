"""Locks as files of a directory.

The kernel keeps these locks (``flock``), and frees them when the holder's process ends in any way. So the lock of a dead
holder is free at once, and no lock needs a renewal.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import time
import weakref
from collections.abc import Iterator
from io import FileIO

from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks.base import LONGEST_TEXT, Holder, Lease, Taken, checked_name
from airflow_kart.storage import LOCKS
from airflow_kart.storage.regular_file import explained, open_lock_file

__all__ = ["FileLocks"]

_TRIES = 50
_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_HELD: weakref.WeakSet[_FileLease] = weakref.WeakSet()  # by this process, for what a fork has to do


class FileLocks:
    """Locks in the folder ``.kart-locks`` of a directory; threads of one process exclude each other too.

    On NFS these locks exclude other hosts where the server's lock manager works: with NFSv4, or version 3 with lockd, and
    mounted without ``nolock`` and ``local_lock``. A disconnected host may keep a lock there until the server drops the lock.

    Args:
        directory: an absolute path; the first lock creates the folder inside.
    """

    kind = "file"

    def __init__(self, directory: str) -> None:
        self._folder = os.path.join(directory, LOCKS)

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:  # noqa: ARG002 - the protocol's
        """Acquire a free lock; the kernel itself frees the locks of dead holders."""
        path = self._path(name)
        for tries in range(_TRIES):
            with _refusals(path), contextlib.ExitStack() as ending:
                file = _closed_by(ending, _opened(path))
                if _locked(file, fcntl.LOCK_EX):
                    if _is_at(file, path):  # else its last holder has removed it between opening and locking
                        text = holder.to_json().encode()
                        file.write(text)
                        if os.fstat(file.fileno()).st_size > len(text):  # what a holder that was killed has left
                            file.truncate(len(text))
                        ending.pop_all()
                        return _FileLease(file, path, holder)
                elif not _locked(file, fcntl.LOCK_SH):
                    return _taken(file)
            # Whoever looks holds a shared lock for a moment. Of several that are in each other's way, one is to be first.
            time.sleep(random.uniform(0, 0.001) * tries)
        return Taken(None)

    def look(self, name: str) -> Taken | None:
        """Return the holder of a lock; the file of a dead holder is free."""
        path = self._path(name)
        with _refusals(path), contextlib.ExitStack() as ending:
            try:
                file = _closed_by(ending, _opened(path, create=False))
            except FileNotFoundError:
                return None
            return None if _locked(file, fcntl.LOCK_SH) else _taken(file)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{checked_name(name)}.lock")


class _FileLease:
    """A file that this process has locked."""

    time_to_live = None

    def __init__(self, file: FileIO, path: str, holder: Holder) -> None:
        self.holder = holder
        self._file = file
        self._path = path
        _HELD.add(self)

    def renew(self) -> None:
        """Check that the locked file still has its name."""
        with _refusals(self._path):
            if self._file.closed or not _is_at(self._file, self._path):
                raise LockLostError(
                    f"the lock {self._path} was removed while it was held; leave what is in {LOCKS} to those who run"
                )

    def release(self) -> None:
        """Remove the locked file, then unlock it: nobody else can lock it in between."""
        if self._file.closed:
            return
        _HELD.discard(self)
        with _refusals(self._path), self._file:
            try:
                if _is_at(self._file, self._path):
                    os.unlink(self._path)
            finally:
                _unlock(self._file)

    def forget(self) -> None:
        """Close the file without unlocking it: for a forked child, whose parent holds the lock."""
        self._file.close()


def _forget_in_child() -> None:
    # Else a child that lives on would hold the lock of a parent that was killed.
    for lease in list(_HELD):
        lease.forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _opened(path: str, *, create: bool = True) -> FileIO:
    """Open a lock's file; create the file and its folder where they are missing."""
    try:
        descriptor = open_lock_file(path, create=create)
    except FileNotFoundError:
        if not create:
            raise
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = open_lock_file(path)
    return FileIO(descriptor, "r+b" if create else "rb")


def _closed_by(ending: contextlib.ExitStack, file: FileIO) -> FileIO:
    """Unlock and close a file at the end of a block."""
    ending.enter_context(file)
    ending.callback(_unlock, file)
    return file


def _locked(file: FileIO, how: int) -> bool:
    """Lock a file without waiting; return whether that succeeded."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(file: FileIO) -> None:
    # Closing is not enough: a process that was forked meanwhile has the file open too, and would keep the lock.
    fcntl.flock(file, fcntl.LOCK_UN)


def _is_at(file: FileIO, path: str) -> bool:
    """Whether an open file is still the one of its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # the second is NFS's word for a file that another host has removed
            return False
        raise


def _taken(file: FileIO) -> Taken:
    """Return the holder of a file, as the file describes it; a holder writes just after locking."""
    return Taken(Holder.from_json(os.pread(file.fileno(), LONGEST_TEXT, 0)))


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _LOCKLESS:
            raise LockError(
                f"could not lock {path}: this file system keeps no locks ({error.strerror}); set [kart] lock to lease or "
                "redis, or to none",
                uri=path,
            ) from error
        raise LockError(
            f"could not lock {path}: {explained(error)}; [kart] lock may also be redis or none",
            uri=path,
        ) from error
