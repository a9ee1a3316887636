"""Skips of thousands of tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from airflow.providers.common.compat.sdk import DownstreamTasksSkipped

_MOST_AT_ONCE = 100
"""Tasks per request. Airflow makes one condition per task, which PostgreSQL nests: the time grows with the square of their
number (a hundred take 0.1 ms each, a thousand 0.9 ms each), and some ten thousand are an error."""


def skip_in_bulk(task_ids: Sequence[str]) -> NoReturn:
    """End the running task well, and skip other tasks of its DAG run, whether direct downstream tasks or not.

    Args:
        task_ids: Airflow task ids; at least one.

    Raises:
        DownstreamTasksSkipped: always; this is how Airflow learns of the last tasks.
    """
    *others, last = (task_ids[start : start + _MOST_AT_ONCE] for start in range(0, len(task_ids), _MOST_AT_ONCE))
    if others:
        # Airflow's exception sends one request for all tasks. Both modules are private to Airflow, and the same from 3.1 on.
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        for some in others:
            SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=list(some)))
    raise DownstreamTasksSkipped(tasks=list(last))  # type: ignore[no-untyped-call]  # Airflow's is not annotated
