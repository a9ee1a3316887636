"""``build()``: run a task and what it needs here, without Airflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from typing import TypeVar

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, MissingInputError
from airflow_kart.runtime.plan import Outcome, make_plan
from airflow_kart.runtime.progress import showing
from airflow_kart.runtime.runner import make_all
from airflow_kart.runtime.selection import Named, select
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.skipping import Skips
from airflow_kart.runtime.workers import make_in_processes
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph, require_task
from airflow_kart.tasks.kinds import ExternalTask
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import map_leaves
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["build"]

T = TypeVar("T")
logger = logging.getLogger(__name__)


def build(
    task: TaskOnKart[T],
    *,
    workers: int = 1,
    workspace_directory: str | os.PathLike[str] | None = None,
    rerun: Collection[Named] = (),
    progress: bool | None = None,
) -> T:
    """Make what a task dumps, running only what is missing, and return it.

    What another run, anywhere, is making at this moment is waited for and used.

    Args:
        task: the task.
        workers: how many tasks may run at once, each in a process of its own; 1 runs them in this one.
        workspace_directory: where the artifacts are; by default the current workspace, else the configured one.
        rerun: the tasks to run again, with everything downstream: classes, tasks, names of classes, task ids as in a DAG
            where a class has one task, or globs.
        progress: whether to show on ``stderr`` which tasks run, wait and have ended: live on a terminal, as lines
            elsewhere; by default on a terminal only. The log has all of it in any case.

    Returns:
        What the task dumped, loaded from its artifact; nested as ``output()`` nests its targets.

    Raises:
        LockError: another run makes one of the tasks, and was waited for too long; or a lock was lost.
        TaskFailedError: a process that ran a task died.
        KartError: the tasks cannot be run, or an artifact cannot be used.
        AirflowSkipException: a ``run()`` raised it. Tasks that do not need the skipped task were made before.
        Exception: whatever a task's ``run()`` raises. What was published before is kept.
    """
    require_task(task, "build")
    if workers < 1:
        raise ConfigurationError(f"build(workers={workers}): give at least 1")
    with Workspace(os.fspath(workspace_directory)) if workspace_directory is not None else Workspace.current() as workspace:
        if workers > 1 and not workspace.store.shared:
            raise ConfigurationError(
                f"build(workers={workers}): other processes cannot see {workspace.directory}; "
                "use workers=1, or a directory as the workspace"
            )
        graph = Graph.of([task])
        plan = make_plan(
            graph,
            rerun=select({key: node.task for key, node in graph.nodes.items()}, rerun, "build(rerun=...)"),
            remember=True,
        )
        todo = plan.with_outcome(Outcome.RUN)
        _require_external([node.task for node in todo])
        plan.begin_reruns()
        if todo:
            cached = len(plan.with_outcome(Outcome.CACHED))
            logger.info("%d of %d tasks to run, %d reused", len(todo), len(graph.nodes), cached)
        skips = Skips(graph)
        with showing(plan, progress) as shown:
            if workers == 1 or len(todo) < 2:
                make_all(plan, session=Session(listener=shown), skips=skips)
            else:
                make_in_processes(plan, workers, shown, skips)
        if skips.first is not None:  # all that runs is upstream of the task, so the task was skipped too
            logger.warning("%r has no value: %s", task, skips.reasons[task.unique_id])
            raise skips.first
        result: T = map_leaves(lambda target: target.load(), task.output(), Target)
        return result


def _require_external(todo: Iterable[Task]) -> None:
    """Refuse to begin what cannot be finished: nothing here makes an external task's artifact.

    Raises:
        MissingInputError: there are external tasks whose artifacts are not there.
    """
    missing = [
        f"  {task!r}\n    at {target.uri}"
        for task in todo
        if isinstance(task, ExternalTask)
        for _, target in targets_of(task)
        if not target.exists()
    ]
    if missing:
        raise MissingInputError(
            "nothing was run, since artifacts that are made elsewhere are not there yet; put them there first:\n"
            + "\n".join(missing)
        )
