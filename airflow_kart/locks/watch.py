"""What somebody who waits for a lock keeps from one look to the next."""

from __future__ import annotations

import time

from airflow_kart.locks.base import Locks, Taken

__all__ = ["LockWatch"]


class LockWatch:
    """Looks at one lock, and tells a holder that is dead from one that works.

    A holder that has to renew its lock changes its version by that. Time is what passed here between two looks, by a clock
    that nobody sets: from the end of the first that saw a version to the beginning of the last that saw it still.

    Args:
        locks: keep it.
        name: the lock's.
    """

    def __init__(self, locks: Locks, name: str) -> None:
        self.dead: Taken | None = None
        """What was seen of a dead holder's lock: to be given to ``acquire``."""
        self._locks = locks
        self._name = name
        self._seen: Taken | None = None
        self._since = 0.0

    def look(self) -> Taken | None:
        """Return who holds the lock, or ``None`` where it is free or may be taken over.

        Raises:
            LockError: it cannot be looked at. What was seen before is kept, so that one may look again later.
        """
        began = time.monotonic()
        taken = self._locks.look(self._name)
        same = taken is not None and self._seen is not None and taken.version == self._seen.version
        if not same:
            self._seen, self._since = taken, time.monotonic()
        stays = taken.time_to_live if taken is not None else None
        self.dead = taken if same and stays is not None and began - self._since >= stays else None
        return None if self.dead is not None else taken
