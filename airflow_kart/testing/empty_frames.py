"""Runs a graph on tables without rows."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airflow_kart.artifacts.sidecar import ArtifactRecord
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.runtime.runner import run_task
from airflow_kart.tasks.completeness import look_at
from airflow_kart.tasks.graph import Graph, Node, require_task
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import KeyPath, describe_path
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.task import TaskOnKart
from airflow_kart.testing.emptiness import emptied
from airflow_kart.testing.memory import in_memory_workspace
from airflow_kart.testing.report import EmptyFramesReport, EmptyRun, EmptyRunOutcome
from airflow_kart.testing.stand_in import dump_stand_in, refuse_outside

Given = Mapping[Any, object]  # keys are tasks and task classes; a narrower type would refuse a dict of some subclass
_MOST_COLUMNS = 20


def run_on_empty_frames(task: TaskOnKart[Any], *, given: Given | None = None) -> EmptyFramesReport:
    """Run a task and everything upstream in memory, with every table between two tasks cut to zero rows.

    Columns and types stay, as far as the tables' formats keep them. Tables and columns of pandas, polars and pyarrow are
    cut, also inside dicts, lists and tuples; other values stay unchanged. For a task that requires nothing, a complete
    artifact of the current workspace is read; without one the task runs. A failed task does not end the run: downstream
    tasks are not tried, all others are. Nothing is written to the workspace.

    Args:
        task: the task.
        given: stand-ins for the results of tasks, by task or by task class. A task with a stand-in does not run, nor do
            upstream tasks that nothing else needs. Nest a value as the task's ``output()``, for a wrapper as its
            ``requires()``.

    Raises:
        ConfigurationError: a stand-in is for a task that is not part of the graph.
        KartError: the tasks do not make a graph, or a store fails.
    """
    require_task(task, "run_on_empty_frames")
    graph = Graph.of([task])
    stand_ins = _stand_ins(graph, given or {})
    nodes = _reached(graph, stand_ins)
    sources = [node for node in nodes if not node.inputs and node.targets and node.unique_id not in stand_ins]
    states = zip(sources, look_at(sources), strict=True)
    complete = {node.unique_id for node, state in states if state.complete}
    rows: dict[str, EmptyRun] = {}
    with in_memory_workspace():
        for node in nodes:
            lost = _lost(node, rows) if node.unique_id not in stand_ins else ()
            if lost:
                rows[node.unique_id] = EmptyRun(node.task, EmptyRunOutcome.NOT_TRIED, {}, needs=lost)
            else:
                rows[node.unique_id] = _try(node, stand_ins, complete)
    return EmptyFramesReport(tuple(rows.values()))


def assert_runs_on_empty_frames(task: TaskOnKart[Any], *, given: Given | None = None) -> None:
    """Run as :func:`run_on_empty_frames` does, and raise one error for all failed tasks.

    Raises:
        AssertionError: tasks failed; see :meth:`~airflow_kart.testing.EmptyFramesReport.raise_for_failures`.
    """
    run_on_empty_frames(task, given=given).raise_for_failures()


def _stand_ins(graph: Graph, given: Given) -> dict[str, object]:
    """Return the stand-ins by unique id. A task wins over its class, a subclass over its base."""
    found: dict[str, object] = {}
    for key, value in sorted(given.items(), key=_precision):
        named = [unique_id for unique_id, node in graph.nodes.items() if _names(key, node)]
        if not named:
            classes = ", ".join(sorted({type(node.task).__name__ for node in graph.nodes.values()}))
            raise ConfigurationError(f"run_on_empty_frames(given=...): no task is {key!r}; there are tasks of {classes}")
        found.update(dict.fromkeys(named, value))
    return found


def _precision(item: tuple[object, object]) -> int:
    key = item[0]
    return len(key.__mro__) if isinstance(key, type) else sys.maxsize


def _names(key: object, node: Node) -> bool:
    if isinstance(key, type):
        return isinstance(node.task, key)
    return isinstance(key, TaskOnKart) and key.unique_id == node.unique_id


def _reached(graph: Graph, stand_ins: Collection[str]) -> list[Node]:
    """Return the nodes that the roots need, upstream first, without nodes that only tasks with a stand-in need."""
    reached: set[str] = set()
    pending = list(graph.roots)
    while pending:
        unique_id = pending.pop()
        if unique_id not in reached:
            reached.add(unique_id)
            if unique_id not in stand_ins:
                pending += [key for _, key in graph.nodes[unique_id].inputs]
    return [node for unique_id, node in graph.nodes.items() if unique_id in reached]


def _lost(node: Node, rows: Mapping[str, EmptyRun]) -> tuple[Task, ...]:
    """Return the required tasks of a node that failed or were not tried."""
    needed = [rows[unique_id] for unique_id in dict.fromkeys(key for _, key in node.inputs)]
    return tuple(row.task for row in needed if row.outcome in (EmptyRunOutcome.FAILED, EmptyRunOutcome.NOT_TRIED))


def _try(node: Node, stand_ins: Mapping[str, object], complete: Collection[str]) -> EmptyRun:
    inputs = {} if node.unique_id in stand_ins else dict(_described_inputs(node))
    started = time.perf_counter()
    outcome, failed = EmptyRunOutcome.FAILED, None
    try:
        outcome = _make(node, stand_ins, complete)
        for _, target in targets_of(node.task):
            value = target.load()
            if (cut := emptied(value)) is not value:
                target.dump(cut)
    except Exception as error:  # noqa: BLE001 - the report is about errors
        outcome, failed = EmptyRunOutcome.FAILED, error
    return EmptyRun(node.task, outcome, inputs, failed, time.perf_counter() - started)


def _make(node: Node, stand_ins: Mapping[str, object], complete: Collection[str]) -> EmptyRunOutcome:
    """Put a task's result into the current workspace, in one of three ways."""
    if node.unique_id in stand_ins:
        dump_stand_in(node.task, stand_ins[node.unique_id])
        return EmptyRunOutcome.GIVEN
    targets = [target for _, target in targets_of(node.task)]
    for target in targets:
        refuse_outside(target)
    if node.unique_id in complete:
        for artifact, target in zip(node.targets, targets, strict=True):
            target.dump(emptied(artifact.load()))
        return EmptyRunOutcome.READ
    run_task(node.task)
    return EmptyRunOutcome.RAN


def _described_inputs(node: Node) -> Iterator[tuple[str, str]]:
    for path, required in resolve(node.task).inputs:
        for output, target in targets_of(required):
            key = f"requires(){_at(path)}" + (f", output(){_at(output)}" if output else "")
            sidecar = target.sidecar()
            yield key, _in_words(sidecar.artifact) if sidecar is not None else "nothing"


def _in_words(record: ArtifactRecord) -> str:
    words = record.type.rpartition(".")[2]
    if record.rows is not None:
        words += f", {record.rows} rows"
    if record.columns:
        named = [f"{name}: {kind}" for name, kind in record.columns.items()]
        words += f" ({', '.join(named[:_MOST_COLUMNS])}{', ...' if len(named) > _MOST_COLUMNS else ''})"
    return words


def _at(path: KeyPath) -> str:
    return describe_path(path) if path else ""
