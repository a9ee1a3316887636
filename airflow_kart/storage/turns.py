"""Turns at publishing files: one writer of a file at a time, in all processes.

Each folder has one lock file among its uploads. A writer locks a range of this file, by the name of its own file, so that a
writer that stops half way holds up only the writers of the same file. Linux locks ranges by open file (``F_OFD_SETLK``); on
other kernels a writer locks the whole lock file (``flock``). The kernel frees the locks of a process that ends, in any way.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import functools
import hashlib
import json
import logging
import os
import socket
import struct
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator

from airflow_kart.exceptions import StorageError
from airflow_kart.storage.base import UPLOADS
from airflow_kart.storage.regular_file import open_lock_file, refused

__all__ = ["turn_at"]

_LOCK = "publishing.lock"
_PATIENCE = 120.0  # seconds; a turn takes a few renames
_SAY_AFTER = 5.0
_SAY_AGAIN = 30.0
_LONGEST_PAUSE = 0.1
_TRIES = 20
_F_OFD_SETLK = 37
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64 bits: type, whence, start, length, process
_FIRST = 1 << 20  # ranges begin behind the records
_RECORD = 256
_SLOTS = 256

_HELD = threading.local()  # the ranges and paths of this thread, since a second lock of its own would wait for the first
_OPEN: weakref.WeakSet[_LockFile] = weakref.WeakSet()  # for forks

log = logging.getLogger(__name__)

_Range = tuple[int, int, int]
"""Inode and device of a lock file, and the place in the file: one order for all writers, whichever way a path is written."""


@contextlib.contextmanager
def turn_at(paths: Iterable[str]) -> Iterator[None]:
    """Exclude all other writers of some files for the block. A turn inside one's own turn does not wait.

    Raises:
        StorageError: another writer does not end its turn, or a folder cannot be written to.
    """
    wanted, held = list(paths), _HELD.__dict__
    ranges: set[_Range] = held.setdefault("ranges", set())
    known: set[str] = held.setdefault("paths", set())
    if known.issuperset(wanted):
        yield
        return
    for _ in range(_TRIES):
        with contextlib.ExitStack() as ending:
            taken = _take(wanted, ranges, ending)
            if taken is None:
                continue  # somebody has removed a lock file between opening and locking
            ranges |= taken
            ending.callback(ranges.difference_update, taken)
            new = set(wanted) - known
            known |= new
            ending.callback(known.difference_update, new)
            yield
            return
    raise StorageError("could not lock a folder for publishing: somebody keeps removing its lock file; run the task again")


def _take(paths: list[str], held: set[_Range], ending: contextlib.ExitStack) -> set[_Range] | None:
    """Lock the ranges of files, in order; return them, or ``None`` where a lock file is no longer the one of its folder."""
    files: dict[str, _LockFile] = {}
    wanted: dict[_Range, tuple[_LockFile, str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in files:
            opened = ending.enter_context(contextlib.closing(_LockFile(os.path.join(folder, UPLOADS, _LOCK))))
            files[folder] = opened
        wanted[files[folder].range_of(name)] = files[folder], path
    taken = set(wanted) - held
    for found in sorted(taken):
        file, path = wanted[found]
        file.wait_for(found, path)
    return taken if all(file.is_in_place() for file in files.values()) else None


class _LockFile:
    """An open lock file. Locks belong to this opening: another one, also in this process, is another writer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process = os.getpid()
        self._descriptor = -1
        _OPEN.add(self)
        try:
            self._descriptor, found = open_lock_file(path)
        except OSError as error:
            refused("lock", path, error)
        self._identity = found.st_ino, found.st_dev

    def range_of(self, name: str) -> _Range:
        """Return the range of a file's name: one for an artifact and its sidecar, which differ behind the first dot."""
        if not _kernel_locks_ranges():
            return (*self._identity, 0)
        stem = name[:1] + name[1:].partition(".")[0]
        digest = hashlib.blake2b(os.fsencode(stem), digest_size=7).digest()
        return (*self._identity, _FIRST + int.from_bytes(digest, "big"))

    def wait_for(self, found: _Range, path: str) -> None:
        """Lock a range, and leave word about this process in the lock file.

        Raises:
            StorageError: another writer of the same file does not end its turn.
        """
        began = time.monotonic()
        say, pause = _SAY_AFTER, 0.0005
        try:
            while not self._locked(found[2]):
                waited = time.monotonic() - began
                if waited > _PATIENCE:
                    raise StorageError(
                        f"could not publish {path}: {self._holder(found)} has kept its turn there for {waited:.0f} s; if that "
                        "process is stopped, continue or kill it, then run the task again",
                        uri=path,
                    )
                if waited > say:
                    say = waited + _SAY_AGAIN
                    log.warning("waiting to publish %s: %s is at it (%.0f s so far)", path, self._holder(found), waited)
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        except OSError as error:
            refused("lock", self._path, error)
        self._leave_word(found)

    def _locked(self, start: int) -> bool:
        """Lock a range, or the whole file, without waiting; return whether that succeeded."""
        try:
            if start:
                fcntl.fcntl(self._descriptor, _F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0))
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def is_in_place(self) -> bool:
        """Whether the open file is still the one of its path."""
        try:
            found = os.stat(self._path, follow_symlinks=False)
        except OSError:
            return False
        return (found.st_ino, found.st_dev) == self._identity

    def close(self) -> None:
        """Unlock and close. A forked child only closes: its parent holds the locks."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        with contextlib.suppress(OSError):  # closing unlocks too, unless a child has the file open
            if os.getpid() == self._process and _kernel_locks_ranges():
                fcntl.fcntl(descriptor, _F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
            elif os.getpid() == self._process:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def _leave_word(self, found: _Range) -> None:
        word = f'{{"range":{found[2]},"process":{self._process},"host":{_host_in_json()},"since":{time.time():.0f}}}'
        with contextlib.suppress(OSError):  # a full disk: nobody reads a word that is missing
            os.pwrite(self._descriptor, word.encode().ljust(_RECORD)[:_RECORD], self._slot(found))

    def _holder(self, found: _Range) -> str:
        """Return the process that has left its word for a range."""
        try:
            said = json.loads(os.pread(self._descriptor, _RECORD, self._slot(found)))
            if said["range"] == found[2]:
                since = dt.datetime.fromtimestamp(int(said["since"]), dt.timezone.utc).isoformat()
                return f"process {int(said['process'])} on {str(said['host'])[:100]!r}, since {since},"
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
            pass
        return "another process"

    def _slot(self, found: _Range) -> int:
        return found[2] % _SLOTS * _RECORD


@functools.cache
def _host_in_json() -> str:
    return json.dumps(socket.gethostname()[:100])


@functools.cache
def _kernel_locks_ranges() -> bool:
    """Whether the kernel locks ranges by open file; Linux does, some sandboxes that stand in for Linux do not."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return False
    probe = os.memfd_create("kart")
    try:
        fcntl.fcntl(probe, _F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _FIRST, 1, 0))
    except OSError:
        return False
    finally:
        os.close(probe)
    return True


def _forget_in_child() -> None:
    # Else a child that lives on would hold the locks of a parent that was killed.
    for file in list(_OPEN):
        file.close()
    _HELD.__dict__.clear()


os.register_at_fork(after_in_child=_forget_in_child)
