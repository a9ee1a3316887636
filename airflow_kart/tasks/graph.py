"""The tasks below some roots as a graph: each distinct task once, upstream first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, TargetPathError
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["Graph", "Node", "require_task"]


@dataclass(frozen=True)
class Node:
    """One task of a graph."""

    task: TaskOnKart[Any]
    inputs: tuple[tuple[KeyPath, str], ...]
    """The unique ids of the required tasks, each with the path of keys in ``requires()`` that leads to it."""
    targets: tuple[Target, ...]
    """Where its outputs go; a wrapper has none."""

    @property
    def asks_its_inputs(self) -> bool:
        """Whether it takes more than its own artifacts to say that the task is complete."""
        return not self.targets or self.task.strict_check or self.task.modification_time_check

    @property
    def unique_id(self) -> str:
        """The task's unique id."""
        return self.task.unique_id


@dataclass(frozen=True)
class Graph:
    """Every distinct task below some roots.

    Tasks that differ only in parameters that are not significant have one unique id and so one node.
    """

    roots: tuple[str, ...]
    nodes: Mapping[str, Node]
    """By unique id, each after what it requires."""
    consumers: Mapping[str, tuple[str, ...]]
    """The unique ids of the tasks that require a task directly."""

    @classmethod
    def of(cls, roots: Iterable[TaskOnKart[Any]]) -> Graph:
        """Walk the tasks below the roots.

        Raises:
            GraphError: they do not make a graph.
            TargetError: a task's outputs are declared wrongly, or two tasks write to one file.
        """
        roots = list(roots)
        nodes: dict[str, Node] = {}
        consumers: dict[str, list[str]] = {}
        for task in _upstream_first(roots):
            inputs = tuple((path, required.unique_id) for path, required in task.lineage.inputs)
            nodes[task.unique_id] = Node(task, inputs, tuple(target for _, target in targets_of(task)))
            consumers[task.unique_id] = []
            for required in dict.fromkeys(unique_id for _, unique_id in inputs):
                consumers[required].append(task.unique_id)
        _refuse_shared_files(nodes.values())
        return cls(
            tuple(dict.fromkeys(root.unique_id for root in roots)),
            nodes,
            {unique_id: tuple(found) for unique_id, found in consumers.items()},
        )

    @property
    def always_run(self) -> set[str]:
        """The unique ids of the tasks whose classes ask to run every time."""
        return {unique_id for unique_id, node in self.nodes.items() if node.task.rerun}

    def below(self, unique_ids: Collection[str]) -> set[str]:
        """Return the given tasks and everything that requires them, directly or through others."""
        found: set[str] = set()
        pending = list(unique_ids)
        while pending:
            unique_id = pending.pop()
            if unique_id not in found:
                found.add(unique_id)
                pending.extend(self.consumers[unique_id])
        return found


def require_task(given: object, caller: str) -> TaskOnKart[Any]:
    """Return what a function was given for a task, if it is one.

    Args:
        given: any object.
        caller: the function's name, for the error.

    Raises:
        ConfigurationError: it is no task.
    """
    if isinstance(given, TaskOnKart):
        return given
    hint = f"; make an instance: {given.__name__}(...)" if isinstance(given, type) else ""
    raise ConfigurationError(f"{caller}({given!r}): give a task{hint}")


def _upstream_first(roots: Iterable[TaskOnKart[Any]]) -> Iterable[TaskOnKart[Any]]:
    """Yield each distinct task after what it requires."""
    seen: set[str] = set()
    for root in roots:
        stack = [(root, iter(root.lineage.inputs))]
        opened = {root.unique_id}
        while stack:
            task, pending = stack[-1]
            for _, required in pending:
                if required.unique_id not in seen and required.unique_id not in opened:
                    opened.add(required.unique_id)
                    stack.append((required, iter(required.lineage.inputs)))
                    break
            else:
                stack.pop()
                if task.unique_id not in seen:
                    seen.add(task.unique_id)
                    yield task


def _refuse_shared_files(nodes: Iterable[Node]) -> None:
    writers: dict[str, TaskOnKart[Any]] = {}
    for node in nodes:
        for target in node.targets:
            other = writers.setdefault(target.uri, node.task)
            if other is not node.task:
                raise TargetPathError(
                    f"{other!r} and {node.task!r} both write {target.uri}; give them different paths, or leave use_unique_id on"
                )
