"""Airflow assets: the event of each artifact that changed, for DAGs that are scheduled on the asset.

All operators share one alias as their outlet. A thousand assets as outlets would slow the parsing of each DAG file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from airflow.sdk import Asset, AssetAlias

from airflow_kart.artifacts.state import Artifact
from airflow_kart.exceptions import ParameterError
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.settings import kart_option
from airflow_kart.tasks.declarations import public_values
from airflow_kart.tasks.graph import upstream_first
from airflow_kart.tasks.model import Task

KART_ASSETS = AssetAlias("airflow_kart")
"""The outlet of operators whose tasks have assets."""


def has_assets(task: Task) -> bool:
    """Whether the task's class names assets, or ``[kart] assets`` does for all classes."""
    return bool(task.assets or kart_option("assets"))


def made_by_operator(task: Task, blueprint: Blueprint | None) -> Iterator[Task]:
    """Return the tasks that a compiled operator makes: its own, and inline tasks; of a single operator its own alone."""
    if blueprint is None or not blueprint.inline:
        return iter([task])
    return (one for one in upstream_first([task], lambda one: one is task or one.inline) if one is task or one.inline)


def with_alias(outlets: Any) -> list[Any]:
    """Return outlets as an author gave them, and the shared alias."""
    return [*(outlets if isinstance(outlets, (list, tuple)) else [outlets] if outlets else []), KART_ASSETS]


def announce(task: Task, artifacts: Collection[Artifact], context: Any) -> bool:
    """Add an event for each asset of a task and each artifact; Airflow registers the events if the operator succeeds.

    Returns:
        Whether there are events.

    Raises:
        ParameterError: an asset cannot be named with the values of the task.
    """
    about = {"unique_id": task.unique_id, "partition_key": getattr(context["dag_run"], "partition_key", None)}
    assets = list(_assets_of(task, context["ti"].dag_id))
    for asset in assets:
        for artifact in artifacts:
            context["outlet_events"][KART_ASSETS].add(asset, extra={**artifact._asdict(), **about})
    return bool(assets)


def _assets_of(task: Task, dag_id: str) -> Iterator[Any]:
    """Return the assets of a task: those that its class names, else that of ``[kart] assets``."""
    cls, rule = type(task), kart_option("assets")
    for given in cls.assets or [rule] * bool(rule):
        fields = {**public_values(task), "class_name": cls.__name__, "dag_id": dag_id, "unique_id": task.unique_id}
        try:
            named = given(task) if callable(given) else given
            yield Asset(named.format(**fields)) if isinstance(named, str) else named
        except Exception as error:
            raise ParameterError(
                f"{given!r}, of {cls.__qualname__}.assets or [kart] assets, names no asset of {task!r}: "
                f"{type(error).__name__}: {error}; there are the fields {', '.join(fields)}",
                task=repr(task),
            ) from error
