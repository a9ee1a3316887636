"""Locks in a directory, in one file.

The kernel keeps these locks, and frees them when the holder's process ends in any way. So the lock of a dead holder is free
at once, and no lock needs a renewal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import time
from typing import NoReturn

from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks.base import Holder, Lease, Taken, checked_name
from airflow_kart.storage import LOCKS
from airflow_kart.storage.lock_file import LockFile, place_of
from airflow_kart.storage.regular_file import explained

_TRIES = 50
_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


class FileLocks:
    """Locks in the folder ``.kart-locks`` of a directory; threads of one process exclude each other too.

    All locks are ranges of one file there. Kernels that lock whole files only need a file for each lock.

    On NFS these locks exclude other hosts where the server's lock manager works: with NFSv4, or version 3 with lockd, and
    mounted without ``nolock`` and ``local_lock``. A disconnected host may keep a lock there until the server drops the lock.

    Args:
        directory: an absolute path; the first lock creates the folder inside.
    """

    kind = "file"

    def __init__(self, directory: str) -> None:
        self._folder = os.path.join(directory, LOCKS)
        self._idle: list[LockFile] = []  # openings of the one file for the next locks

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:  # noqa: ARG002 - the protocol's
        """Acquire a free lock; the kernel itself frees the locks of dead holders."""
        place, path = self._find(name)
        for tries in range(_TRIES):
            file: LockFile | None = None
            try:
                file = self._idle_file() or LockFile(path) if place else LockFile(path)
                if file.lock(place):
                    if file.is_in_place():  # else somebody has removed the file since its opening
                        file.write(place, holder.to_json())
                        lease = _FileLease(holder, path, place, file, self._idle)
                        file = None
                        return lease
                elif (words := file.look(place)) is not None:
                    return Taken(Holder.from_json(words))
            except OSError as error:
                _refused(path, error)
            finally:
                if file is not None:
                    file.close()
            # Whoever looks at a whole file locks it for a moment. Of several that are in each other's way, one is to be first.
            time.sleep(random.uniform(0, 0.001) * tries)
        return Taken(None)

    def look(self, name: str) -> Taken | None:
        """Return the holder of a lock; the lock of a dead holder is free."""
        place, path = self._find(name)
        try:
            with contextlib.closing(LockFile(path, create=False)) as file:
                words = file.look(place)
        except FileNotFoundError:
            return None
        except OSError as error:
            _refused(path, error)
        return None if words is None else Taken(Holder.from_json(words))

    def _find(self, name: str) -> tuple[int, str]:
        """Return the place of a lock, and the path of its file."""
        place = place_of(checked_name(name))
        return place, os.path.join(self._folder, "held" if place else f"{name}.lock")

    def _idle_file(self) -> LockFile | None:
        with contextlib.suppress(IndexError):
            while (file := self._idle.pop()).closed:
                pass  # the parent's, in a forked child
            return file
        return None


class _FileLease:
    """A place of a lock file that this process has locked."""

    time_to_live = None

    def __init__(self, holder: Holder, path: str, place: int, file: LockFile, idle: list[LockFile]) -> None:
        self.holder = holder
        self._path = path
        self._place = place
        self._file: LockFile | None = file
        self._idle = idle

    def renew(self) -> None:
        """Check that the lock file still has its name."""
        file = self._file
        try:
            lost = file is None or file.closed or not file.is_in_place()
        except OSError as error:
            _refused(self._path, error)
        if lost:
            raise LockLostError(
                f"the lock {self._path} was removed while it was held; leave what is in {LOCKS} to those who run"
            )

    def release(self) -> None:
        """Unlock the place. A file of this lock alone is removed first: nobody else can lock it in between."""
        file, self._file = self._file, None
        if file is None or file.closed:
            return
        try:
            if not self._place and file.is_in_place():
                os.unlink(self._path)
            file.unlock(self._place)
        except OSError as error:
            _refused(self._path, error)
        if self._place:
            self._idle.append(file)


def _refused(path: str, error: OSError) -> NoReturn:
    why = f"{explained(error)}; [kart] lock may also be redis or none"
    if error.errno in _LOCKLESS:
        why = f"this file system keeps no locks ({error.strerror}); set [kart] lock to lease or redis, or to none"
    raise LockError(f"could not lock {path}: {why}", uri=path) from error
