"""Locks as files of a directory.

The kernel keeps them, by ``flock``, and frees them when the holder's process ends, however it does. So a lock is had at
once where its holder has died, and nothing needs to be renewed.
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
from airflow_kart.locks.base import Holder, Lease, Taken, checked_name
from airflow_kart.storage import LOCKS

__all__ = ["FileLocks"]

_TRIES = 50
_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
_HELD: weakref.WeakSet[_FileLease] = weakref.WeakSet()  # by this process, for what a fork has to do


class FileLocks:
    """Locks in the folder ``.kart-locks`` of a directory; threads of one process exclude each other too.

    On NFS they hold among hosts where the server's lock manager does its work: with NFSv4, or version 3 with lockd, and
    mounted without ``nolock`` and ``local_lock``. A host that is cut off may keep a lock there until the server gives it up.

    Args:
        directory: an absolute path; the folder in it is made when it is needed.
    """

    kind = "file"

    def __init__(self, directory: str) -> None:
        self._folder = os.path.join(directory, LOCKS)

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:  # noqa: ARG002 - the protocol's
        """Take a lock, if it is free; the kernel knows who is dead."""
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
        """Return who holds a lock; what a dead holder left behind is free."""
        path = self._path(name)
        with _refusals(path), contextlib.ExitStack() as ending:
            try:
                file = _closed_by(ending, FileIO(path, "rb"))
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
        """Look whether the file is there still."""
        with _refusals(self._path):
            if self._file.closed or not _is_at(self._file, self._path):
                raise LockLostError(
                    f"the lock {self._path} was removed while it was held; leave what is in {LOCKS} to those who run"
                )

    def release(self) -> None:
        """Remove the file, while nobody else can have locked it, and unlock it."""
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
        """Let go of the file without unlocking it: what is to be done in a child, which has not got the lock."""
        self._file.close()


def _forget_in_child() -> None:
    # Else a child that lives on would hold the lock of a parent that was killed.
    for lease in list(_HELD):
        lease.forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _opened(path: str) -> FileIO:
    """Open a lock's file, which is made if need be, and its folder too."""
    try:
        return _opened_or_made(path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return _opened_or_made(path)


def _opened_or_made(path: str) -> FileIO:
    return FileIO(path, "r+b", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))


def _closed_by(ending: contextlib.ExitStack, file: FileIO) -> FileIO:
    """Have a file unlocked and closed in the end."""
    ending.enter_context(file)
    ending.callback(_unlock, file)
    return file


def _locked(file: FileIO, how: int) -> bool:
    """Lock a file, if that is possible at once."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(file: FileIO) -> None:
    # Closing is not enough: a process that was forked meanwhile has the file open too, and would keep the lock.
    fcntl.flock(file, fcntl.LOCK_UN)


def _is_at(file: FileIO, path: str) -> bool:
    """Whether a file is the one that has its name still."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # the second is NFS's word for a file that another host has removed
            return False
        raise


def _taken(file: FileIO) -> Taken:
    """Return who holds a file; it may not have written yet who it is."""
    file.seek(0)
    return Taken(Holder.from_json(file.readall() or b""))


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _LOCKLESS:
            raise LockError(
                f"could not lock {path}: this file system keeps no locks ({error.strerror}); set [kart] lock to lease or "
                "redis, or to none"
            ) from error
        raise LockError(
            f"could not lock {path}: {error.strerror or error}; make it possible to write there, or set [kart] lock to redis "
            "or none"
        ) from error
