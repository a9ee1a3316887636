"""``@kart_dag``: a DAG from the decorated class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_kart.compiler.compile import OnCached, OnChangedCode
from airflow_kart.compiler.dag import KartDag
from airflow_kart.exceptions import BindingError
from airflow_kart.identity.spelling import snake_case
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.task import TaskOnKart

C = TypeVar("C", bound=type[TaskOnKart[Any]])


def kart_dag(
    dag_id: str | None = None,
    *,
    bind: Mapping[str, object] | None = None,
    workspace: str | Workspace | None = None,
    workspace_directory: str | None = None,
    namespace: str | None = None,
    on_cached: OnCached = "skip",
    on_changed_code: OnChangedCode | None = None,
    plan: bool = True,
    operator_kwargs: Mapping[str, object] | None = None,
    **dag_kwargs: Any,
) -> Callable[[C], C]:
    """Make a DAG whose root is the decorated class. Drop the file into the DAG folder; nothing else is needed.

    Args:
        dag_id: the DAG's id; by default the class's name in snake case.
        bind: see :class:`~airflow_kart.KartDag`.
        workspace: see :class:`~airflow_kart.KartDag`.
        workspace_directory: see :class:`~airflow_kart.KartDag`.
        namespace: see :class:`~airflow_kart.KartDag`.
        on_cached: see :class:`~airflow_kart.KartDag`.
        on_changed_code: see :class:`~airflow_kart.KartDag`.
        plan: see :class:`~airflow_kart.KartDag`.
        operator_kwargs: see :class:`~airflow_kart.KartDag`.
        dag_kwargs: everything ``airflow.sdk.DAG`` takes.
    """
    if dag_id is not None and not isinstance(dag_id, str):
        raise BindingError(
            f"@kart_dag is used without arguments on {dag_id!r}; write @kart_dag(schedule=None), or the arguments you need"
        )

    def decorate(cls: C) -> C:
        KartDag(
            dag_id or snake_case(cls.__name__),
            cls,
            bind=bind,
            workspace=workspace,
            workspace_directory=workspace_directory,
            namespace=namespace,
            on_cached=on_cached,
            on_changed_code=on_changed_code,
            plan=plan,
            operator_kwargs=operator_kwargs,
            **dag_kwargs,
        )
        return cls

    return decorate
