"""Turns at publishing files: one writer of a file at a time, in all processes.

Each folder has one lock file among its uploads. A writer locks the place of the name of its own file, so that a writer that
stops half way holds up only the writers of the same file; on kernels that lock whole files only, those of the folder.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from weakref import WeakValueDictionary

from airflow_kart.exceptions import StorageError
from airflow_kart.storage.base import UPLOADS
from airflow_kart.storage.lock_file import LockFile, place_of
from airflow_kart.storage.regular_file import refused

_LOCK = "publishing.lock"
_PATIENCE = 120.0  # seconds; a turn takes a few renames
_SAY_AFTER = 5.0
_SAY_AGAIN = 30.0
_LONGEST_PAUSE = 0.1
_TRIES = 20

_MOST_IDLE = 16

_IDLE: dict[str, LockFile] = {}  # by path, open and unlocked, for the next turns
_INSIDE = contextlib.nullcontext()

_host = functools.cache(lambda: os.uname().nodename)
log = logging.getLogger(__name__)

_Range = tuple[int, int, int]
"""Inode and device of a lock file, and the place in the file: one order for all writers, whichever way a path is written."""


class _Held(threading.local):
    """The ranges and paths of this thread, since a second lock of its own would wait for the first.

    Each with the file that has it locked: of a turn that an interrupt has ended anywhere, the file is closed or gone.
    """

    def __init__(self) -> None:
        self.ranges: WeakValueDictionary[_Range, LockFile] = WeakValueDictionary()
        self.paths: WeakValueDictionary[str, LockFile] = WeakValueDictionary()


_HELD = _Held()


def turn_at(paths: Iterable[str]) -> contextlib.AbstractContextManager[None]:
    """Exclude all other writers of some files for the block, which begins at once. A turn inside one's own turn does not wait.

    Raises:
        StorageError: another writer does not end its turn, or a folder cannot be written to.
    """
    wanted, known = list(paths), _HELD.paths
    inside = all((file := known.get(path)) is not None and not file.closed for path in wanted)
    return _INSIDE if inside else _turn_at(wanted)


@contextlib.contextmanager
def _turn_at(wanted: list[str]) -> Iterator[None]:
    ranges, known = _HELD.ranges, _HELD.paths
    for _ in range(_TRIES):
        files: dict[str, LockFile] = {}  # by folder
        try:
            taken = _take(wanted, ranges, files)
            if taken is None:
                continue  # somebody has removed a lock file between opening and locking
            new_ranges = {found: file for found, file in taken.values() if ranges.get(found) is not file}
            new_paths = {path: file for path, (_, file) in taken.items() if known.get(path) is not file}
            ranges.update(new_ranges)
            known.update(new_paths)
            try:
                yield
                return
            finally:
                for found in new_ranges:
                    ranges.pop(found, None)
                for path in new_paths:
                    known.pop(path, None)
                _keep_open(files)
        finally:
            for file in files.values():
                file.close()
    raise StorageError("could not lock a folder for publishing: somebody keeps removing its lock file; run the task again")


def remove_empty(folder: str) -> bool:
    """Remove a folder without any file but the lock file of its turns; return whether that succeeded.

    The folder stays where a writer has begun an upload, or has a turn: then somebody is about to publish a file there.
    """
    hidden = os.path.join(folder, UPLOADS)
    lock = os.path.join(hidden, _LOCK)
    with contextlib.suppress(OSError):
        if os.listdir(folder) == [UPLOADS] and not set(os.listdir(hidden)) - {_LOCK}:
            _IDLE.pop(lock, None)  # which NFS would keep under another name
            with contextlib.closing(LockFile(lock)) as file:
                if not (file.lock_all() and file.is_in_place()):
                    return False
                os.unlink(lock)  # who has opened the file meanwhile notices that it is no longer in its place
                os.rmdir(hidden)
        os.rmdir(folder)
        return True
    return False


def _take(
    paths: list[str], held: Mapping[_Range, LockFile], files: dict[str, LockFile]
) -> dict[str, tuple[_Range, LockFile]] | None:
    """Lock the ranges of files, in order; ``None`` where a lock file is no longer the one of its folder.

    Args:
        paths: of the files.
        held: the ranges that this thread has locked already.
        files: takes the lock files, by folder.

    Returns:
        The range of each path, with the file that has it locked.
    """
    taken: dict[str, tuple[_Range, LockFile]] = {}
    wanted: dict[_Range, tuple[LockFile, str]] = {}
    lock = ""
    try:
        for path in paths:
            folder, slash, name = path.rpartition("/")
            if folder not in files:
                lock = f"{folder}{slash}{UPLOADS}/{_LOCK}"
                idle = _IDLE.pop(lock, None)
                files[folder] = LockFile(lock) if idle is None or idle.closed else idle
            found = (*files[folder].identity, _place(name))
            own = held.get(found)
            if own is None or own.closed:
                own = files[folder]
                wanted[found] = own, path
            taken[path] = found, own
        for found in sorted(wanted):
            file, path = wanted[found]
            lock = file.path
            _wait_for(file, found[2], path)
        return taken if all(file.is_in_place() for file in files.values()) else None
    except FileNotFoundError:
        return None  # somebody has removed the empty folder meanwhile
    except OSError as error:
        refused("lock", lock, error)


def _keep_open(files: dict[str, LockFile]) -> None:
    """Free the ranges; keep a lock file of each folder open for the next turn there, and leave the others to be closed."""
    if len(_IDLE) >= _MOST_IDLE:
        _IDLE.clear()
    for folder, file in list(files.items()):
        if file.closed:
            continue  # the parent's, in a forked child
        with contextlib.suppress(OSError):
            file.unlock_all()
            if _IDLE.setdefault(file.path, file) is file:
                del files[folder]


def _place(name: str) -> int:
    """Return the place of a file's name: one for an artifact and its sidecar, which differ behind the first dot."""
    return place_of(name[:1] + name[1:].partition(".")[0])


def _wait_for(file: LockFile, place: int, path: str) -> None:
    """Lock a place, and leave word about this process in the lock file.

    Raises:
        StorageError: another writer of the same file does not end its turn.
    """
    began = time.monotonic()
    say, pause = _SAY_AFTER, 0.0005
    while not file.lock(place):
        waited = time.monotonic() - began
        if waited > _PATIENCE:
            raise StorageError(
                f"could not publish {path}: {_holder(file, place)} has kept its turn there for {waited:.0f} s; if that "
                "process is stopped, continue or kill it, then run the task again",
                uri=path,
            )
        if waited > say:
            say = waited + _SAY_AGAIN
            log.warning("waiting to publish %s: %s is at it (%.0f s so far)", path, _holder(file, place), waited)
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    with contextlib.suppress(OSError):  # a full disk: nobody reads a word that is missing
        file.write(place, f"{os.getpid()} {time.time():.0f} {_host()}")


def _holder(file: LockFile, place: int) -> str:
    """Return the process that has left its word for a place."""
    try:
        process, moment, host = (file.look(place) or b"").decode().split(" ", 2)
        since = dt.datetime.fromtimestamp(int(moment), dt.timezone.utc).isoformat()
        return f"process {int(process)} on {host[:100]!r}, since {since},"
    except (OSError, ValueError, OverflowError):
        return "another process"


def _forget_in_child() -> None:
    _HELD.ranges.clear()  # of the thread that forked
    _HELD.paths.clear()


os.register_at_fork(after_in_child=_forget_in_child)
