"""KartTaskGroup: a compiled graph inside another DAG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import TaskGroup

from airflow_kart.compiler.compile import OnCached, OnChangedCode, Roots, compile_roots
from airflow_kart.compiler.form import add_form, name_fields
from airflow_kart.exceptions import BindingError, KartError
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.parameters import UNSET
from airflow_kart.storage.workspace import Workspace


class KartTaskGroup(TaskGroup):
    """A task group with an operator for each task of a graph, a plan upstream of all, and a report downstream of all.

    Tasks downstream of the group run after its report, also when everything in the group was cached. The group adds the
    roots' parameters to the DAG's trigger form. A param that the DAG has already gives the parameter of its name a value.
    Where another group has a field of this name for something else, the field's name starts with the group's id.

    Args:
        group_id: the group's id, which prefixes the task ids.
        root: the task that the group makes, its class, or a list of these.
        bind, workspace, workspace_directory, namespace, on_cached, on_changed_code, plan, operator_kwargs: see
            :class:`~airflow_kart.KartDag`.
        group_kwargs: everything ``airflow.sdk.TaskGroup`` takes.

    Raises:
        KartError: a root, the binding or a task is wrong.
    """

    blueprint: Blueprint
    """The compiled structure."""

    def __init__(
        self,
        group_id: str,
        root: Roots,
        *,
        bind: Mapping[str, object] | None = None,
        workspace: str | Workspace | None = None,
        workspace_directory: str | None = None,
        namespace: str | None = None,
        on_cached: OnCached = "skip",
        on_changed_code: OnChangedCode | None = None,
        plan: bool = True,
        operator_kwargs: Mapping[str, object] | None = None,
        **group_kwargs: Any,
    ) -> None:
        try:
            compilation = compile_roots(
                root, bind, workspace, workspace_directory, namespace=namespace, on_changed_code=on_changed_code
            )
            super().__init__(group_id, **group_kwargs)
            if next(self.iter_mapped_task_groups(), None) is not None:
                raise BindingError(
                    "a mapped task group cannot hold a KartTaskGroup, whose plan decides for one run of each task; make one "
                    "group for each value in a loop, or map one operator: KartOperator.partial(...).expand(bind=[...])"
                )
            for name, (spec, default) in compilation.binding.form.items():
                if default is UNSET and name not in self.dag.params:
                    raise BindingError(
                        f"{spec.cls.__qualname__}.{name} has no value: bind it, or give the root as a task",
                        task=spec.cls.__qualname__,
                        parameter=name,
                    )
            fields = name_fields(self.dag, compilation.binding, self.group_id)
            self.blueprint = compilation.add_operators(
                self, fields, on_cached=on_cached, plan=plan, operator_kwargs=operator_kwargs or {}
            )
            add_form(self.dag, compilation.binding, fields)
        except KartError as error:
            error.add_context(f"KartTaskGroup {group_id!r}")
            raise error.in_users_code(saying=True) from None
