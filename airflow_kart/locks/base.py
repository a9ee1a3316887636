"""The promises of a lock.

A lock names the one run that may make an artifact, so that two runs do not do the same work at once. The run holds the lock
while it works and releases it afterwards. The death of a holder frees its lock too: at once where the system notices, else
when the holder has not renewed the lock for the time to live. A lock does not guard the artifact: a run that loses its
lock unnoticed finds out when it publishes, because it replaces only the version that was there when it acquired the lock.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from typing_extensions import Self

LONGEST_TEXT = 64 << 10
"""Bytes of a lock's text. Longer text describes no lock."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_LONGEST_TASK = 2000
_LONGEST_WORDS = 1000
_AIRFLOW_IDS = ("dag_id", "run_id", "task_id")


@dataclass(frozen=True)
class Holder:
    """The run that holds a lock, or wants the lock."""

    task: str
    """The task, in words."""
    airflow: Mapping[str, object] | None = None
    """The ids of DAG, run and task, and the number of the try, for a run in Airflow."""
    host: str = field(default_factory=functools.cache(lambda: os.uname().nodename))
    process: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"))
    """The time by the clock of the host (ISO 8601, UTC); for people, no program compares it."""
    owner: str = field(default_factory=lambda: os.urandom(16).hex())
    """Different for each holder."""

    def to_json(self, **more: object) -> str:
        """Return the holder as JSON text in ASCII, with further fields of the lock. The end of a long task is cut off."""
        return json.dumps({**vars(self), "task": self.task[:_LONGEST_TASK], **more})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        """Return the holder that a text describes, or ``None`` for other text, for example text that was cut off."""
        said = fields_of(text)
        words = {name: said.get(name) for name in ("task", "host", "since", "owner")}
        process, airflow = said.get("process"), said.get("airflow")
        if not isinstance(process, int) or not all(isinstance(word, str) for word in words.values()):
            return None
        ids = {str(name): value for name, value in airflow.items()} if isinstance(airflow, dict) else None
        return cls(process=process, airflow=ids, **{name: str(word) for name, word in words.items()})

    @property
    def whereabouts(self) -> str:
        """DAG, run, task, process and host, for a log that has named the task."""
        return self._with_ids(f"process {self.process} on {self.host}, since {self.since}")

    def __str__(self) -> str:
        """Return the task and the whereabouts, for a log."""
        return self._with_ids(f"{self.task} on {self.host}, process {self.process}, since {self.since}")

    def _with_ids(self, words: str) -> str:
        if self.airflow:
            ids = ", ".join(
                f"{name.removesuffix('_id')} {self.airflow[name]}" for name in _AIRFLOW_IDS if name in self.airflow
            )
            words = f"{ids} ({words})"
        return _CONTROL.sub("?", words)[:_LONGEST_WORDS]  # others may have written the text, and people read it in logs


class Taken(NamedTuple):
    """A lock that another run holds, at the moment of looking."""

    holder: Holder | None
    """The other run, ``None`` where the lock does not tell."""
    version: str = ""
    """Changes with each renewal by the holder; empty for a lock that needs no renewal."""
    time_to_live: float | None = None
    """Seconds with the same version after which others may take the lock over; ``None``: the system frees a dead holder's lock."""
    renewed: float | None = None
    """The time of the latest renewal by the clock of the holder's host (Unix time), where the lock tells."""

    @property
    def silent(self) -> bool:
        """Whether the holder may be dead, to judge by two clocks: then look for a renewal. Nobody takes over because of it."""
        late = self.renewed is None or self.time_to_live is None or abs(time.time() - self.renewed) > self.time_to_live / 2
        return self.time_to_live is not None and late


class Lease(Protocol):
    """A lock that this process holds."""

    @property
    def holder(self) -> Holder:
        """This run."""
        ...

    @property
    def time_to_live(self) -> float | None:
        """Seconds after a renewal in which nobody takes the lock over; ``None``: the lock needs no renewal."""
        ...

    def renew(self) -> None:
        """Extend the lock by its time to live from now; a lock that needs no renewal only checks that it still exists.

        Raises:
            LockLostError: another run holds the lock, or held it meanwhile.
            LockError: the place of the locks cannot be reached; a later try may succeed.
        """
        ...

    def release(self) -> None:
        """Free the lock; a lost lock stays as it is.

        Raises:
            LockError: the place of the locks cannot be reached; the lock is free after its time to live.
        """
        ...


class Locks(Protocol):
    """A place that keeps locks by name: a directory, a bucket, a server. Threads may share it."""

    @property
    def kind(self) -> str:
        """The kind of place, as ``[kart] lock`` names it."""
        ...

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:
        """Acquire a free lock, without waiting.

        Args:
            name: letters, digits, dots, hyphens and underscores.
            holder: the run that acquires the lock.
            dead: the lock as a :class:`LockWatch` has seen it, unchanged for its time to live. If the lock is still
                unchanged, the run takes it over.

        Returns:
            The lock, or its other holder.

        Raises:
            LockError: the place of the locks cannot be reached.
        """
        ...

    def look(self, name: str) -> Taken | None:
        """Return the holder of a lock, ``None`` for a free lock.

        Raises:
            LockError: the place of the locks cannot be reached.
        """
        ...


def fields_of(text: str | bytes) -> dict[str, object]:
    """Return the fields of a lock's text; other text has none."""
    if len(text) > LONGEST_TEXT:
        return {}
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def checked_name(name: str) -> str:
    """Return the name of a lock unchanged.

    Raises:
        ValueError: a lock cannot have this name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a lock; use letters, digits, dots, hyphens and underscores, up to 200")
    return name
