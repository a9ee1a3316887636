"""Rules of Airflow's triggerer that every trigger here keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_kart.storage.workspace import Workspace

__all__ = ["SHORTEST_DEFERRAL", "BaseTrigger", "TriggerEvent", "in_thread", "workspace_of_trigger"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

SHORTEST_DEFERRAL = 5.0
"""The seconds that an operator stays deferred at least.

Airflow up to 3.3 fails a task instance that is queued again before the scheduler has heard of its deferral
(apache/airflow#67287, #72716). A scheduler that is not overloaded hears of a deferral within two seconds.
"""


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a blocking function in a thread that may ask for Airflow's connections.

    Before Airflow 3.2, a thread of asyncio may not ask: the wrong event loop reads the answer, and the triggerer dies.
    """
    return await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)


def workspace_of_trigger(given: Workspace | Mapping[str, Any]) -> Workspace:
    """Return a workspace that means the same in every process: written as JSON, its paths are absolute too."""
    return replace(given) if isinstance(given, Workspace) else Workspace(**given)
