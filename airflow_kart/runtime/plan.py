"""The plan of a run: what happens to each task, and why."""

from __future__ import annotations

import enum
import posixpath
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from airflow_kart import settings
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.artifacts.target import TargetState
from airflow_kart.storage import Snapshot
from airflow_kart.tasks.graph import Graph, Node
from airflow_kart.tasks.outputs import needed_targets, targets_of
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["Outcome", "Plan", "PlannedTask", "make_plan", "planned_for", "states_of"]

_FIRST_LOOKS = 4
_SECONDS_OF_A_SLOW_LOOK = 0.002


class Outcome(str, enum.Enum):
    """What a plan says of a task, and what came of it."""

    RUN = "run"
    """It is going to run."""
    RAN = "ran"
    """It ran in this run."""
    CACHED = "cached"
    """Its artifact was there."""
    NOT_NEEDED = "not_needed"
    """Nobody who needs it runs."""
    FAILED = "failed"
    """It, or something it needs, failed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class PlannedTask:
    """What happens to one task, and why."""

    outcome: Outcome
    reason: str
    seconds: float = 0.0
    """For a cached task: how long making its artifact took."""
    forced: bool = False
    """Whether it runs although its artifact may be complete."""
    finished_at: str = ""
    """For a cached task: when its artifact was published (ISO 8601, UTC)."""
    made_by: tuple[str, str] | None = None
    """For a cached task: the DAG id and run id that made its artifact, where Airflow did."""


@dataclass(frozen=True)
class Plan:
    """What happens to each task of a graph."""

    graph: Graph
    tasks: Mapping[str, PlannedTask]
    """By unique id, upstream first."""

    def begin_reruns(self) -> None:
        """Let what is asked to run again count as incomplete from now on, so that it does even if this run fails."""
        for unique_id, planned in self.tasks.items():
            if planned.forced:
                for target in self.graph.nodes[unique_id].targets:
                    target.begin_replacement()

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
) -> Plan:
    """Decide what a run does with each task: ask the roots first, and go below a task only where it will run.

    Args:
        graph: the tasks.
        rerun: unique ids of tasks to run again, with everything below them.
        required: unique ids of tasks besides the roots whose artifacts somebody outside the graph uses.
        given: unique ids of tasks that somebody else takes care of: neither looked at nor run.
        settled: unique ids of tasks whose classes ask to run every time, and which did so already.
        remember: as for :func:`states_of`.
    """
    named = graph.always_run.difference(given, settled).union(rerun)
    forced = graph.below(named)
    planned: dict[str, PlannedTask] = {}
    frontier = list(dict.fromkeys([*graph.roots, *required]))
    while frontier:
        asked = [unique_id for unique_id in frontier if unique_id not in forced]
        states = states_of([graph.nodes[unique_id] for unique_id in asked], remember=remember)
        for unique_id in frontier:
            if unique_id in forced:
                reason = "asked to run again" if unique_id in named else "something it needs runs again"
                planned[unique_id] = PlannedTask(Outcome.RUN, reason, forced=True)
        planned.update(zip(asked, states, strict=True))
        opened = [
            unique_id
            for unique_id in frontier
            if planned[unique_id].outcome is Outcome.RUN or graph.nodes[unique_id].asks_its_inputs
        ]
        below = (unique_id for opened_id in opened for _, unique_id in graph.nodes[opened_id].inputs)
        frontier = [unique_id for unique_id in dict.fromkeys(below) if unique_id not in planned and unique_id not in given]
    for unique_id in graph.nodes:  # upstream first, as one that turns out to run lets others run
        if unique_id in planned and planned[unique_id].outcome is Outcome.CACHED:
            planned[unique_id] = _asked_of_inputs(graph, graph.nodes[unique_id], planned)
    idle = PlannedTask(Outcome.NOT_NEEDED, "nothing that needs it runs")
    return Plan(graph, {unique_id: planned.get(unique_id, idle) for unique_id in graph.nodes})


def _asked_of_inputs(graph: Graph, node: Node, planned: Mapping[str, PlannedTask]) -> PlannedTask:
    """Return what happens to a task whose own artifacts are complete, where its inputs have a say in it too."""
    found = planned[node.unique_id]
    if not node.asks_its_inputs:
        return found
    inputs = [unique_id for _, unique_id in node.inputs]
    missing = [unique_id for unique_id in inputs if unique_id in planned and planned[unique_id].outcome is Outcome.RUN]
    if missing:
        return PlannedTask(Outcome.RUN, f"{graph.nodes[missing[0]].task!r}, which it needs, runs", forced=bool(node.targets))
    if node.task.modification_time_check and (changed := _changed_since(node)) is not None:
        return PlannedTask(Outcome.RUN, f"{changed} has changed since it ran", forced=True)
    return found


def _changed_since(node: Node) -> str | None:
    """Return the uri of an input that was put there after a task's artifacts, and is another than the task read."""
    states = [target.state() for target in node.targets]
    ran = min((state.modified for state in states if state.modified is not None), default=None)
    read = {uri: sha256 for state in states if state.sidecar is not None for uri, sha256 in state.sidecar.inputs.items()}
    for _, _, target in needed_targets(node.task):
        state = target.state()
        newer = ran is not None and state.modified is not None and state.modified > ran
        if newer and (state.sha256 is None or read.get(target.located().uri) != state.sha256):
            return target.uri
    return None


def planned_for(task: TaskOnKart[Any], *, itself_only: bool = False) -> PlannedTask:
    """Return what happens to one task: whether it is complete, and if not, why.

    Args:
        task: the task.
        itself_only: whether its own artifacts alone are asked, although its class may ask for more.
    """
    node = Node(task, (), tuple(target for _, target in targets_of(task)))
    if node.asks_its_inputs and not itself_only:
        return make_plan(Graph.of([task])).tasks[task.unique_id]
    return states_of([node])[0]


def states_of(nodes: Iterable[Node], *, remember: bool = False) -> list[PlannedTask]:
    """Look, several at once, which of the nodes are complete.

    Args:
        nodes: the nodes.
        remember: whether what was read of many sidecars may be kept in the workspace, so that the next look takes less.
    """
    nodes = list(nodes)
    targets = [target for node in nodes for target in node.targets]
    found: list[TargetState] = []
    started = time.perf_counter()
    while len(found) < len(targets) and not _slow(len(found), time.perf_counter() - started):
        found.append(targets[len(found)].state())
    rest = targets[len(found) :]
    if rest:
        snapshot = Snapshot(place for target in rest for place in target.looked_at())
        with ThreadPoolExecutor(settings.kart_int("check_threads"), "kart-check") as pool:
            found += pool.map(lambda target: target.state(snapshot), rest)
        if remember:
            snapshot.remember({(target.store, posixpath.dirname(target.uri)) for target in rest})
    states = iter(found)
    return [_planned([next(states) for _ in node.targets]) for node in nodes]


def _slow(looks: int, seconds: float) -> bool:
    """Whether looks take long enough for threads to be worth their while, as on a network, unlike on a local disk."""
    return looks >= _FIRST_LOOKS and seconds > looks * _SECONDS_OF_A_SLOW_LOOK


def _planned(states: list[TargetState]) -> PlannedTask:
    if not states:
        return PlannedTask(Outcome.CACHED, "all that it groups is there")
    for state in states:
        if not state.complete:
            return PlannedTask(Outcome.RUN, state.reason)
    sidecars = [state.sidecar for state in states if state.sidecar is not None]
    if not sidecars:
        return PlannedTask(Outcome.CACHED, states[0].reason)
    return PlannedTask(
        Outcome.CACHED,
        _provenance(sidecars[0]),
        seconds=max(sidecar.seconds for sidecar in sidecars),
        finished_at=min(sidecar.published_at for sidecar in sidecars),
        made_by=sidecars[0].airflow_run,
    )


def _provenance(sidecar: Sidecar) -> str:
    """Return when a cached artifact was made and by which run."""
    airflow: Any = sidecar.content.get("airflow") or {}
    when = sidecar.published_at[:19].replace("T", " ")
    return f"made {when} UTC" + (f" by {airflow['dag_id']} {airflow['run_id']}" if sidecar.airflow_run else "")
