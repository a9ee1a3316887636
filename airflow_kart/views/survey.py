"""A survey: the tasks in a view, each with its state."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from airflow_kart import settings
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.storage.threads import Threads
from airflow_kart.tasks.completeness import Completeness, asks_inputs, completeness_of
from airflow_kart.tasks.graph import Graph, Node, refuse_shared_files, require_task, upstream_first
from airflow_kart.tasks.nesting import KeyPath


@dataclass(frozen=True)
class SurveyedTask:
    """One task and its state."""

    node: Node
    inputs: tuple[tuple[KeyPath, str], ...]
    """The unique ids of the required tasks in the view, each with its keys in ``requires()``."""
    complete: bool
    reason: str
    """The time and the run that made the artifacts, or the reason why the task is incomplete."""
    seconds: float | None = None
    """The duration of a complete task's run."""
    finished_at: str = ""
    """The time of a complete task's publication (ISO 8601, UTC)."""
    note: str = ""
    """Of a complete task: what a reader should know, for example that its code has changed since."""


@dataclass(frozen=True)
class Survey:
    """The tasks in a view."""

    root: str
    tasks: Mapping[str, SurveyedTask]
    """By unique id: the root, then its upstream tasks, depth first."""

    @classmethod
    def of(cls, graph: Graph, ignore: Collection[str] = ()) -> Survey:
        """Look at the first root of a graph and all tasks upstream.

        Args:
            graph: the tasks.
            ignore: names of task classes, or globs, to leave out together with tasks that only these require.
        """
        patterns = [ignore] if isinstance(ignore, str) else list(ignore)
        root = graph.roots[0]
        shown: dict[str, tuple[tuple[KeyPath, str], ...]] = {}
        pending = [root]
        while pending:
            unique_id = pending.pop()
            if unique_id not in shown:
                inputs = graph.nodes[unique_id].inputs
                shown[unique_id] = tuple(one for one in inputs if not _ignored(graph.nodes[one[1]], patterns))
                pending += [key for _, key in reversed(shown[unique_id])]
        states = _states(graph, shown)
        return cls(root, {key: _surveyed(graph.nodes[key], inputs, states[key]) for key, inputs in shown.items()})

    def sidecars(self) -> Mapping[str, tuple[Sidecar, ...]]:
        """Read, several at once, the sidecars of the complete tasks; return them by unique id."""
        targets = {key: task.node.targets if task.complete else () for key, task in self.tasks.items()}
        with Threads(settings.check_threads(), "kart-check") as pool:
            found = pool.map(lambda target: target.state(), [target for of_task in targets.values() for target in of_task])
            read = {key: [next(found).sidecar for _ in of_task] for key, of_task in targets.items()}
        return {key: tuple(sidecar for sidecar in of_task if sidecar is not None) for key, of_task in read.items()}


def survey(task: object, ignore: Collection[str], view: str) -> Survey:
    """Look at a task and everything upstream.

    Raises:
        ConfigurationError: the argument is not a task.
        KartError: the tasks do not make a graph, or a store cannot be asked.
    """
    graph = Graph.of([require_task(task, view)])
    refuse_shared_files(graph.nodes.values())
    return Survey.of(graph, ignore)


def task_log(sidecars: tuple[Sidecar, ...]) -> dict[str, object]:
    """Return the task log that the sidecars of one run hold."""
    return dict(sidecars[0].content.get("task_log") or {}) if sidecars else {}


def _ignored(node: Node, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(type(node.task).__name__, pattern) for pattern in patterns)


def _states(graph: Graph, shown: Iterable[str]) -> dict[str, Completeness]:
    """Look at the tasks that are shown, and at those that their completeness depends on."""
    tasks = upstream_first([graph.nodes[unique_id].task for unique_id in shown], asks_inputs)
    return completeness_of({task.unique_id: graph.nodes[task.unique_id] for task in tasks})


def _surveyed(node: Node, inputs: tuple[tuple[KeyPath, str], ...], state: Completeness) -> SurveyedTask:
    seconds = state.seconds if state.complete and node.targets else None
    return SurveyedTask(node, inputs, state.complete, state.reason, seconds, state.finished_at, state.note)
