"""A DAG's compiled structure, and how a run finds its tasks in it.

The structure is made once, when the DAG file is parsed, from sample values. A run has values of its own: the roots
are made again with those, and each operator's task is found by the keys of ``requires()`` that lead to it from a
root, not by anything that depends on a value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_kart.exceptions import BindingError, ParameterError
from airflow_kart.parameters import UNSET
from airflow_kart.parameters.parametrized import configured_default, private_parameters
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import KeyPath, follow
from airflow_kart.tasks.resolution import resolve
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["Blueprint", "BlueprintNode", "Place", "RootSpec", "RunGraph", "check_single"]


@dataclass(frozen=True)
class RootSpec:
    """A root as its author gave it: a class and the values that are fixed so far."""

    cls: type[TaskOnKart[Any]]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, root: Any) -> RootSpec:
        """Take a task, or a task class whose other values come from a binding, the form, or its defaults.

        Raises:
            BindingError: it is neither.
            ParameterValueError: a configured value does not fit its parameter.
        """
        if isinstance(root, TaskOnKart):
            return cls(type(root), {name: getattr(root, name) for name in root.get_parameters()})
        if isinstance(root, type) and issubclass(root, TaskOnKart):
            values = {name: configured_default(root, name) for name in root.get_parameters()}
            return cls(root, {name: value for name, value in values.items() if value is not UNSET})
        raise BindingError(f"root is {root!r}; give a task, a task class, or a list of these")

    def make(self, values: Mapping[str, Any]) -> Task:
        """Make the task with those of the values that it has parameters for."""
        own = {name: value for name, value in values.items() if name in self.cls.get_parameters()}
        return self.cls(**{**self.values, **own})

    def read(self, name: str, raw: object) -> Any:
        """Return a value for one of the class's parameters from a rendered template, a form field or code."""
        parameter = self.cls.get_parameters()[name]
        return parameter.read(raw, self.cls.__qualname__, name)


Hops = tuple[KeyPath, ...]
"""A way from a task to one below it: the keys of its ``requires()``, then those of each inline task on the way."""


@dataclass(frozen=True)
class Place:
    """One way to find a task: below which operator's task (``None``: the DAG), on which way."""

    consumer: str | None
    hops: Hops


@dataclass(frozen=True)
class BlueprintNode:
    """One operator of a compiled DAG."""

    task_id: str
    task: Task
    """The task as it is with sample values."""
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Blueprint:
    """The compiled structure of a DAG, a task group or a single operator."""

    roots: tuple[RootSpec, ...]
    nodes: Mapping[str, BlueprintNode]
    """By Airflow task id, upstream first."""
    form: Mapping[str, str] = field(default_factory=dict)
    """The trigger form's field for each parameter it offers."""
    inline: frozenset[str] = frozenset()
    """The class names of the tasks that have no operator of their own."""

    @classmethod
    def single(cls, task_id: str, task: Task) -> Blueprint:
        """Return the structure of one operator that makes a task and everything below it."""
        node = BlueprintNode(task_id, task, (Place(None, ((0,),)),))
        return cls((RootSpec.of(task),), {task_id: node})

    def for_run(self, bind: Mapping[str, Any], params: Mapping[str, Any]) -> RunGraph:
        """Return the tasks of a run.

        Args:
            bind: the binding, rendered; it wins over the form.
            params: the run's Airflow params.

        Raises:
            BindingError: a value does not fit its parameter.
        """
        if unknown := sorted(bind.keys() - {name for root in self.roots for name in root.cls.get_parameters()}):
            raise BindingError(f"bind names {', '.join(unknown)}, which the root has no parameter for")
        raw = {**{name: params[field] for name, field in self.form.items() if field in params}, **bind}
        roots = []
        for root in self.roots:
            values = {}
            for name in raw.keys() & root.cls.get_parameters().keys():
                try:
                    values[name] = root.read(name, raw[name])
                except ParameterError as error:
                    origin = "the binding rendered to" if name in bind else "the trigger form gave"
                    value = "a private value" if name in private_parameters(root.cls) else repr(raw[name])
                    raise BindingError(f"{origin} {value}, which does not fit: {error}") from error
            roots.append(root.make(values))
        return RunGraph(self, tuple(roots))

    def __deepcopy__(self, _memo: object) -> Blueprint:
        """Return the blueprint: it cannot change."""
        return self


def check_single(task_id: str, task: object, bind: object) -> None:
    """Check what an operator by itself is made of, when its file is parsed.

    Raises:
        BindingError: it is given no task, or a binding for a parameter the task does not have.
    """
    if not isinstance(task, TaskOnKart):
        hint = f"; make an instance: {task.__name__}(...)" if isinstance(task, type) else ""
        raise BindingError(f"KartOperator {task_id!r}: task is {task!r}, which is not a task{hint}")
    if isinstance(bind, Mapping) and (unknown := sorted(bind.keys() - task.get_parameters().keys())):
        known = ", ".join(task.get_parameters()) or "none"
        raise BindingError(f"KartOperator {task_id!r}: bind names {', '.join(unknown)}; {task!r} has {known}")


class RunGraph:
    """The tasks of one run, by the operator that makes them."""

    def __init__(self, blueprint: Blueprint, roots: tuple[Task, ...]) -> None:
        self._blueprint = blueprint
        self.roots = roots

    @cached_property
    def tasks(self) -> Mapping[str, Task]:
        """The task of each operator; an operator whose task is not part of this run is left out."""
        found: dict[str, Task] = {}
        for node in reversed(list(self._blueprint.nodes.values())):  # consumers first
            for place in node.places:
                if place.consumer is None:
                    within: Any = self.roots
                elif place.consumer in found:
                    within = resolve(found[place.consumer]).requirements
                else:
                    continue
                task = _at_the_end(place.hops, within)
                if task is not None:
                    found[node.task_id] = task
                    break
        return found

    @cached_property
    def task_ids(self) -> Mapping[str, str]:
        """The operator of each task, by unique id; a task without one is made inside its consumer's."""
        return {task.unique_id: task_id for task_id, task in reversed(list(self.tasks.items()))}

    @cached_property
    def graph(self) -> Graph:
        """The tasks as a graph, with targets in the current workspace."""
        return Graph.of(self.roots)

    def inline_tasks(self) -> list[Task]:
        """Return the tasks that have no operator of their own."""
        return [node.task for unique_id, node in self.graph.nodes.items() if unique_id not in self.task_ids]

    def unique_ids(self, task_ids: Collection[str]) -> set[str]:
        """Return the unique ids of the tasks of some operators."""
        return {self.tasks[task_id].unique_id for task_id in task_ids if task_id in self.tasks}


def _at_the_end(hops: Hops, within: Any) -> Task | None:
    """Return the task that a way leads to, or ``None`` where the way ends before."""
    task: Any = None
    for hop in hops:
        try:
            task = follow(within, hop)
        except LookupError:
            return None
        if not isinstance(task, TaskOnKart):
            return None
        within = resolve(task).requirements
    return task if isinstance(task, TaskOnKart) else None
