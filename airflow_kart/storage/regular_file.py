"""Opening files that are no more than files, and the meaning of a disk's errors.

Whoever can write to a workspace can put a named pipe, a device or a symbolic link in the place of a file. Opening a pipe
waits for ever, and writing through a link changes a file elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NoReturn

from airflow_kart.exceptions import StorageError

_SHARING = (
    "give this user write access (several users of one workspace need a common group, folders with g+ws, and umask 002: "
    "docs/storage.md), or choose another workspace_directory"
)
_WORDS = {
    errno.ENOSPC: "no space is left there; free some, or choose another workspace_directory",
    errno.EDQUOT: "the disk quota is used up; free some, or choose another workspace_directory",
    errno.EROFS: "the file system is read-only; choose another workspace_directory",
    errno.EACCES: f"permission denied; {_SHARING}",
    errno.EPERM: f"not permitted; {_SHARING}",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EISDIR: "a directory is in the way",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter path in make_target",
    errno.ELOOP: "a symbolic link is in the way; remove the link",
    errno.ENXIO: "a socket or a device is in the way; remove it",
    errno.ENOLCK: "this file system keeps no locks; choose another workspace_directory",
    errno.EIO: "the disk failed (input/output error); look at the machine's log",
}

_OF_TEMPORARY_FILES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class NotRegularError(OSError):
    """Something else is in the place of a file."""


def open_for_reading(path: str) -> tuple[int, os.stat_result]:
    """Open an existing file, through symbolic links too; return the descriptor and the facts of the file.

    Raises:
        NotRegularError: the path leads to a pipe, a device or a socket.
        OSError: the file cannot be opened.
    """
    return _regular(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def open_lock_file(path: str, *, create: bool = True) -> tuple[int, os.stat_result]:
    """Open a file for locking, reading and writing; return the descriptor and the facts of the file. The content stays.

    Args:
        path: of the file.
        create: whether to create a missing file, with its folder; otherwise the file is opened for reading alone.

    Raises:
        NotRegularError: the path is a pipe or a device, or the file has other names besides.
        OSError: the file cannot be opened; for example, the path is a symbolic link.
    """
    flags = (os.O_RDWR | os.O_CREAT if create else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        if not create:
            raise
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    return _regular(descriptor, names=1)


def _regular(descriptor: int, names: int | None = None) -> tuple[int, os.stat_result]:
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise NotRegularError(errno.EINVAL, f"{_kind(found.st_mode)} is in the way; remove it")
        if names is not None and found.st_nlink > names:
            raise NotRegularError(errno.EINVAL, "the file has another name elsewhere (a hard link); remove this one")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found


def _kind(mode: int) -> str:
    return "a named pipe" if stat.S_ISFIFO(mode) else "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a socket"


def explained(error: OSError) -> str:
    """Return an error of a disk in words, with the remedy where there is one."""
    return _WORDS.get(error.errno or 0) or error.strerror or str(error)


def refused_temporary_files(action: str, uri: str, error: OSError) -> None:
    """Raise the error of a store where the directory for temporary files refuses, as some formats need temporary files.

    Raises:
        StorageError: the directory is full, read-only or missing. Of all other errors, the caller decides.
    """
    if error.errno in _OF_TEMPORARY_FILES or "No usable temporary directory" in str(error):
        folder = error.filename or os.environ.get("TMPDIR") or "the usual directory"
        raise StorageError(
            f"could not {action} {uri}: a temporary file could not be written ({error.strerror or error}: {folder}); free some "
            "space there, or set TMPDIR to another directory",
            uri=uri,
        ) from error


def refused(action: str, uri: str, error: OSError) -> NoReturn:
    """Raise the error of a store in place of a disk's.

    Raises:
        StorageError: always.
    """
    raise StorageError(f"could not {action} {uri}: {explained(error)}", uri=uri) from error
