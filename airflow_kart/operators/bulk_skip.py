"""Skips of thousands of tasks at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

_MOST_AT_ONCE = 400
"""Tasks per request. A request costs Airflow's API some 30 ms, and each task in it a condition, which PostgreSQL nests: of ten
thousand, a task takes 0.08 ms in requests of a hundred, 0.17 ms of five hundred and 0.6 ms of two thousand, and one request for
all is an error. Few requests matter, as a scheduler that looks while some are skipped compares each other task with each of
them, twice: half of ten thousand cost it 40 seconds."""


def skip_in_bulk(task_ids: Collection[str], operators: Mapping[str, Any]) -> None:
    """Skip other tasks of the DAG run of the running task, whether direct downstream tasks or not.

    Airflow's ``DownstreamTasksSkipped`` sends one request for all tasks, and ends the running task.

    Args:
        task_ids: Airflow task ids.
        operators: all operators of the DAG, by task id.
    """
    # Both modules are private to Airflow, and the same from 3.1 on.
    from airflow.sdk.execution_time.comms import SkipDownstreamTasks
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    for some in requests_of(task_ids, operators):
        SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=list(some)))


def requests_of(task_ids: Collection[str], operators: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """Return the tasks request by request, each after everything downstream of it.

    The scheduler works between two requests, and starts a task once all upstream of it is skipped: such a task has to be
    skipped before.
    """
    skipped = set(task_ids)
    upstream_first = TopologicalSorter({one: each.upstream_task_ids for one, each in operators.items()}).static_order()
    downstream_first = [one for one in upstream_first if one in skipped][::-1]
    return [downstream_first[start : start + _MOST_AT_ONCE] for start in range(0, len(downstream_first), _MOST_AT_ONCE)]
