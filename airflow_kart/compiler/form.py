"""The trigger form: Airflow params made from the roots' parameters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow.sdk import Param

from airflow_kart.compiler.binding import Binding
from airflow_kart.operators.run_context import RERUN_PARAM
from airflow_kart.parameters import UNSET

__all__ = ["form_params"]

_SECTION = "Kart"
_MOST_EXAMPLES = 200


def form_params(binding: Binding, task_ids: Collection[str]) -> dict[str, Param]:
    """Return the fields of a DAG's trigger form: the roots' parameters, and what to run again."""
    fields = {}
    for name, (root, default) in binding.form.items():
        parameter = root.cls.get_parameters()[name]
        schema = parameter.json_schema()
        value = {} if default is UNSET else {"default": parameter.to_json(default)}
        fields[name] = Param(**value, description=parameter.description or None, title=name, **schema)
    return {**fields, RERUN_PARAM: rerun_param(task_ids)}


def rerun_param(task_ids: Collection[str]) -> Param:
    """Return the field that names tasks to run again."""
    options: dict[str, Any] = {}
    if len(task_ids) <= _MOST_EXAMPLES:
        options["examples"] = sorted(task_ids)
    return Param(
        [],
        description="Task ids, or globs of them, to run again with everything below them, although their artifacts are there.",
        title="Run again",
        type="array",
        items={"type": "string"},
        section=_SECTION,
        **options,
    )
