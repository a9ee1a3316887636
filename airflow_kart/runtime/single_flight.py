"""Whose turn it is: one run at a time makes a task's outputs, and the others wait for them, or come back later."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from airflow_kart import settings
from airflow_kart.exceptions import LockError, LockTimeoutError
from airflow_kart.locks import Hold, Holder, Lease, Locks, LockWatch, Taken, locks_for
from airflow_kart.runtime.progress import SILENT, Event, Watcher
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["IN_TURN", "TakenElsewhere", "Turns", "timeout_message"]

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0  # seconds between two looks at a lock
_SAY_AGAIN = 30.0
_FAILURES_SURVIVED = 60.0
_COORDINATES = ("dag_id", "run_id", "task_id", "map_index", "try_number")

logger = logging.getLogger(__name__)


class TakenElsewhere(Exception):  # noqa: N818 - not an error: who asked not to wait comes back later
    """Another run is making a task.

    Args:
        task: the task.
        taken: what is known of the other run.
    """

    def __init__(self, task: TaskOnKart[Any], taken: Taken) -> None:
        super().__init__(f"{task!r} is being made by {_who(taken)}")
        self.task = task
        self.taken = taken


@dataclass(frozen=True)
class Turns:
    """How a run gets its turn at the tasks that it wants to make.

    Args:
        wait: whether to wait where another run is making one; otherwise :class:`TakenElsewhere` is raised.
        dead: by unique id, the locks of other runs that were seen to be dead.
    """

    wait: bool = True
    dead: Mapping[str, Taken] = field(default_factory=dict)

    @contextmanager
    def at(self, task: TaskOnKart[Any], coordinates: Mapping[str, Any] | None, watcher: Watcher = SILENT) -> Iterator[Hold]:
        """Hold a task's lock for the block.

        Args:
            task: the task.
            coordinates: where in Airflow this happens.
            watcher: is told when it is waited for.

        Raises:
            TakenElsewhere: another run is making it, and there is to be no waiting.
            LockTimeoutError: it was waited for too long.
            LockError: what keeps the locks cannot be reached, or keeps none.
        """
        locks = locks_for(Workspace.current())
        airflow = {name: coordinates.get(name) for name in _COORDINATES} if coordinates else None
        holder = Holder(repr(task), airflow)
        got = locks.acquire(task.unique_id, holder, self.dead.get(task.unique_id))
        if isinstance(got, Taken):
            if not self.wait:
                raise TakenElsewhere(task, got)
            got = _wait(locks, task, holder, got, watcher)
        with Hold(got) as hold:
            yield hold


IN_TURN: Final = Turns()
"""Waits."""


def _wait(locks: Locks, task: TaskOnKart[Any], holder: Holder, taken: Taken, watcher: Watcher) -> Lease:
    watch = LockWatch(locks, task.unique_id)
    limit = settings.kart_int("lock_timeout")
    began = reached = time.monotonic()
    said = -_SAY_AGAIN
    pause = _FIRST_PAUSE
    while True:
        waited = time.monotonic() - began
        if waited > limit:
            raise LockTimeoutError(timeout_message(repr(task), waited, taken))
        if waited - said >= _SAY_AGAIN:
            said = waited
            who = _who(taken)
            logger.info("%r waits (%.0f s so far), as it is being made by %s", task, waited, who)
            watcher.happens(Event("waits", task.unique_id, repr(task), who))
        time.sleep(min(pause, limit) * random.uniform(0.5, 1))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
        try:
            found = watch.look()
            got = locks.acquire(task.unique_id, holder, watch.dead) if found is None else found
        except LockError as error:
            if time.monotonic() - reached > _FAILURES_SURVIVED:
                raise
            logger.warning("%r waits for its turn, and cannot look whose it is: %s", task, error)
            continue
        reached = time.monotonic()
        if not isinstance(got, Taken):
            if watch.dead is not None:
                logger.warning("%r takes over after %.1f s, as its run has died: %s", task, reached - began, _who(taken))
            else:
                logger.info("%r has its turn after %.1f s", task, reached - began)
            return got
        taken = got


def _who(taken: Taken) -> str:
    return taken.holder.whereabouts if taken.holder is not None else "another run"


def timeout_message(task: str, waited: float, taken: Taken) -> str:
    """Return what to tell of a task that was waited for too long."""
    return (
        f"{task} has waited for {waited:.0f} s, as it is being made by {_who(taken)}; look what that run is "
        "doing and stop it if it hangs, then run this again. [kart] lock_timeout says how long to wait"
    )
