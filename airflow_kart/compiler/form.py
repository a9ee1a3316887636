"""The trigger form: Airflow params made from the roots' parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow.sdk import DAG, Param

from airflow_kart.compiler.binding import Binding
from airflow_kart.operators.run_context import RERUN_PARAM, kart_task_ids
from airflow_kart.parameters import UNSET

__all__ = ["add_form", "name_fields"]

_SECTION = "Kart"
_FIELDS = "_kart_form_fields"
_MOST_EXAMPLES = 200
_OWN_KEYS = ("default", "description", "title")


def name_fields(dag: DAG, binding: Binding, group_id: str | None) -> dict[str, str]:
    """Return the form's field for each parameter it offers.

    That is the parameter's name, unless another graph in the DAG has a field of this name with something else in it:
    then the group's id comes before it. A param that the DAG's author made under the name is taken for the field.
    """
    taken: dict[str, Param] = vars(dag).get(_FIELDS, {})
    fields = {}
    for name in binding.form:
        shared = name not in taken or _same(taken[name], _field(binding, name))
        fields[name] = name if shared or group_id is None else f"{group_id}.{name}"
    return fields


def add_form(dag: DAG, binding: Binding, fields: Mapping[str, str]) -> None:
    """Add the roots' parameters, and the choice of what to run again, to a DAG's trigger form.

    Called when the operators are made: Airflow copies a DAG's params into each operator that is made later, and
    checks and serializes every copy, which for many tasks costs more than all the rest of the parsing.

    Args:
        dag: the DAG; params it has already are left as they are.
        binding: says which parameters the form offers.
        fields: the field for each of them.
    """
    ours: dict[str, Param] = vars(dag).setdefault(_FIELDS, {})
    for name, field in fields.items():
        if field not in dag.params:
            dag.params[field] = ours[field] = _field(binding, name)
    dag.params[RERUN_PARAM] = _rerun_param(kart_task_ids(dag))  # those of all groups the DAG has by now


def _field(binding: Binding, name: str) -> Param:
    root, default = binding.form[name]
    parameter = root.cls.get_parameters()[name]
    value = {} if default is UNSET else {"default": parameter.to_json(default)}
    schema = {key: item for key, item in parameter.json_schema().items() if key not in _OWN_KEYS}  # a user's may have these
    return Param(**value, description=parameter.description or None, title=name, **schema)


def _same(one: Param, other: Param) -> bool:
    return one.has_value == other.has_value and one.value == other.value and one.schema == other.schema


def _rerun_param(task_ids: Collection[str]) -> Param:
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
