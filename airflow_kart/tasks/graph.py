"""Some roots and everything upstream of them as a graph: each distinct task once, upstream first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, TargetPathError
from airflow_kart.idioms.kept import kept
from airflow_kart.tasks.model import Task, is_task
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.tasks.outputs import own_targets, targets_of
from airflow_kart.tasks.resolution import one_walk, require_unchanged, resolve


@dataclass(frozen=True)
class Node:
    """One task of a graph."""

    task: Task

    @property
    def inputs(self) -> list[tuple[KeyPath, str]]:
        """The unique ids of the required tasks, each with its path of keys in ``requires()``.

        Raises:
            GraphError: the task and its upstream do not make a graph.
        """
        return [(path, required.unique_id) for path, required in resolve(self.task).inputs]

    @kept
    def targets(self) -> tuple[Target, ...]:
        """Where the task's outputs go, in the workspace that is current at the first look; a wrapper has none.

        Raises:
            TargetError: the task's outputs are declared wrongly.
        """
        return tuple(target for _, target in targets_of(self.task))

    @property
    def unique_id(self) -> str:
        """The task's unique id."""
        return self.task.unique_id

    @property
    def class_name(self) -> str:
        """The logical name of the task's class, as the unique id counts it."""
        return resolve(self.task).class_name


class Graph(NamedTuple):
    """Some roots and every distinct task upstream of them.

    Tasks that differ only in parameters that are not significant have one unique id and so one node.
    """

    roots: tuple[str, ...]
    nodes: Mapping[str, Node]
    """By unique id, each task after its requirements."""
    consumers: Mapping[str, Sequence[str]]
    """The unique ids of the tasks that require a task directly."""

    @classmethod
    @one_walk()
    def of(cls, roots: Iterable[Task]) -> Graph:
        """Walk from the given tasks upstream. A task has targets only where something asks for them.

        Raises:
            GraphError: the tasks do not make a graph.
        """
        roots = list(roots)
        nodes: dict[str, Node] = {}
        consumers: dict[str, list[str]] = {}
        versions: dict[type[Task], Any] = {}
        for task in upstream_first(roots):
            require_unchanged(task, versions)
            unique_id = task.unique_id
            nodes[unique_id] = Node(task)
            consumers[unique_id] = []
            for required in {found.unique_id: None for _, found in resolve(task).inputs}:
                consumers[required].append(unique_id)
        return cls(tuple(dict.fromkeys(root.unique_id for root in roots)), nodes, consumers)

    @property
    def always_run(self) -> set[str]:
        """The unique ids of the tasks whose classes ask to run every time."""
        return {unique_id for unique_id, node in self.nodes.items() if node.task.rerun}

    def with_downstream(self, unique_ids: Collection[str]) -> set[str]:
        """Return the given tasks and everything downstream of them."""
        found: set[str] = set()
        pending = list(unique_ids)
        while pending:
            unique_id = pending.pop()
            if unique_id not in found:
                found.add(unique_id)
                pending.extend(self.consumers[unique_id])
        return found


def require_task(given: object, caller: str) -> Task:
    """Return the argument of a function, if the argument is a task.

    Args:
        given: the argument.
        caller: the function's name, for the error.

    Raises:
        ConfigurationError: the argument is no task.
    """
    if is_task(given):
        return given
    hint = f"; make an instance: {given.__name__}(...)" if isinstance(given, type) else ""
    raise ConfigurationError(f"{caller}({given!r}): give a task{hint}")


def upstream_first(roots: Iterable[Task], follows: Callable[[Task], bool] = lambda _: True) -> Iterator[Task]:
    """Return each distinct task after its requirements.

    Args:
        roots: the tasks to begin with.
        follows: whether the walk goes on to the tasks that a task requires.
    """
    seen: set[str] = set()
    stack: list[tuple[Task | None, Iterator[Task]]] = [(None, iter(roots))]
    while stack:
        task, pending = stack[-1]
        for required in pending:
            if (unique_id := required.unique_id) not in seen:
                seen.add(unique_id)
                stack.append((required, iter([found for _, found in resolve(required).inputs] if follows(required) else ())))
                break
        else:
            stack.pop()
            if task is not None:
                yield task


def refuse_shared_files(nodes: Iterable[Node]) -> None:
    """Refuse outputs of two tasks at one path.

    Raises:
        TargetError: a task's outputs are declared wrongly.
        TargetPathError: two tasks write to one file.
    """
    writers: dict[str, Task] = {}
    for node in nodes:
        for target in own_targets(node.task, node.targets):
            other = writers.setdefault(target.uri, node.task)
            if other is not node.task:
                raise TargetPathError(
                    f"{other!r} and {node.task!r} both write {target.uri}; give them different paths, or leave use_unique_id on"
                )
