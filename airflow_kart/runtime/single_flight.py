"""Single flight: one run at a time makes a task's outputs; other runs wait for these, or come back later."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_kart import settings
from airflow_kart.exceptions import LockError, LockTimeoutError
from airflow_kart.locks import Hold, Holder, Lease, Locks, LockWatch, Taken
from airflow_kart.runtime.progress import Event, Listener
from airflow_kart.runtime.session import Session
from airflow_kart.tasks.model import Task

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0  # seconds between two looks at a lock
_SAY_AGAIN = 30.0
_FAILURES_SURVIVED = 60.0
_COORDINATES = ("dag_id", "run_id", "task_id", "map_index", "try_number")

logger = logging.getLogger(__name__)


class TakenElsewhere(Exception):  # noqa: N818 - not an error: the caller comes back later
    """Another run holds the lock of a task.

    Args:
        task: the task.
        taken: the lock, and its holder.
    """

    def __init__(self, task: Task, taken: Taken) -> None:
        super().__init__(f"{task!r} is being made by {whereabouts(taken)}")
        self.task = task
        self.taken = taken


@contextmanager
def holding(task: Task, words: str, session: Session) -> Iterator[Hold]:
    """Hold the lock of a task for the block: acquire the lock, wait for its holder, or raise, as the session says.

    Args:
        task: the task.
        words: the task in words, for others.
        session: the run's circumstances.

    Raises:
        TakenElsewhere: another run holds the lock, and the session does not wait.
        LockTimeoutError: the wait took longer than ``[kart] lock_timeout``.
        LockError: the locks cannot be reached, or the workspace has none.
    """
    locks = session.locks()
    coordinates = session.coordinates
    airflow = {name: coordinates.get(name) for name in _COORDINATES} if coordinates else None
    holder = Holder(words, airflow)
    got = locks.acquire(task.unique_id, holder, session.dead.get(task.unique_id))
    if isinstance(got, Taken):
        if not session.waits:
            raise TakenElsewhere(task, got)
        got = _wait(locks, task, holder, got, session.listener)
    with Hold(got) as hold:
        yield hold


def _wait(locks: Locks, task: Task, holder: Holder, taken: Taken, listener: Listener) -> Lease:
    watch = LockWatch(locks, task.unique_id)
    limit = settings.kart_int("lock_timeout")
    began = reached = time.monotonic()
    said = -_SAY_AGAIN
    pause = _FIRST_PAUSE
    while True:
        waited = time.monotonic() - began
        if waited >= limit:
            raise LockTimeoutError(timeout_message(repr(task), waited, taken), task=repr(task))
        if waited - said >= _SAY_AGAIN:
            said = waited
            who = whereabouts(taken)
            logger.info("%r waits (%.0f s so far), as it is being made by %s", task, waited, who)
            listener.happens(Event("waits", task.unique_id, repr(task), who))
        time.sleep(min(pause * random.uniform(0.5, 1), limit - waited))
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
                logger.warning(
                    "%r takes over after %.1f s, as its run has died: %s", task, reached - began, whereabouts(taken)
                )
            else:
                logger.info("%r has its turn after %.1f s", task, reached - began)
            return got
        taken = got


def whereabouts(taken: Taken) -> str:
    """Return where the holder of a lock runs, for a message that names the task."""
    return taken.holder.whereabouts if taken.holder is not None else "another run"


def timeout_message(task: str, waited: float, taken: Taken) -> str:
    """Return the error message for a wait that took too long."""
    return (
        f"{task} has waited for {waited:.0f} s, as it is being made by {whereabouts(taken)}; look what that run is "
        "doing and stop it if it hangs, then run this again. [kart] lock_timeout says how long to wait"
    )
