"""Compilation: operators, their order and their groups, from the structure of the roots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airflow.sdk import TaskGroup

from airflow_kart.compiler.binding import Binding, is_template, make_binding
from airflow_kart.compiler.documentation import class_documentation
from airflow_kart.compiler.grouping import group_labels
from airflow_kart.compiler.naming import task_ids
from airflow_kart.compiler.structure import Structure, make_structure
from airflow_kart.exceptions import BindingError
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.blueprint import Blueprint, BlueprintNode, Place, RootSpec
from airflow_kart.operators.plan import KartPlanOperator
from airflow_kart.operators.report import KartReportOperator
from airflow_kart.operators.task import KartOperator
from airflow_kart.settings import below_airflow_home
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["Compilation", "OnCached", "Roots", "Where", "child_id", "compile_roots"]

OnCached = Literal["skip", "success"]
Roots = TaskOnKart[Any] | type[TaskOnKart[Any]] | Sequence[TaskOnKart[Any] | type[TaskOnKart[Any]]]

_OURS = frozenset({"task", "task_id", "blueprint", "on_cached", "dag", "task_group", *KartBaseOperator.template_fields})


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where a DAG's artifacts are, as its author says it; any of it may be a template.

    The fields are arguments of :class:`~airflow_kart.operators.base.KartBaseOperator`.
    """

    workspace_directory: str | None = None
    read_from: Sequence[str] | None = None
    aws_conn_id: str | None = None
    gcp_conn_id: str | None = None
    lock: str | None = None
    redis_conn_id: str | None = None

    def sample(self) -> Workspace:
        """Return a workspace to compile in, in which nothing is looked up."""
        directory = self.workspace_directory
        return (
            Workspace.current() if directory is None or is_template(directory) else Workspace(below_airflow_home(directory))
        )


@dataclass(frozen=True)
class Compilation:
    """Roots, their binding and their structure, ready to become operators."""

    roots: tuple[RootSpec, ...]
    binding: Binding
    structure: Structure
    task_ids: Mapping[tuple[str, str], str]
    """A task id for each node, without the prefix of a group."""
    where: Where

    def add_operators(
        self,
        group: TaskGroup,
        fields: Mapping[str, str],
        *,
        on_cached: OnCached,
        plan: bool,
        operator_kwargs: Mapping[str, Any],
    ) -> Blueprint:
        """Add an operator for each node, the plan before them and the report after them, to a task group.

        Args:
            group: the group, or a DAG's root group.
            fields: the trigger form's field for each parameter it offers.
            on_cached: how the operator of a cached task ends.
            plan: whether a plan comes first.
            operator_kwargs: arguments for all the tasks' operators; those of a task's class win.
        """
        if on_cached not in ("skip", "success"):
            raise BindingError(f"on_cached is {on_cached!r}; use 'skip' or 'success'")
        ids: dict[tuple[str, str], str] = {key: child_id(group, task_id) for key, task_id in self.task_ids.items()}
        blueprint = self._blueprint(ids, fields)
        shared: dict[str, Any] = {"bind": dict(self.binding.bind), **asdict(self.where)}
        subgroups: dict[str, TaskGroup] = {}
        labels = group_labels(self.structure.nodes, self.task_ids)
        operators: dict[tuple[str, str], KartOperator] = {}
        for key, node in self.structure.nodes.items():
            label = labels.get(key)
            if label is not None and label not in subgroups:
                subgroups[label] = TaskGroup(label, prefix_group_id=False, parent_group=group, dag=group.dag)
            operators[key] = KartOperator(
                task=node.task,
                task_id=ids[key] if label is not None else self.task_ids[key],
                task_group=subgroups[label] if label is not None else group,
                dag=group.dag,
                blueprint=blueprint,
                on_cached=on_cached,
                **shared,
                **_operator_kwargs(node.task, operator_kwargs),
            )
        self._connect(operators)
        common: dict[str, Any] = {"task_group": group, "dag": group.dag, "blueprint": blueprint, **shared}
        first = KartPlanOperator(task_id="plan", on_cached=on_cached, **common) if plan else None
        last = KartReportOperator(
            task_id="report",
            plan_task_id=first.task_id if first is not None else None,
            trigger_rule="all_done",
            retries=0,
            **common,
        )
        consumed = {key for key, node in self.structure.nodes.items() if any(consumer for consumer, _ in node.places)}
        needing = {consumer for node in self.structure.nodes.values() for consumer, _ in node.places}
        last.set_upstream([operator for key, operator in operators.items() if key not in consumed])
        if first is not None:
            first.set_downstream([operator for key, operator in operators.items() if key not in needing])
        return blueprint

    def _blueprint(self, ids: Mapping[tuple[str, str], str], fields: Mapping[str, str]) -> Blueprint:
        nodes = {}
        for key, node in self.structure.nodes.items():
            places = tuple(Place(ids[consumer] if consumer else None, hops) for consumer, hops in node.places)
            nodes[ids[key]] = BlueprintNode(ids[key], node.task, places)
        return Blueprint(self.roots, nodes, dict(fields), self.structure.inline)

    def _connect(self, operators: Mapping[tuple[str, str], KartOperator]) -> None:
        needs: dict[tuple[str, str], list[KartOperator]] = {}
        for key, node in self.structure.nodes.items():
            for consumer in dict.fromkeys(consumer for consumer, _ in node.places):
                if consumer is not None:
                    needs.setdefault(consumer, []).append(operators[key])
        for consumer, needed in needs.items():
            operators[consumer].set_upstream(needed)


def compile_roots(root: Roots, bind: Mapping[str, Any] | None, where: Where) -> Compilation:
    """Compile one or several roots.

    Raises:
        KartError: the roots, their binding, or the tasks below them are wrong; Airflow shows it as an import error.
    """
    given = list(root) if isinstance(root, (list, tuple)) else [root]
    if not given:
        raise BindingError("root is empty; give a task, a task class, or a list of these")
    roots = tuple(RootSpec.of(one) for one in given)
    binding = make_binding(roots, bind or {})
    with where.sample():
        structure = make_structure(roots, binding)
    return Compilation(roots, binding, structure, task_ids(structure.nodes), where)


def child_id(group: TaskGroup, label: str) -> str:
    """Return the id of a task in a group."""
    return str(group.child_id(label))  # type: ignore[no-untyped-call]  # Airflow's is not annotated


def _operator_kwargs(task: Task, shared: Mapping[str, Any]) -> dict[str, Any]:
    cls = type(task)
    own = {"trigger_rule": "none_failed", "doc_md": class_documentation(cls), **shared, **cls.operator_kwargs}
    if ours := sorted(_OURS & own.keys()):
        raise BindingError(f"{cls.__qualname__}: operator_kwargs cannot set {', '.join(ours)}; the compiler does")
    return own
