"""Some roots and everything upstream of them as a graph: each distinct task once, upstream first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, TargetPathError
from airflow_kart.tasks.model import Task, is_task
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.tasks.outputs import own_targets, targets_of
from airflow_kart.tasks.resolution import resolve, without_collections

__all__ = ["Graph", "Node", "refuse_shared_files", "require_task", "upstream_first"]


@dataclass(frozen=True)
class Node:
    """One task of a graph."""

    task: Task
    inputs: tuple[tuple[KeyPath, str], ...]
    """The unique ids of the required tasks, each with its path of keys in ``requires()``."""

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Where the task's outputs go, in the workspace that is current at the first look; a wrapper has none.

        Raises:
            TargetError: the task's outputs are declared wrongly.
        """
        return tuple(target for _, target in targets_of(self.task))

    @classmethod
    def of(cls, task: Task) -> Node:
        """Return the node of a task.

        Raises:
            GraphError: the task and its upstream do not make a graph.
        """
        return cls(task, tuple((path, required.unique_id) for path, required in resolve(task).inputs))

    @property
    def unique_id(self) -> str:
        """The task's unique id."""
        return self.task.unique_id


@dataclass(frozen=True)
class Graph:
    """Some roots and every distinct task upstream of them.

    Tasks that differ only in parameters that are not significant have one unique id and so one node.
    """

    roots: tuple[str, ...]
    nodes: Mapping[str, Node]
    """By unique id, each task after its requirements."""
    consumers: Mapping[str, tuple[str, ...]]
    """The unique ids of the tasks that require a task directly."""

    @classmethod
    @without_collections()
    def of(cls, roots: Iterable[Task], *, checked: bool = False) -> Graph:
        """Walk from the roots upstream.

        Args:
            roots: the tasks to begin with.
            checked: whether the targets of all tasks have been checked before, when a DAG was compiled. Then a task has
                targets only where something asks for them.

        Raises:
            GraphError: they do not make a graph.
            TargetError: a task's outputs are declared wrongly, or two tasks write to one file.
        """
        roots = list(roots)
        nodes: dict[str, Node] = {}
        consumers: dict[str, list[str]] = {}
        for task in upstream_first(roots):
            node = nodes[task.unique_id] = Node.of(task)
            consumers[task.unique_id] = []
            for required in dict.fromkeys(unique_id for _, unique_id in node.inputs):
                consumers[required].append(task.unique_id)
        if not checked:
            refuse_shared_files(nodes.values())
        return cls(
            tuple(dict.fromkeys(root.unique_id for root in roots)),
            nodes,
            {unique_id: tuple(found) for unique_id, found in consumers.items()},
        )

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
    for root in roots:
        stack = [(root, _required(root, follows))]
        opened = {root.unique_id}
        while stack:
            task, pending = stack[-1]
            for required in pending:
                unique_id = required.unique_id
                if unique_id not in opened and unique_id not in seen:
                    opened.add(unique_id)
                    stack.append((required, _required(required, follows)))
                    break
            else:
                stack.pop()
                if task.unique_id not in seen:
                    seen.add(task.unique_id)
                    yield task


def _required(task: Task, follows: Callable[[Task], bool]) -> Iterator[Task]:
    return (required for _, required in resolve(task).inputs) if follows(task) else iter(())


def refuse_shared_files(nodes: Iterable[Node]) -> None:
    """Refuse outputs of two tasks at one path.

    Raises:
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
