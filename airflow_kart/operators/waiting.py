"""Three ways to wait: in the triggerer, by starting again from time to time, or in the operator's process."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_kart import settings
from airflow_kart.exceptions import LockTimeoutError
from airflow_kart.runtime.progress import Event
from airflow_kart.triggers.deferral import WaitTrigger, varied
from airflow_kart.triggers.health import airflow_health, runs_in_process
from airflow_kart.triggers.lock import LockTrigger

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException

Way = Literal["defer", "reschedule", "block"]

_WAYS = ("auto", "defer", "reschedule", "block")
_CROWD = 20
_SHORTEST_ABSENCE = 30.0
"""Seconds until a rescheduled operator starts again. Airflow fails it where one round of the scheduler takes longer."""
_LONGEST_ABSENCE = 300.0
_SECONDS_PER_WAITER = 1.5
"""That a rescheduled operator stays away for each one of its DAG that does so: each start costs a processor a second or two, and
operators that have not begun need slots too."""
_GRACE_SECONDS = 60.0  # for the trigger's own error, which names the lock holder


def blocks() -> bool:
    """Whether an operator waits for a lock in its process.

    Raises:
        ConfigurationError: ``[kart] lock_wait`` names no way.
    """
    return settings.kart_choice("lock_wait", _WAYS) == "block"


def way_to_wait(ti: Any) -> Way:
    """Return how an operator waits, as ``[kart] lock_wait`` says.

    ``auto`` means ``defer`` where a triggerer runs. Where nobody tells, ``auto`` means ``reschedule`` for an operator that finds
    20 task instances of its DAG deferred: a deferred operator of a crowd may come back too early for Airflow.
    """
    asked = settings.kart_choice("lock_wait", _WAYS)
    if runs_in_process():  # without a scheduler nobody starts an operator again
        return "block" if asked == "block" else "defer"
    if asked != "auto":
        return cast("Way", asked)
    health = airflow_health()
    if health is not None:
        return "defer" if health.triggerer else "reschedule"
    return "reschedule" if ti.get_ti_count(dag_id=ti.dag_id, states=["deferred"]) >= _CROWD else "defer"


@dataclass(frozen=True)
class Waits:
    """Since when an operator has been at its task, in all its processes (Unix times)."""

    began: float
    since: float | None = None
    """The start of the wait for another run; ``None`` without a wait."""

    @classmethod
    def of_first_process(cls, context: Mapping[str, Any]) -> Waits:
        """Return the times of an operator that starts, or that was rescheduled."""
        first = context["ti"].get_first_reschedule_date(context) if context.get("task_reschedule_count") else None
        return cls(time.time()) if first is None else cls(first.timestamp(), first.timestamp())

    def end_of(self, *limits: dt.timedelta | None) -> float | None:
        """Return when the first of some limits ends (Unix time); ``None`` without a limit."""
        return min((self.began + limit.total_seconds() for limit in limits if limit is not None), default=None)


class Blocked:
    """Remembers, for an operator that waits in its process, the run for which it waits at the moment; and tasks that failed."""

    def __init__(self) -> None:
        self.words = ""
        self.failed: list[str] = []
        """The unique ids, in order: a task that ``run()`` asks for comes before its asker."""

    def happens(self, event: Event) -> None:
        """Take an event of a task."""
        self.words = f"as {event.task} is being made by {event.words}" if event.kind == "waits" else ""
        self.failed += [event.unique_id] if event.kind == "failed" else []


def wait(operator: Any, trigger: WaitTrigger, ti: Any, method_name: str, waits: Waits) -> Mapping[str, Any]:
    """Leave the process of the operator until there is a reason to go on, or return the reason.

    Raises:
        TaskDeferred: a trigger looks on.
        AirflowRescheduleException: the operator starts again to look.
        AirflowTaskTimeout: the operator's time is over.
    """
    way = way_to_wait(ti)
    last = trigger.since + settings.kart_int("lock_timeout") if isinstance(trigger, LockTrigger) else None
    check_time(operator.task_id, waits, trigger.until, trigger.waits_for())
    if way == "reschedule":
        if (event := trigger.glance()) is not None:
            return event
        now = time.time()
        crowd = ti.get_ti_count(dag_id=ti.dag_id, states=["up_for_reschedule"]) * _SECONDS_PER_WAITER
        patience = min((now - waits.began) / 4, _LONGEST_ABSENCE)
        absence = varied(max(_SHORTEST_ABSENCE, trigger.pause(), patience, crowd))
        ends = [end - now for end in (trigger.until, last) if end is not None]
        raise AirflowRescheduleException(  # type: ignore[no-untyped-call]  # Airflow's is not annotated
            dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=max(1.0, min([absence, *ends])))
        )
    if way == "block":
        while (event := trigger.look()) is None:
            check_time(operator.task_id, waits, trigger.until, trigger.waits_for())
            time.sleep(trigger.pause())
        return event
    ends = [end - time.time() + _GRACE_SECONDS for end in (trigger.until, last) if end is not None]
    operator.defer(
        trigger=trigger,
        method_name=method_name,
        kwargs={"began": waits.began},
        timeout=dt.timedelta(seconds=min(ends)) if ends else None,
    )
    raise AssertionError  # defer() has raised


def check_event(task_id: str, event: Mapping[str, Any], waits: Waits) -> None:
    """Raise the error that an event tells.

    Raises:
        LockTimeoutError: the wait for the lock holder took too long.
        AirflowTaskTimeout: the operator's time is over.
    """
    if event.get("failed"):
        raise LockTimeoutError(event["failed"])
    if event.get("over"):
        check_time(task_id, waits, 0.0, event["over"])


def check_time(task_id: str, waits: Waits, until: float | None, words: str) -> None:
    """Raise where an operator's time is over.

    Raises:
        AirflowTaskTimeout: it is.
    """
    if until is not None and time.time() >= until:
        raise AirflowTaskTimeout(time_is_over(task_id, waits, words))


def time_is_over(task_id: str, waits: Waits, words: str) -> str:
    """Return the message of the error for an operator whose time ended while it waited."""
    return (
        f"{task_id} began {time.time() - waits.began:.0f} s ago and waits, {words}: longer than its execution_timeout, or the "
        "external task's timeout, allows. See what the other side does, or allow more time; a retry waits anew"
    )
