"""``build()``: run a task and its upstream in this process, without Airflow."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from airflow_kart.exceptions import ConfigurationError, CorruptArtifactError, MissingInputError
from airflow_kart.locks import locks_for, remove_forgotten
from airflow_kart.runtime.ledger import enter
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import Plan, make_plan
from airflow_kart.runtime.progress import SILENT, Both, Listener, showing
from airflow_kart.runtime.runner import make_all
from airflow_kart.runtime.selection import Named, select
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.skipping import Skips
from airflow_kart.runtime.tally import Tally
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph, Node, require_task
from airflow_kart.tasks.kinds import ExternalTask
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.outputs import load_nested, targets_of
from airflow_kart.tasks.task import TaskOnKart

T = TypeVar("T")
logger = logging.getLogger(__name__)


def build(
    task: TaskOnKart[T],
    *,
    workers: int = 1,
    workspace_directory: str | os.PathLike[str] | None = None,
    rerun: Collection[Named] = (),
    on_changed_code: str | None = None,
    progress: bool | None = None,
) -> T:
    """Run a task, and the upstream tasks without complete artifacts; return the task's output.

    Where another run makes one of the tasks at this moment, ``build()`` waits and uses the artifact.

    Args:
        task: the task.
        workers: the number of tasks that may run at once, each in a process of its own; 1 runs them in this process.
        workspace_directory: the place of the artifacts; by default the current workspace, else the configured one.
        rerun: the tasks to run again: classes, tasks, names of classes, task ids as in a DAG where a class has one task, or
            globs. What is downstream runs again where an input's bytes have changed; ``"Train+"`` names that, too.
        on_changed_code: what becomes of an artifact whose code has changed since: ``warn`` logs a warning, ``rerun`` makes
            the artifact again, with everything downstream, ``ignore`` reuses it silently; by default the workspace's.
        progress: whether to show on ``stderr`` which tasks run, wait and have ended: live on a terminal, as lines
            elsewhere; by default on a terminal only. The log has all events in any case. The last line sums up; only
            ``False``, or by default a test of pytest, leaves it out.

    Returns:
        The task's output, loaded from its artifact; nested as ``output()`` nests its targets.

    Raises:
        LockError: the wait for another run took too long, or a lock was lost.
        TaskFailedError: a process that ran a task died.
        KartError: the tasks cannot run, or an artifact cannot be used.
        AirflowSkipException: a ``run()`` raised it. Tasks that do not need the skipped task were made before.
        Exception: any error of a task's ``run()``. Artifacts that were published before stay.
    """
    require_task(task, "build")
    if workers < 1:
        raise ConfigurationError(f"build(workers={workers}): give at least 1")
    given = Workspace(os.fspath(workspace_directory)) if workspace_directory is not None else Workspace.current()
    with given if on_changed_code is None else replace(given, on_changed_code=on_changed_code) as workspace:
        if workers > 1 and not workspace.store.shared:
            raise ConfigurationError(
                f"build(workers={workers}): other processes cannot see {workspace.directory}; "
                "use workers=1, or a directory as the workspace"
            )
        graph = Graph.of([task])
        plan = make_plan(graph, rerun=select(graph, rerun, "build(rerun=...)"), remember=True)
        result: T = carry_out(plan, lambda: load_nested(task.output()), workers=workers, progress=progress)
        return result


def carry_out(
    plan: Plan, load: Callable[[], T], *, workers: int = 1, progress: bool | None = None, watch: Listener = SILENT
) -> T:
    """Run the tasks of a plan, and load a result; an artifact that turns out to be damaged is made again.

    Args:
        plan: the plan, of the current workspace.
        load: loads the result.
        workers: as for :func:`build`, also the errors.
        progress: as for :func:`build`.
        watch: receives the events of the tasks, too.
    """
    graph = plan.graph
    for line in plan.changed_code():
        logger.warning("%s; rerun= makes it again, on_changed_code= says what becomes of it without being asked", line)
    for line in plan.made_elsewhere():
        logger.warning("%s", line)
    made_again: set[str] = set()
    while True:
        try:
            _carry_out(plan, workers, progress, watch)
            return load()
        except CorruptArtifactError as error:
            damaged = _maker_of(graph, error.uri)
            if damaged is None or damaged.unique_id in made_again:
                raise
            logger.warning("%s; build() makes it again", error)
            made_again.add(damaged.unique_id)
            # The load has marked the artifact as incomplete, unless it lies in a workspace that is only read.
            forced = {damaged.unique_id} if all(target.exists() for target in damaged.targets) else set()
            plan = make_plan(graph, rerun=forced, settled=graph.always_run)


def _carry_out(plan: Plan, workers: int, progress: bool | None, watch: Listener) -> None:
    """Run the tasks of a plan.

    Raises:
        AirflowSkipException: a task asked to be skipped.
    """
    todo = plan.with_outcome(Outcome.RUN)
    _require_external([node.task for node in todo])
    plan.begin_reruns()
    if todo:
        remove_forgotten(locks_for(Workspace.current()))
        cached = len(plan.with_outcome(Outcome.CACHED))
        logger.info("%d of %d tasks to run, %d reused", len(todo), len(plan.graph.nodes), cached)
    skips = Skips(plan.graph)
    with showing(plan, progress) as shown, _tallied(plan, Both(shown, watch)) as tally:
        if workers == 1 or len(todo) < 2:
            make_all(plan, session=Session(listener=tally), skips=skips)
        else:
            from airflow_kart.runtime.workers import make_in_processes

            make_in_processes(plan, workers, tally, skips)
    if sys.stderr is not None and (progress or (progress is None and "PYTEST_CURRENT_TEST" not in os.environ)):
        sys.stderr.write(f"{tally}\n")
    if skips.first is not None:  # all that runs is upstream of a root, so a root was skipped too
        root = next(unique_id for unique_id in plan.graph.roots if unique_id in skips.reasons)
        logger.warning("%r has no value: %s", plan.graph.nodes[root].task, skips.reasons[root])
        raise skips.first


@contextmanager
def _tallied(plan: Plan, listener: Listener) -> Iterator[Tally]:
    """Count what becomes of the tasks, and write the sums into the workspace's ledger, also of a build that fails."""
    tally = Tally.of(plan, listener)
    try:
        yield tally
    finally:
        enter(Workspace.current(), tally)


def _maker_of(graph: Graph, uri: str | None) -> Node | None:
    """Return the task that makes an artifact, ``None`` for an artifact from elsewhere."""
    for node in graph.nodes.values():
        places = {place for target in node.targets for place in (target.uri, *(other.uri for other in target.others))}
        if uri in places and not kind_of(node.task).external:
            return node
    return None


def _require_external(todo: Iterable[Task]) -> None:
    """Refuse to begin a run that cannot end: nothing here makes an external task's artifact.

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
