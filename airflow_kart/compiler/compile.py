"""Compilation: from the structure of the roots to operators, their order and their groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from airflow.sdk import TaskGroup

from airflow_kart.compiler.binding import Binding, make_binding
from airflow_kart.compiler.documentation import class_documentation
from airflow_kart.compiler.grouping import group_labels
from airflow_kart.compiler.naming import task_ids
from airflow_kart.compiler.structure import Structure, make_structure
from airflow_kart.exceptions import BindingError
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.blueprint import Blueprint, BlueprintNode, RootSpec, Route
from airflow_kart.operators.plan import KartPlanOperator
from airflow_kart.operators.report import KartReportOperator
from airflow_kart.operators.several_hosts import warn_while_parsing
from airflow_kart.operators.task import KartOperator
from airflow_kart.operators.workspace_field import (
    WorkspaceField,
    given_workspace,
    in_namespace,
    with_changed_code,
    workspace_to_compile_in,
)
from airflow_kart.settings import one_reading
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.task import TaskOnKart

OnCached = Literal["skip", "success"]
OnChangedCode = Literal["warn", "rerun", "ignore"]
Roots = TaskOnKart[Any] | type[TaskOnKart[Any]] | Sequence[TaskOnKart[Any] | type[TaskOnKart[Any]]]

_RETRIES = ("retries", "retry_delay", "retry_exponential_backoff", "max_retry_delay")
"""The arguments for all tasks' operators that the plan gets too: a plan that dies would end the run before any task."""
_OURS = frozenset(
    {"task", "task_id", "blueprint", "on_cached", "dag", "task_group", "namespace", *KartBaseOperator.template_fields}
)


@dataclass(frozen=True)
class Compilation:
    """Roots, their binding and their structure, ready to become operators."""

    roots: tuple[RootSpec, ...]
    binding: Binding
    structure: Structure
    task_ids: Mapping[tuple[str, str], str]
    """Each node's task id, without the prefix of a group."""
    workspace: WorkspaceField | None

    @one_reading(options=True)
    def add_operators(
        self,
        group: TaskGroup,
        fields: Mapping[str, str],
        *,
        on_cached: OnCached,
        plan: bool,
        operator_kwargs: Mapping[str, object],
    ) -> Blueprint:
        """Add to a task group: an operator for each node, a plan upstream of all, a report downstream of all.

        Args:
            group: the group, or a DAG's root group.
            fields: the trigger form's field for each parameter in the form.
            on_cached: how the operator of a cached task ends: ``"skip"`` or ``"success"``.
            plan: whether the group has a plan.
            operator_kwargs: arguments for the operators of all tasks; a class's own ``operator_kwargs`` win. The plan has
                the same retries.

        Raises:
            BindingError: ``on_cached`` or ``operator_kwargs`` is wrong.
        """
        if on_cached not in ("skip", "success"):
            raise BindingError(f"on_cached is {on_cached!r}; use 'skip' or 'success'")
        ids: dict[tuple[str, str], str] = {key: child_id(group, task_id) for key, task_id in self.task_ids.items()}
        plan_task_id = child_id(group, "plan") if plan else None
        blueprint = self._blueprint(ids, fields, plan_task_id)
        shared: dict[str, Any] = {"bind": dict(self.binding.bind), "workspace": self.workspace, "workspace_directory": None}
        subgroups: dict[str, TaskGroup] = {}
        labels = group_labels(self.structure.nodes, self.task_ids)
        operators: dict[tuple[str, str], KartOperator] = {}
        needing = {consumer for node in self.structure.nodes.values() for consumer, _ in node.routes}
        classes = {type(node.task) for node in self.structure.nodes.values()}
        documentation = {cls: class_documentation(cls) for cls in classes}
        for key, node in self.structure.nodes.items():
            label = labels.get(key)
            if label is not None and label not in subgroups:
                subgroups[label] = TaskGroup(label, prefix_group_id=False, parent_group=group, dag=group.dag)
            # A task with requirements runs although cached ones are skipped: its operator decides which skips count.
            trigger_rule = "none_failed" if key in needing else "all_success"
            operators[key] = KartOperator(
                task=cast("TaskOnKart[Any]", node.task),
                task_id=ids[key] if label is not None else self.task_ids[key],
                task_group=subgroups[label] if label is not None else group,
                dag=group.dag,
                blueprint=blueprint,
                on_cached=on_cached,
                **shared,
                **_operator_kwargs(
                    type(node.task),
                    {"trigger_rule": trigger_rule, "doc_md": documentation[type(node.task)], **operator_kwargs},
                ),
            )
        for key, node in self.structure.nodes.items():
            for consumer in {consumer for consumer, _ in node.routes if consumer is not None}:
                _connect(operators[key], operators[consumer])
        common: dict[str, Any] = {"task_group": group, "dag": group.dag, "blueprint": blueprint, **shared}
        retries: dict[str, Any] = {name: operator_kwargs[name] for name in _RETRIES if name in operator_kwargs}
        first = KartPlanOperator(task_id="plan", on_cached=on_cached, **retries, **common) if plan else None
        last = KartReportOperator(task_id="report", trigger_rule="all_done", retries=0, **common)
        for key, node in self.structure.nodes.items():
            if not any(consumer for consumer, _ in node.routes):
                _connect(operators[key], last)
            if first is not None and key not in needing:
                _connect(first, operators[key])
        return blueprint

    def _blueprint(
        self, ids: Mapping[tuple[str, str], str], fields: Mapping[str, str], plan_task_id: str | None
    ) -> Blueprint:
        nodes = {}
        for key, node in self.structure.nodes.items():
            routes = tuple(Route(ids[consumer] if consumer else None, hops) for consumer, hops in node.routes)
            nodes[ids[key]] = BlueprintNode(ids[key], node.task, routes)
        return Blueprint(self.roots, nodes, dict(fields), self.structure.inline, plan_task_id)


def compile_roots(
    root: Roots,
    bind: Mapping[str, object] | None,
    workspace: str | Workspace | None,
    workspace_directory: str | None,
    *,
    namespace: str | None = None,
    on_changed_code: str | None = None,
) -> Compilation:
    """Compile one or several roots.

    Args:
        root: a task, a task class, or a list of these.
        bind: values and templates for the roots' parameters.
        workspace: as for :class:`~airflow_kart.operators.base.KartBaseOperator`.
        workspace_directory: as ``workspace``.
        namespace: the namespace; by default the workspace's.
        on_changed_code: what becomes of an artifact whose code has changed since; by default the workspace's.

    Raises:
        KartError: a root, the binding or a task is wrong; Airflow shows the error as the file's import error.
    """
    given = list(root) if isinstance(root, (list, tuple)) else [root]
    if not given:
        raise BindingError("root is empty; give a task, a task class, or a list of these")
    roots = tuple(RootSpec.of(one) for one in given)
    binding = make_binding(roots, bind or {})
    field = in_namespace(with_changed_code(given_workspace(workspace, workspace_directory), on_changed_code), namespace)
    with workspace_to_compile_in(field) as compiled_in:
        warn_while_parsing(compiled_in)
        structure = make_structure(roots, binding)
    return Compilation(roots, binding, structure, task_ids(structure.nodes), field)


def child_id(group: TaskGroup, label: str) -> str:
    """Return a task's id in a group."""
    return str(group.child_id(label))  # type: ignore[no-untyped-call]  # Airflow's is not annotated


def _connect(upstream: KartBaseOperator, downstream: KartBaseOperator) -> None:
    """Set one dependency between operators of one DAG.

    Airflow's ``set_upstream`` compares the DAGs of the operators by a hash of all their task ids: for ten thousand tasks this
    takes longer than everything else.
    """
    upstream.downstream_task_ids.add(downstream.task_id)
    downstream.upstream_task_ids.add(upstream.task_id)


def _operator_kwargs(cls: type[Task], shared: Mapping[str, object]) -> dict[str, Any]:
    """Return the arguments of a task's operator; those of its class win."""
    if wrong := sorted(_OURS & {*shared, *cls.operator_kwargs}):
        raise BindingError(
            f"{cls.__qualname__}: operator_kwargs cannot set {', '.join(wrong)}; the compiler does", task=cls.__qualname__
        )
    return {**shared, **cls.operator_kwargs}
