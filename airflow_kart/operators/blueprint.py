"""A DAG's compiled structure, and how a run finds its tasks in the structure.

The compiler makes the structure once, when the DAG file is parsed, from sample values. A run has values of its own. So a
run makes the roots again, and follows the keys of ``requires()`` from a root to each operator's task: keys depend on no
value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_kart.exceptions import BindingError, ParameterError
from airflow_kart.idioms.kept import kept
from airflow_kart.parameters import UNSET
from airflow_kart.parameters.parametrized import configured_default, private_parameters
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import KeyPath, follow
from airflow_kart.tasks.resolution import required_by, resolve
from airflow_kart.tasks.task import TaskOnKart


@dataclass(frozen=True)
class RootSpec:
    """A root as its author gave it: a class, and the values fixed so far."""

    cls: type[TaskOnKart[Any]]
    values: Mapping[str, object]

    @classmethod
    def of(cls, root: object) -> RootSpec:
        """Take a task, or a task class, whose other values come from a binding, the form, or defaults.

        Raises:
            BindingError: the root is neither.
            ParameterValueError: a configured value does not fit its parameter.
        """
        if isinstance(root, TaskOnKart):
            return cls(type(root), {name: getattr(root, name) for name in root.get_parameters()})
        if isinstance(root, type) and issubclass(root, TaskOnKart):
            values = {name: configured_default(root, name) for name in root.get_parameters()}
            return cls(root, {name: value for name, value in values.items() if value is not UNSET})
        raise BindingError(f"root is {root!r}; give a task, a task class, or a list of these")

    def make(self, values: Mapping[str, object]) -> Task:
        """Make the task; values without a parameter in its class do not count."""
        own = {name: value for name, value in values.items() if name in self.cls.get_parameters()}
        return self.cls(**{**self.values, **own})

    def read(self, name: str, raw: object) -> object:
        """Return the value of a parameter, read from a rendered template, a form field or code."""
        parameter = self.cls.get_parameters()[name]
        return parameter.read(raw, self.cls.__qualname__, name)


Hops = tuple[KeyPath, ...]
"""The keys from a task to an upstream task: of the task's ``requires()``, then of each inline task in between."""


@dataclass(frozen=True)
class Route:
    """One way to find a task: the operator of its consumer (``None``: the task is a root), and the hops from there."""

    consumer: str | None
    hops: Hops


@dataclass(frozen=True)
class BlueprintNode:
    """One operator of a compiled DAG."""

    task_id: str
    task: Task
    """The task with sample values."""
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Blueprint:
    """The compiled structure of a DAG, a task group or a single operator."""

    roots: tuple[RootSpec, ...]
    nodes: Mapping[str, BlueprintNode]
    """By Airflow task id, upstream first."""
    form: Mapping[str, str] = field(default_factory=dict)
    """The trigger form's field for each parameter in the form."""
    inline: frozenset[str] = frozenset()
    """The class names of the tasks without an operator of their own."""
    plan_task_id: str | None = None
    """The task id of the plan; ``None`` without a plan."""

    @classmethod
    def single(cls, task_id: str, task: Task) -> Blueprint:
        """Return the structure of one operator that makes a task and everything upstream of it."""
        node = BlueprintNode(task_id, task, (Route(None, ((0,),)),))
        return cls((RootSpec.of(task),), {task_id: node})

    @kept
    def direct_routes(self) -> Mapping[str, Mapping[KeyPath, str]]:
        """The operators of the tasks that each operator's task requires, by key; a task without an operator is left out."""
        found: dict[str, dict[KeyPath, str]] = {}
        for node in self.nodes.values():
            for route in node.routes:
                if route.consumer is not None and len(route.hops) == 1:
                    found.setdefault(route.consumer, {})[route.hops[0]] = node.task_id
        return found

    def private_parameters(self) -> set[str]:
        """Return the names of the roots' private parameters."""
        return {name for root in self.roots for name in private_parameters(root.cls)}

    def for_run(self, bind: Mapping[str, object], params: Mapping[str, object]) -> RunGraph:
        """Return the tasks of a run.

        Args:
            bind: the rendered binding, which wins over the form.
            params: the run's Airflow params.

        Raises:
            BindingError: a value does not fit its parameter.
        """
        if unknown := sorted(bind.keys() - {name for root in self.roots for name in root.cls.get_parameters()}):
            raise BindingError(f"bind names {', '.join(unknown)}, which the root has no parameter for", parameter=unknown[0])
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
                    raise BindingError(
                        f"{origin} {value}, which does not fit: {error}", task=root.cls.__qualname__, parameter=name
                    ) from error
            roots.append(root.make(values))
        return RunGraph(self, tuple(roots))

    def __deepcopy__(self, _memo: object) -> Blueprint:
        """Return the blueprint itself: nothing changes a blueprint."""
        return self


def check_single(task_id: str, task: object, bind: object) -> None:
    """Check the arguments of a single operator, when its file is parsed.

    Raises:
        BindingError: ``task`` is no task, or ``bind`` names a parameter that the task does not have.
    """
    if not isinstance(task, TaskOnKart):
        hint = f"; make an instance: {task.__name__}(...)" if isinstance(task, type) else ""
        raise BindingError(f"KartOperator {task_id!r}: task is {task!r}, which is not a task{hint}")
    if isinstance(bind, Mapping) and (unknown := sorted(bind.keys() - task.get_parameters().keys())):
        known = ", ".join(task.get_parameters()) or "none"
        raise BindingError(
            f"KartOperator {task_id!r}: bind names {', '.join(unknown)}; {task!r} has {known}",
            task=repr(task),
            parameter=unknown[0],
        )
    if isinstance(bind, Mapping):
        refuse_private_literals(type(task), bind)


def refuse_private_literals(cls: type[TaskOnKart[object]], bind: Mapping[str, object]) -> None:
    """Refuse a binding that would put a secret into the serialized DAG, which Airflow keeps in its database.

    Raises:
        BindingError: a private parameter is bound to a value rather than to a template.
    """
    for name in private_parameters(cls):
        if bind.get(name) is not None and not is_template(bind[name]):
            raise BindingError(
                f"bind[{name!r}] is a value, and {cls.__qualname__}.{name} is private: everybody who sees the DAG would see the "
                f"value. Bind a template, such as '{{{{ var.value.{name} }}}}' or '{{{{ conn.shop.password }}}}', or set the option "
                f"{name} of section [kart.{cls.__qualname__}]",
                task=cls.__qualname__,
                parameter=name,
            )


def is_template(value: object) -> bool:
    """Whether Jinja has to render a value: a text with a template, or a list or dict that holds one."""
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_template(item) for item in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)


class RunGraph:
    """The tasks of one run, by operator."""

    def __init__(self, blueprint: Blueprint, roots: tuple[Task, ...]) -> None:
        self._blueprint = blueprint
        self.roots = roots
        self._found: dict[str, Task | None] = {}
        self._instances: dict[bytes, Task] = {}  # of equal tasks one, by parameter digest
        self._resolved: dict[bytes, Task] = {}  # the same of resolved ones

    def task(self, task_id: str) -> Task | None:
        """Return the task of one operator; ``None`` if the task is not part of this run.

        Only the tasks on the way from a root are asked what they require. No task is resolved.
        """
        way = [task_id]
        while way:
            for route in self._blueprint.nodes[way[-1]].routes:
                if route.consumer is not None and route.consumer not in self._found:
                    way.append(route.consumer)
                    break
                task = self._at_the_end(route)
                if task is not None:
                    self._found[way.pop()] = self._instances.setdefault(task.parameter_digest, task)
                    break
            else:
                self._found[way.pop()] = None
        return self._found[task_id]

    def resolved(self, task_id: str) -> Task | None:
        """Return the task of one operator, resolved with everything upstream; ``None`` as for :meth:`task`."""
        task = self.task(task_id)
        if task is not None:
            inputs = resolve(task, self._resolved).inputs
            self._instances.update((required.parameter_digest, required) for _, required in inputs)
        return task

    def makers(self, task_id: str, task: Task) -> list[str] | None:
        """Return the operators of the tasks that an operator's task requires; ``None`` where one has no operator of its own."""
        by_path, makers = self._blueprint.direct_routes.get(task_id, {}), []
        for path, required in resolve(task).inputs:
            found = self.task(by_path[path]) if path in by_path else None
            if found is None or (found is not required and found.unique_id != required.unique_id):
                return None
            makers.append(by_path[path])
        return makers

    @kept
    def tasks(self) -> Mapping[str, Task]:
        """The task of each operator, consumers first; operators whose tasks are not part of this run are left out."""
        self._found.clear()
        self._instances.clear()
        for root in self.roots:
            resolve(root)  # so that the walk finds one instance of equal tasks
        found = {task_id: self.task(task_id) for task_id in reversed(list(self._blueprint.nodes))}
        return {task_id: task for task_id, task in found.items() if task is not None}

    @kept
    def task_ids(self) -> Mapping[str, str]:
        """The operator of each task, by unique id. The consumer's operator makes a task that has none."""
        return {task.unique_id: task_id for task_id, task in reversed(list(self.tasks.items()))}

    @kept
    def graph(self) -> Graph:
        """The tasks as a graph, with targets in the current workspace."""
        return Graph.of(self.roots)

    def inline_tasks(self) -> list[Task]:
        """Return the tasks without an operator of their own."""
        return [node.task for unique_id, node in self.graph.nodes.items() if unique_id not in self.task_ids]

    def unique_ids(self, task_ids: Collection[str]) -> set[str]:
        """Return the unique ids of the tasks of some operators."""
        return {self.tasks[task_id].unique_id for task_id in task_ids if task_id in self.tasks}

    def _at_the_end(self, route: Route) -> Task | None:
        """Return the task at the end of a route; ``None`` if a hop leads nowhere."""
        task = self._found[route.consumer] if route.consumer is not None else None
        if route.consumer is not None and task is None:
            return None
        for hop in route.hops:
            try:
                found = follow(self.roots if task is None else required_by(task), hop)
            except LookupError:
                return None
            if not isinstance(found, TaskOnKart):
                return None
            task = found
        return task
