"""No locks: for a workspace that one process uses, and for stores that cannot keep locks."""

from __future__ import annotations

from airflow_kart.locks.base import Holder, Lease, Taken, checked_name


class NoLocks:
    """Locks that exclude nobody."""

    kind = "none"

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:  # noqa: ARG002 - the protocol's
        """Return a lock at once."""
        checked_name(name)
        return _NoLease(holder)

    def look(self, name: str) -> Taken | None:
        """Return ``None``: the lock is always free."""
        checked_name(name)
        return None


class _NoLease:
    """A lock that cannot be lost."""

    time_to_live = None

    def __init__(self, holder: Holder) -> None:
        self.holder = holder

    def renew(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""
