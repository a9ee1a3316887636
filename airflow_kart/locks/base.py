"""What a lock promises.

A lock says who may produce something, so that the same work is not done twice at once. It is held for as long as the
work takes and let go afterwards. A holder that dies lets go too: at once where the system sees to it, else when it has
not renewed its lock for the time to live. A lock is no guard of the artifacts: whoever loses it without noticing
finds out when it publishes, as it expects to replace what was there when it got the lock.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from typing_extensions import Self

__all__ = ["Holder", "Lease", "Locks", "Taken", "checked_name"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_AIRFLOW_IDS = ("dag_id", "run_id", "task_id")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, or wants to."""

    task: str
    """The task, in words."""
    airflow: Mapping[str, Any] | None = None
    """The ids of DAG, run and task, and the try, where Airflow runs it."""
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"))
    """When, by the clock of its host (ISO 8601, UTC); for people, never compared."""
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What tells it from all others."""

    def to_json(self, **more: Any) -> str:
        """Return it as text, with what a lock has to say besides, by names of its own."""
        return json.dumps({**asdict(self), **more}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        """Return the holder of a text, or ``None`` where the text is none of these, as it was cut off for example."""
        try:
            found = json.loads(text)
            return cls(**{each.name: found[each.name] for each in fields(cls)})
        except (ValueError, TypeError, LookupError):
            return None

    @property
    def whereabouts(self) -> str:
        """Where it is, for a log that has named the task."""
        return self._with_ids(f"process {self.process} on {self.host}, since {self.since}")

    def __str__(self) -> str:
        """Return who it is, for a log."""
        return self._with_ids(f"{self.task} on {self.host}, process {self.process}, since {self.since}")

    def _with_ids(self, words: str) -> str:
        if not self.airflow:
            return words
        ids = ", ".join(f"{name.removesuffix('_id')} {self.airflow[name]}" for name in _AIRFLOW_IDS if name in self.airflow)
        return f"{ids} ({words})"


@dataclass(frozen=True)
class Taken:
    """A lock that another holds, at the moment of looking."""

    holder: Holder | None
    """Who it is, as far as can be told."""
    version: str = ""
    """What changes whenever the holder renews the lock, where it has to; else empty."""
    time_to_live: float | None = None
    """After how many seconds with the same version it may be taken over; ``None``: the system frees it when the holder dies."""


class Lease(Protocol):
    """A lock that is held."""

    @property
    def holder(self) -> Holder:
        """Who holds it."""
        ...

    @property
    def time_to_live(self) -> float | None:
        """For how many seconds after a renewal nobody takes it over; ``None``: it need not be renewed."""
        ...

    def renew(self) -> None:
        """Hold it on, for its time to live from now; where it need not be renewed, look whether it is held still.

        Raises:
            LockLostError: it is held by somebody else, or was.
            LockError: what keeps the lock cannot be reached; it may go well another time.
        """
        ...

    def release(self) -> None:
        """Let it go, if it is held still.

        Raises:
            LockError: what keeps the lock cannot be reached; it is free after its time to live.
        """
        ...


class Locks(Protocol):
    """A place that keeps locks by name: a directory, a bucket, a server. Threads may share it."""

    @property
    def kind(self) -> str:
        """What kind of place it is: the word for it in the configuration."""
        ...

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:
        """Take a lock, if it is free, without waiting.

        Args:
            name: what it is for; letters, digits, dots, hyphens and underscores.
            holder: who takes it.
            dead: what was seen of the lock, unchanged for its time to live: where it still is so, it is taken over.

        Returns:
            The lock, or who holds it.

        Raises:
            LockError: what keeps the lock cannot be reached.
        """
        ...

    def look(self, name: str) -> Taken | None:
        """Return who holds a lock, or ``None`` where it is free.

        Raises:
            LockError: what keeps the lock cannot be reached.
        """
        ...


def checked_name(name: str) -> str:
    """Return the name of a lock.

    Raises:
        ValueError: it is no such name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a lock; take letters, digits, dots, hyphens and underscores, up to 200")
    return name
