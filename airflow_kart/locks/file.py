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
                file = _File(path)
                ending.callback(file.close)
                if file.lock(fcntl.LOCK_EX):
                    if file.is_in_place():  # else its last holder has removed it between opening and locking
                        file.write(holder.to_json().encode())
                        ending.pop_all()
                        return _FileLease(file, holder)
                elif not file.lock(fcntl.LOCK_SH):
                    return file.taken()
            # Whoever looks holds a shared lock for a moment. Of several that are in each other's way, one is to be first.
            time.sleep(random.uniform(0, 0.001) * tries)
        return Taken(None)

    def look(self, name: str) -> Taken | None:
        """Return the holder of a lock; the file of a dead holder is free."""
        path = self._path(name)
        with _refusals(path), contextlib.ExitStack() as ending:
            try:
                file = _File(path, create=False)
            except FileNotFoundError:
                return None
            ending.callback(file.close)
            return None if file.lock(fcntl.LOCK_SH) else file.taken()

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{checked_name(name)}.lock")


class _FileLease:
    """A file that this process has locked."""

    time_to_live = None

    def __init__(self, file: _File, holder: Holder) -> None:
        self.holder = holder
        self._file = file
        _HELD.add(self)

    def renew(self) -> None:
        """Check that the locked file still has its name."""
        with _refusals(self._file.path):
            if self._file.closed or not self._file.is_in_place():
                raise LockLostError(
                    f"the lock {self._file.path} was removed while it was held; leave what is in {LOCKS} to those who run"
                )

    def release(self) -> None:
        """Remove the locked file, then unlock it: nobody else can lock it in between."""
        if self._file.closed:
            return
        _HELD.discard(self)
        with _refusals(self._file.path):
            try:
                if self._file.is_in_place():
                    os.unlink(self._file.path)
            finally:
                self._file.close()

    def forget(self) -> None:
        """Close the file without unlocking it: for a forked child, whose parent holds the lock."""
        self._file.close(unlocks=False)


def _forget_in_child() -> None:
    # Else a child that lives on would hold the lock of a parent that was killed.
    for lease in list(_HELD):
        lease.forget()


os.register_at_fork(after_in_child=_forget_in_child)


class _File:
    """A lock's open file; the file and its folder are created where they are missing."""

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.path = path
        self._descriptor, self._found = open_lock_file(path, create=create)

    @property
    def closed(self) -> bool:
        return self._descriptor < 0

    def lock(self, how: int) -> bool:
        """Lock the file without waiting; return whether that succeeded."""
        try:
            fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_in_place(self) -> bool:
        """Whether the open file is still the one of its name."""
        try:
            return os.path.samestat(self._found, os.stat(self.path, follow_symlinks=False))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):  # the second: NFS, and another host has removed the file
                return False
            raise

    def write(self, text: bytes) -> None:
        """Write the holder; a killed holder may have left longer text."""
        os.pwrite(self._descriptor, text, 0)
        if self._found.st_size > len(text):
            os.ftruncate(self._descriptor, len(text))

    def taken(self) -> Taken:
        """Return the holder, as the file describes it; a holder writes just after locking."""
        return Taken(Holder.from_json(os.pread(self._descriptor, LONGEST_TEXT, 0)))

    def close(self, *, unlocks: bool = True) -> None:
        """Unlock and close: a process that was forked meanwhile has the file open too, and would keep the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            if unlocks:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def __del__(self) -> None:
        """Close a file that nobody closed."""
        with contextlib.suppress(AttributeError, OSError):
            self.close(unlocks=False)


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
