"""The plan of a run: the outcome of each task, and the reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain, islice
from typing import NamedTuple

from airflow_kart.artifacts.state import Artifact
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.tasks.changed_code import SAME, CodeChanges, Since, explain
from airflow_kart.tasks.completeness import Completeness, asks_inputs, look_at, with_code, with_inputs
from airflow_kart.tasks.graph import Graph, Node, refuse_shared_files

ASKED_AGAIN = "asked to run again"
NEEDS_AGAIN = "something it needs runs again"
CLEARED = "somebody cleared the task instance that made it"
_MOST_ASKED = 5  # tasks whose sidecars may tell which definitions have changed


class PlannedTask(NamedTuple):
    """The outcome of one task, and the reason."""

    outcome: Outcome
    reason: str
    seconds: float = 0.0
    """For a cached task: how long making its artifact took."""
    forced: bool = False
    """Whether the task runs although its artifact may be complete."""
    named: bool = False
    """Whether somebody asked for this very task, so that no equal run stands in for it."""
    finished_at: str = ""
    """For a cached task: when its artifact was published (ISO 8601, UTC)."""
    made_by: tuple[str, str] | None = None
    """For a cached task: the DAG id and run id that made its artifact, where Airflow did."""
    artifacts: tuple[Artifact, ...] = ()
    """For a cached task: its artifacts, where they are."""
    since: Since = SAME
    """For a cached task: what differs from the code that made its artifacts."""

    @classmethod
    def of(cls, found: Completeness, *, forced: bool = False) -> PlannedTask:
        """Return the outcome of a complete or an incomplete task."""
        if not found.complete:
            return cls(Outcome.RUN, found.reason, forced=forced)
        made = found.finished_at, found.made_by, found.artifacts, found.since
        return cls(Outcome.CACHED, found.reason, found.seconds, False, False, *made)


class Plan(NamedTuple):
    """The outcome of each task of a graph."""

    graph: Graph
    tasks: Mapping[str, PlannedTask]
    """By unique id, upstream first."""

    def begin_reruns(self) -> None:
        """Mark the artifacts of forced tasks for recomputation, so that they run again even if this run fails."""
        for unique_id, planned in self.tasks.items():
            if planned.forced:
                for target in self.graph.nodes[unique_id].targets:
                    target.begin_replacement(named=planned.named)

    def changed_code(self) -> list[str]:
        """Return a line for each class whose code has changed since artifacts were made, its own or others', that are reused."""
        reused: dict[type, list[Node]] = {}
        for unique_id, planned in self.tasks.items():
            for cls in planned.since.changed:
                reused.setdefault(cls, []).append(self.graph.nodes[unique_id])
        lines = []
        for cls, nodes in reused.items():
            cached = {type(node.task) for node in nodes}
            names = ", ".join(sorted(one.__name__ for one in cached))
            whose = "its code" if cached == {cls} else f"the code of {cls.__name__}, which went into {names},"
            of_class = (node for node in chain(nodes, self.graph.nodes.values()) if type(node.task) is cls)
            told = explain(cls, islice(of_class, _MOST_ASKED))
            lines.append(f"{names} {'is' if len(cached) == 1 else 'are'} cached, but {whose} has changed since{told}")
        return lines

    def made_elsewhere(self) -> list[str]:
        """Return a line for each class with reused artifacts from another repository or DAG bundle."""
        words = "is cached, but its artifacts were made from another"
        found = {
            type(self.graph.nodes[key].task): where for key, one in self.tasks.items() if (where := one.since.elsewhere)
        }
        return [f"{cls.__name__} {words} {where}; give each project a [kart] namespace" for cls, where in found.items()]

    def with_outcome(self, outcome: Outcome) -> list[Node]:
        """Return the nodes of one outcome, upstream first."""
        return [self.graph.nodes[unique_id] for unique_id, planned in self.tasks.items() if planned.outcome is outcome]


def make_plan(
    graph: Graph,
    *,
    rerun: Collection[str] = (),
    required: Collection[str] = (),
    given: Collection[str] = (),
    settled: Collection[str] = (),
    remember: bool = False,
    bundle: tuple[str, str] | None = None,
) -> Plan:
    """Decide the outcome of each task: ask the roots first, and go upstream of a task only if the task will run.

    Args:
        graph: the tasks.
        rerun: unique ids of tasks to run again, with everything downstream.
        required: unique ids of tasks besides the roots whose artifacts are used outside the graph.
        given: unique ids of tasks that another operator takes care of: neither looked at nor run.
        settled: unique ids of tasks whose classes ask to run every time, and that did so already.
        remember: as for :func:`~airflow_kart.tasks.completeness.look_at`.
        bundle: name and folder of the run's DAG bundle.
    """
    named = graph.always_run.difference(given, settled).union(rerun)
    forced = graph.with_downstream(named)
    judge = with_code(CodeChanges(graph.nodes.values(), bundle))
    planned: dict[str, PlannedTask] = {}
    found: dict[str, Completeness] = {}
    frontier = list(dict.fromkeys([*graph.roots, *required]))
    while frontier:
        looked_at = [unique_id for unique_id in frontier if unique_id not in forced]
        states = look_at([graph.nodes[unique_id] for unique_id in looked_at], remember=remember)
        found.update(zip(looked_at, states, strict=True))
        for unique_id in frontier:
            if unique_id in forced:
                reason = ASKED_AGAIN if unique_id in named else NEEDS_AGAIN
                planned[unique_id] = PlannedTask(Outcome.RUN, reason, forced=True, named=unique_id in named)
            else:
                own, found[unique_id] = found[unique_id], judge(graph.nodes[unique_id], found[unique_id])
                planned[unique_id] = PlannedTask.of(found[unique_id], forced=own.complete)
        opened = [
            unique_id
            for unique_id in frontier
            if planned[unique_id].outcome is Outcome.RUN or asks_inputs(graph.nodes[unique_id].task)
        ]
        upstream = (unique_id for opened_id in opened for _, unique_id in graph.nodes[opened_id].inputs)
        frontier = [
            unique_id for unique_id in dict.fromkeys(upstream) if unique_id not in planned and unique_id not in given
        ]
    refuse_shared_files(graph.nodes[unique_id] for unique_id in planned)  # of a compiled graph only samples were checked
    incomplete = {unique_id for unique_id, one in planned.items() if one.outcome is Outcome.RUN}
    for unique_id, node in graph.nodes.items():  # upstream first: a task that turns out to run makes others run
        if unique_id in planned and planned[unique_id].outcome is Outcome.CACHED:
            judged = with_inputs(node, found[unique_id], graph.nodes, incomplete)
            if not judged.complete:
                planned[unique_id] = PlannedTask.of(judged, forced=bool(node.targets))
                incomplete.add(unique_id)
    idle = PlannedTask(Outcome.NOT_NEEDED, "nothing that needs it runs")
    return Plan(graph, {unique_id: planned.get(unique_id, idle) for unique_id in graph.nodes})
