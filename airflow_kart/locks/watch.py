"""The memory of a run that waits for a lock, from one look to the next."""

from __future__ import annotations

import time

from airflow_kart.locks.base import Locks, Taken


class LockWatch:
    """Watches one lock, and tells a dead holder from one that works.

    Each renewal changes the version of the lock. The age of a version is the time between two looks of this process, by a
    clock that nobody sets: from the end of the first look that saw the version to the beginning of the latest one.

    Args:
        locks: keep the lock.
        name: of the lock.
    """

    def __init__(self, locks: Locks, name: str) -> None:
        self.dead: Taken | None = None
        """The lock of a dead holder, as the argument ``dead`` of ``acquire``."""
        self._locks = locks
        self._name = name
        self._seen: Taken | None = None
        self._since = 0.0

    def look(self) -> Taken | None:
        """Return the holder of the lock, ``None`` where the lock is free or may be taken over.

        Raises:
            LockError: the place of the locks cannot be reached. The watch remembers earlier looks; look again later.
        """
        began = time.monotonic()
        taken = self._locks.look(self._name)
        same = taken is not None and self._seen is not None and taken.version == self._seen.version
        if not same:
            self._seen, self._since = taken, time.monotonic()
        stays = taken.time_to_live if taken is not None else None
        self.dead = taken if same and stays is not None and began - self._since >= stays else None
        return None if self.dead is not None else taken
