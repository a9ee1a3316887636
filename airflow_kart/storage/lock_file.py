"""Lock files: one file keeps the locks of many names, and the words of their holders.

A name locks a few bytes far behind the end of the file. Linux locks bytes by opening of the file (``F_OFD_SETLK``); on other
kernels a name locks the whole file (``flock``). The kernel frees the locks of a process that ends, in any way.

An opening writes its words to a slot of its own, which one more locked byte claims. The number of a name's locked bytes tells
others the slot.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import struct
import sys
import weakref

from airflow_kart.storage.regular_file import open_lock_file

_F_OFD_GETLK, _F_OFD_SETLK = 36, 37
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64 bits: type, whence, start, length, process
_SLOTS = 1 << 10  # the last one is for all whose claim finds no other
_SLOT = 4096  # longer words run on into the next slots
_LONGEST = 64 << 10
_FIRST = 1 << 24  # places begin behind the words
_OPEN: weakref.WeakSet[LockFile] = weakref.WeakSet()  # for forks


class LockFile:
    """An open lock file. Each opening is a holder of its own, also in the same process.

    The arguments are those of ``open_lock_file``. Each method raises the disk's errors.
    """

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.path = path
        self._descriptor = -1
        self._slot: int | None = None
        _OPEN.add(self)
        self._descriptor, found = open_lock_file(path, create=create)
        self.identity = found.st_ino, found.st_dev

    @property
    def closed(self) -> bool:
        """Whether the file is closed; in a forked child, all lock files of the parent are."""
        return self._descriptor < 0

    def lock(self, place: int) -> bool:
        """Lock a place without waiting; return whether that succeeded."""
        if self._slot is None:
            claims = (slot for slot in range(_SLOTS - 1) if self._locked(1 + slot, 1))
            self._slot = next(claims, _SLOTS - 1) if place else 0
        return self._locked(place, 1 + self._slot)

    def lock_all(self) -> bool:
        """Lock all places without waiting; return whether that succeeded."""
        return self._locked(int(_kernel_locks_ranges()), 0)

    def _locked(self, place: int, length: int) -> bool:
        try:
            self._set(fcntl.F_WRLCK, place, length)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(self, place: int) -> None:
        """Free a place; the file stays open."""
        self._set(fcntl.F_UNLCK, place, _SLOTS)

    def unlock_all(self) -> None:
        """Free all places, and the slot of the words; the file stays open."""
        self._slot = None
        self._set(fcntl.F_UNLCK, int(_kernel_locks_ranges()), 0)

    def look(self, place: int) -> bytes | None:
        """Return the words of the other opening that has locked a place, as far as they can be read; ``None``: it is free."""
        slot = 0
        if place:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
            kind, _, _, length, _ = _FLOCK.unpack(fcntl.fcntl(self._descriptor, _F_OFD_GETLK, asked))
            if kind == fcntl.F_UNLCK:
                return None
            slot = (length - 1) % _SLOTS
        else:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # keeps everybody out for a moment
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                return None
        line, end, _ = os.pread(self._descriptor, _LONGEST, slot * _SLOT).partition(b"\n")
        mine = b"%d " % place
        return line[len(mine) :] if end and line.startswith(mine) else b""

    def write(self, place: int, words: str) -> None:
        """Leave words for others that find a place locked: one line."""
        os.pwrite(self._descriptor, f"{place} {words}\n".encode(errors="replace"), (self._slot or 0) * _SLOT)

    def is_in_place(self) -> bool:
        """Whether the open file is still the one of its path."""
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):  # the second: NFS, and another host has removed the file
                return False
            raise
        return (found.st_ino, found.st_dev) == self.identity

    def close(self, *, unlocks: bool = True) -> None:
        """Unlock all places and close. A forked child only closes: its parent holds the locks."""
        if self.closed:
            return
        with contextlib.suppress(OSError):  # closing unlocks too, unless a child has the file open
            if unlocks:
                self.unlock_all()
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def _set(self, kind: int, place: int, length: int) -> None:
        if place:
            fcntl.fcntl(self._descriptor, _F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, length, 0))
        else:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __del__(self) -> None:
        """Close a file that nobody closed."""
        try:  # noqa: SIM105 - contextlib may be gone by now, as Python ends
            self.close()
        except (AttributeError, TypeError):
            pass


def place_of(name: str) -> int:
    """Return the place of a name in a lock file; 0, the whole file, where the kernel locks no ranges."""
    if not _kernel_locks_ranges():
        return 0
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return _FIRST + int.from_bytes(digest, "big") % ((1 << 63) // _SLOTS - _FIRST) * _SLOTS


@functools.cache
def _kernel_locks_ranges() -> bool:
    """Whether the kernel locks ranges by open file; Linux does, some sandboxes that stand in for Linux do not."""
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return False
    with os.fdopen(os.memfd_create("kart"), "wb") as probe, contextlib.suppress(OSError):
        fcntl.fcntl(probe, _F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _FIRST, 1, 0))
        return True
    return False


def _forget_in_child() -> None:
    # Else a child that lives on would hold the locks of a parent that was killed.
    for file in list(_OPEN):
        file.close(unlocks=False)


os.register_at_fork(after_in_child=_forget_in_child)
