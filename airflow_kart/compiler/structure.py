"""The structure of a DAG: the graph of the roots, compiled with one sample and compared with another.

The comparison shows the effect of a run's values. Two tasks that are equal only by the accident of a sample (features of a
day, and features of its month's first day) stay two operators. A value that differs between the samples is never part of a
task id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from airflow.providers.common.compat.sdk import get_parsing_context

from airflow_kart.compiler.binding import Binding
from airflow_kart.exceptions import BindingError, KartError
from airflow_kart.identity.encoding import encode
from airflow_kart.operators.blueprint import Hops, RootSpec
from airflow_kart.parameters.parametrized import private_parameters
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.tasks.resolution import resolve

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""A node's unique ids with the two samples; the second is empty where there is no second sample."""


_Arrival = tuple[Key | None, Hops, KeyPath, Task, Task | None]
# A consumer, the hops from the consumer, the keys from the roots, and the task found there with either sample.


@dataclass
class StructureNode:
    """One future operator: a task, the routes to it, and the values that no run can change."""

    task: Task
    twin: Task | None
    """The task at the same keys with the other sample."""
    trail: KeyPath
    """The keys that lead from the roots to the task: of all routes, the first of the shortest.

    Where ``requires()`` returns a single task, there is no key: the number of steps from the root takes its place.
    """
    routes: list[tuple[Key | None, Hops]] = field(default_factory=list)
    """Each consumer (``None``: the DAG itself), and the hops from the consumer, also through inline tasks."""

    def fixed_values(self) -> dict[str, object]:
        """Return the significant parameters whose values no run changes; none without a second sample."""
        if self.twin is None or type(self.twin) is not type(self.task):
            return {}
        values = {}
        for name, parameter in self.task.get_parameters().items():
            if parameter.significant and not parameter.holds_tasks and not parameter.is_private:
                value = getattr(self.task, name)
                if encode(value) == encode(getattr(self.twin, name)):
                    values[name] = value
        return values


@dataclass(frozen=True)
class Structure:
    """The nodes of a DAG, upstream first."""

    nodes: Mapping[Key, StructureNode]
    inline: frozenset[str]
    """The class names of the tasks without an operator of their own."""


def make_structure(roots: Sequence[RootSpec], binding: Binding) -> Structure:
    """Compile the roots with the binding's samples.

    Raises:
        KartError: the tasks do not make a graph, or declare outputs wrongly.
    """
    try:
        first = [root.make(binding.samples) for root in roots]
        # Reports wrong outputs and shared files as an import error, rather than in a run. In a worker's process they were.
        Graph.of(first, checked=get_parsing_context().task_id is not None)
    except KartError as error:
        if binding.samples and not isinstance(error, BindingError):
            shown = _shown(binding.samples, roots)
            error.add_context(f"compiled with {shown}; a parameter's compile_value changes its sample")
        raise
    return _walk(first, _second(roots, binding, first))


def _second(roots: Sequence[RootSpec], binding: Binding, first: list[Task]) -> Sequence[Task | None]:
    """Return the roots with the other sample; ``None`` for each where the tasks do not take it: a sample is only a guess."""
    if binding.samples == binding.variations:
        return first
    if binding.variations is None:
        return [None] * len(first)
    try:
        second = [root.make(binding.variations) for root in roots]
        for root in second:
            _ = root.unique_id
    except Exception as error:  # noqa: BLE001 - the user's requires() may not like a guessed value
        logger.warning(
            "%s does not compile with a second sample, %s: %s. So task ids come from the keys of requires() alone, as no value "
            "is known to be the same in all runs",
            ", ".join(root.cls.__qualname__ for root in roots),
            _shown(binding.variations, roots),
            error if isinstance(error, KartError) else f"{type(error).__name__}: {error}",
        )
        return [None] * len(first)
    return second


def _shown(samples: Mapping[str, object], roots: Sequence[RootSpec]) -> str:
    """Return samples as text that hides private ones."""
    private = {name for root in roots for name in private_parameters(root.cls)}
    return ", ".join(f"{name}={'***' if name in private else repr(value)}" for name, value in samples.items())


def _walk(first: Sequence[Task], second: Sequence[Task | None]) -> Structure:
    """Visit both graphs together, breadth first from the roots; return the nodes upstream first.

    An inline task is no node: its consumer takes over its requirements.
    """
    found: dict[Key, StructureNode] = {}
    arrivals: list[tuple[Key | None, Hops, Key]] = []
    frontier: list[_Arrival] = []
    inline: set[tuple[Key | None, Key]] = set()
    names: set[str] = set()
    several = len(first) > 1
    for index, (task, twin) in enumerate(zip(first, second, strict=True)):
        frontier.append((None, ((index,),), (index,) if several else (), task, twin))
    roots = {_key(task, twin) for _, _, _, task, twin in frontier}
    depth = 0
    while frontier:
        depth += 1
        following: list[_Arrival] = []
        for consumer, hops, trail, task, twin in frontier:
            key = _key(task, twin)
            steps: list[tuple[KeyPath, Task]] = list(resolve(task).inputs)
            twins = dict(resolve(twin).inputs) if twin is not None else {}
            if task.inline and key not in roots:
                names.add(type(task).__name__)
                if (consumer, key) in inline:
                    continue
                inline.add((consumer, key))
                following += [
                    (consumer, (*hops, step), (*trail, *(step or (depth,))), upstream, twins.get(step))
                    for step, upstream in steps
                ]
                continue
            arrivals.append((consumer, hops, key))
            if key in found:
                continue
            found[key] = StructureNode(task, twin, trail)
            following += [
                (key, (step,), (*trail, *(step or (depth,))), upstream, twins.get(step)) for step, upstream in steps
            ]
        frontier = following
    return Structure(_upstream_first(_merged(found, arrivals)), frozenset(names))


def _key(task: Task, twin: Task | None) -> Key:
    return task.unique_id, twin.unique_id if twin is not None else ""


def _merged(
    found: Mapping[Key, StructureNode], arrivals: Sequence[tuple[Key | None, Hops, Key]]
) -> dict[Key, StructureNode]:
    """Merge a task that lacks a twin on some routes with the node of the same task that has one."""
    with_twin = {key[0]: key for key in reversed(list(found)) if key[1]}
    merged: dict[Key, Key] = {key: with_twin.get(key[0], key) if not key[1] else key for key in found}
    nodes = {key: node for key, node in found.items() if merged[key] == key}
    for key, node in found.items():
        kept = nodes[merged[key]]
        if len(node.trail) < len(kept.trail):
            kept.trail = node.trail
    for consumer, hops, key in arrivals:
        route = (merged[consumer] if consumer is not None else None, hops)
        routes = nodes[merged[key]].routes
        if route not in routes:
            routes.append(route)
    return nodes


def _upstream_first(nodes: Mapping[Key, StructureNode]) -> dict[Key, StructureNode]:
    """Order the nodes so that each follows its requirements; otherwise keep the order of discovery."""
    consumers = {key: {consumer for consumer, _ in node.routes if consumer is not None} for key, node in nodes.items()}
    needs: dict[Key, list[Key]] = {key: [] for key in nodes}
    for key in reversed(list(nodes)):  # from the end back, so that the order of discovery comes out
        for consumer in consumers[key]:
            needs[consumer].append(key)
    waiting = {key: len(found) for key, found in consumers.items()}
    ready = [key for key in reversed(list(nodes)) if not waiting[key]]
    ordered: list[Key] = []
    position = 0
    while position < len(ready):
        key = ready[position]
        position += 1
        ordered.append(key)
        for needed in needs[key]:
            waiting[needed] -= 1
            if not waiting[needed]:
                ready.append(needed)
    return {key: nodes[key] for key in reversed(ordered)}
