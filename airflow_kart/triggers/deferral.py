"""What Airflow's triggerer asks of all triggers here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from airflow_kart.storage.workspace import Workspace

__all__ = ["SHORTEST_DEFERRAL", "in_thread", "workspace_of_trigger"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

SHORTEST_DEFERRAL = 5.0
"""For how many seconds at least an operator is to stay deferred.

Airflow up to 3.3 marks a task as failed that is queued again before the scheduler has heard that its process ended by
deferring (apache/airflow#67287, #72716). A scheduler that is not overloaded hears of it within a second or two.
"""


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call what blocks in a thread that may ask for Airflow's connections.

    In the threads of asyncio it may not, before Airflow 3.2: the answer is read by the wrong event loop, and the whole
    triggerer dies of it.
    """
    return await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)


def workspace_of_trigger(given: Workspace | Mapping[str, Any]) -> Workspace:
    """Return a workspace that other processes understand as this one does: its paths are absolute when written, too."""
    return replace(given) if isinstance(given, Workspace) else Workspace(**given)
