"""``build()``: run a task and what it needs here, without Airflow."""

from __future__ import annotations

import fnmatch
import logging
import multiprocessing
import os
import pickle
from collections.abc import Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

from airflow_kart.exceptions import ConfigurationError, IdentityError, MissingInputError
from airflow_kart.graph import Graph, require_task
from airflow_kart.kinds import ExternalTask
from airflow_kart.nesting import map_leaves
from airflow_kart.outputs import targets_of
from airflow_kart.runtime.plan import Outcome, Plan, make_plan
from airflow_kart.runtime.runner import make_all, run_task
from airflow_kart.storage import is_memory_uri
from airflow_kart.target import Target
from airflow_kart.task import TaskOnKart
from airflow_kart.workspace import Workspace

__all__ = ["build"]

T = TypeVar("T")
logger = logging.getLogger(__name__)


def build(
    task: TaskOnKart[T],
    *,
    workers: int = 1,
    workspace_directory: str | os.PathLike[str] | None = None,
    rerun: Collection[str] = (),
) -> T:
    """Make what a task dumps, running only what is missing, and return it.

    Args:
        task: the task.
        workers: how many tasks may run at once, each in a process of its own; 1 runs them in this one.
        workspace_directory: where the artifacts are; by default the current workspace, else the configured one.
        rerun: class names, or globs of them, of tasks to run again, with everything below them.

    Returns:
        What the task dumped, loaded from its artifact; nested as ``output()`` nests its targets.

    Raises:
        KartError: the tasks cannot be run, or an artifact cannot be used.
        Exception: whatever a task's ``run()`` raises. What was published before is kept.
    """
    require_task(task, "build")
    if workers < 1:
        raise ConfigurationError(f"build(workers={workers}): give at least 1")
    with Workspace(os.fspath(workspace_directory)) if workspace_directory is not None else Workspace.current() as workspace:
        if workers > 1 and is_memory_uri(workspace.directory):
            raise ConfigurationError(
                f"build(workers={workers}): other processes cannot see {workspace.directory}; "
                "use workers=1, or a directory as the workspace"
            )
        graph = Graph.of([task])
        plan = make_plan(graph, rerun=_named(graph, rerun), remember=True)
        todo = plan.with_outcome(Outcome.RUN)
        _require_external([node.task for node in todo])
        plan.begin_reruns()
        if todo:
            cached = len(plan.with_outcome(Outcome.CACHED))
            logger.info("%d of %d tasks to run, %d reused", len(todo), len(graph.nodes), cached)
        if workers == 1 or len(todo) < 2:
            make_all(plan)
        else:
            _run_in_processes(plan, workers)
        result: T = map_leaves(lambda target: target.load(), task.output(), Target)
        return result


def _require_external(todo: Iterable[TaskOnKart[Any]]) -> None:
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


def _named(graph: Graph, patterns: Collection[str]) -> set[str]:
    named: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = {key for key, node in graph.nodes.items() if fnmatch.fnmatchcase(type(node.task).__name__, pattern)}
        if not found:
            classes = sorted({type(node.task).__name__ for node in graph.nodes.values()})
            raise ConfigurationError(f"build(rerun=...): no task class matches {pattern!r}; there are {', '.join(classes)}")
        named |= found
    return named


def _run_in_processes(plan: Plan, workers: int) -> None:
    """Run the planned tasks in spawned processes, each as soon as what it needs is there."""
    from airflow_kart.formats.pickle import dumps

    workspace = Workspace.current()
    where = (
        workspace.directory,
        workspace.aws_conn_id,
        workspace.gcp_conn_id,
        workspace.read_from,
        workspace.lock,
        workspace.redis_conn_id,
    )
    todo = {node.unique_id: node for node in plan.with_outcome(Outcome.RUN)}
    waiting = {key: {needed for _, needed in node.inputs if needed in todo} for key, node in todo.items()}
    running: dict[Future[None], str] = {}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            while waiting or running:
                for key in [key for key, needed in waiting.items() if not needed]:
                    del waiting[key]
                    job = dumps((todo[key].task, key, plan.tasks[key].forced, where))
                    running[pool.submit(_run_pickled, job)] = key
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    finished = running.pop(future)
                    future.result()
                    for needed in waiting.values():
                        needed.discard(finished)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _run_pickled(job: bytes) -> None:
    task, unique_id, forced, where = pickle.loads(job)
    _refuse_other_identity(task, unique_id)
    with Workspace(*where):
        run_task(task, force=forced, planned=True)


def _refuse_other_identity(task: TaskOnKart[Any], unique_id: str) -> None:
    if task.unique_id != unique_id:
        raise IdentityError(
            f"{task!r} has the unique id {task.unique_id} in a worker process, but {unique_id} in the one that started it; "
            "its requires() or its parameters depend on the process"
        )
