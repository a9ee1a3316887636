"""A task's graph as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import map_leaves
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.task import TaskOnKart
from airflow_kart.views.caption import public_parameters
from airflow_kart.views.survey import survey, task_log

if TYPE_CHECKING:
    import pandas as pd


def table(task: Task, *, ignore: Collection[str] = ()) -> pd.DataFrame:
    """Return a task and everything upstream as a table with one row for each distinct task, the root first.

    The columns are ``class``, ``unique_id``, ``complete``, ``reason``, ``seconds`` (how long the task ran), ``finished_at``
    (UTC), ``uris`` (a list), ``parameters`` (a dict, without private ones), ``requires`` (unique ids, nested as
    ``requires()`` nests the tasks), ``task_log`` (a dict), ``bytes`` and ``rows`` (of all its outputs). Incomplete
    tasks have missing values in the columns that only a run fills.

    Args:
        task: the root.
        ignore: names of task classes, or globs, to leave out together with tasks that only these require. The root stays.

    Raises:
        KartError: the tasks do not make a graph, or a store cannot be asked.
    """
    import pandas as pd

    surveyed = survey(task, ignore, "table")
    sidecars = surveyed.sidecars()
    found = list(surveyed.tasks.values())
    tasks = [one.node.task for one in found]
    read = [sidecars[one.node.unique_id] for one in found]
    seconds = [float("nan") if one.seconds is None else one.seconds for one in found]
    finished = [one.finished_at or None for one in found]
    rows: pd.DataFrame = pd.DataFrame(
        {
            "class": [type(one).__name__ for one in tasks],
            "unique_id": [one.unique_id for one in tasks],
            "complete": [one.complete for one in found],
            "reason": [one.reason for one in found],
            "seconds": pd.Series(seconds, dtype="float64"),
            "finished_at": pd.to_datetime(pd.Series(finished, dtype=object), utc=True, format="ISO8601", errors="coerce"),
            "uris": [[target.uri for target in one.node.targets] for one in found],
            "parameters": [public_parameters(one) for one in tasks],
            "requires": [map_leaves(lambda task: task.unique_id, resolve(one).requirements, TaskOnKart) for one in tasks],
            "task_log": [task_log(of_task) for of_task in read],
            "bytes": pd.Series([_sum(one.artifact.bytes for one in of_task) for of_task in read], dtype="Int64"),
            "rows": pd.Series([_sum(one.artifact.rows for one in of_task) for of_task in read], dtype="Int64"),
        }
    )
    return rows


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
