"""Rules of Airflow's triggerer that every trigger here keeps."""

from __future__ import annotations

import asyncio
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_kart.storage.workspace import Workspace
from airflow_kart.triggers.health import airflow_health, runs_in_process

_P = ParamSpec("_P")
_T = TypeVar("_T")

SHORTEST_DEFERRAL = 5.0
"""The seconds that an operator stays deferred at least, for the end of its first process to reach the scheduler."""

UNSEEN_DEFERRAL = 20.0
"""The same where nobody tells the scheduler's heartbeat."""


class WaitTrigger(BaseTrigger):
    """Waits, at the operator's request, for a reason to go on.

    Airflow fails a task instance that starts again before the scheduler has read the end of its first process
    (apache/airflow#72716, #71580), however long one round of the scheduler takes. So the trigger stays until a whole round
    has passed: three different heartbeats are the begin and the end of one.

    Args:
        until: the end of the time that the operator may take (Unix time); ``None``: no end.
    """

    def __init__(self, until: float | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        self.until = until

    @abstractmethod
    def look(self) -> dict[str, Any] | None:
        """Return the event to go on with, ``None`` where there is no reason to go on."""

    def glance(self) -> dict[str, Any] | None:
        """Look once, as an operator does that comes back later by itself."""
        return self.look()

    @abstractmethod
    def pause(self) -> float:
        """Return the seconds until the next look."""

    @abstractmethod
    def waits_for(self) -> str:
        """Return what the operator waits for, to complete "has waited for 5 s"."""

    def event(self, **said: object) -> dict[str, Any]:
        """Return an event; ``over`` says that the operator's time is over."""
        return {"failed": "", "over": "", **said}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is a reason to go on, or the operator's time is over."""
        beats: set[str] = set()
        began, inline = time.monotonic(), runs_in_process()
        while True:
            found = await in_thread(self.look)
            if found is None and self.until is not None and time.time() >= self.until:
                found = self.event(over=await in_thread(self.waits_for))
            away = time.monotonic() - began
            health = None if inline else await in_thread(airflow_health)
            if health is not None:
                beats.add(health.heartbeat)
            noticed = away >= UNSEEN_DEFERRAL if health is None else away >= SHORTEST_DEFERRAL and len(beats) > 2
            if found is not None and (inline or noticed):
                yield TriggerEvent(found)  # type: ignore[no-untyped-call]  # as above
                return
            await asyncio.sleep(self.pause() if found is None else 1)


def varied(seconds: float) -> float:
    """Return about so many seconds: of many that wait, not all look at once."""
    return seconds * random.uniform(0.75, 1.25)


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a blocking function in a thread that may ask for Airflow's connections.

    Before Airflow 3.2, a thread of asyncio may not ask: the wrong event loop reads the answer, and the triggerer dies.
    """
    return await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)


def workspace_of_trigger(given: Workspace | Mapping[str, Any]) -> Workspace:
    """Return a workspace that means the same in every process: written as JSON, its paths are absolute too."""
    return replace(given) if isinstance(given, Workspace) else Workspace(**given)
