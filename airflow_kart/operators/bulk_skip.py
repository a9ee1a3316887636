"""Skips of thousands of tasks at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any, NoReturn

from airflow.providers.common.compat.sdk import DownstreamTasksSkipped

_MOST_AT_ONCE = 100
"""Tasks per request. Airflow makes one condition per task, which PostgreSQL nests: the time grows with the square of their
number (a hundred take 0.1 ms each, a thousand 0.9 ms each), and some ten thousand are an error."""


def skip_in_bulk(task_ids: Collection[str], operators: Mapping[str, Any]) -> NoReturn:
    """End the running task well, and skip other tasks of its DAG run, whether direct downstream tasks or not.

    Args:
        task_ids: Airflow task ids; at least one.
        operators: all operators of the DAG, by task id.

    Raises:
        DownstreamTasksSkipped: always; this is how Airflow learns of the last tasks.
    """
    *others, last = requests_of(task_ids, operators)
    if others:
        # Airflow's exception sends one request for all tasks. Both modules are private to Airflow, and the same from 3.1 on.
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        for some in others:
            SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=list(some)))
    raise DownstreamTasksSkipped(tasks=list(last))  # type: ignore[no-untyped-call]  # Airflow's is not annotated


def requests_of(task_ids: Collection[str], operators: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """Return the tasks request by request, each after everything downstream of it.

    The scheduler works between two requests, and starts a task once all upstream of it is skipped: such a task has to be
    skipped before.
    """
    skipped = set(task_ids)
    upstream_first = TopologicalSorter({one: each.upstream_task_ids for one, each in operators.items()}).static_order()
    downstream_first = [one for one in upstream_first if one in skipped][::-1]
    return [downstream_first[start : start + _MOST_AT_ONCE] for start in range(0, len(downstream_first), _MOST_AT_ONCE)]
