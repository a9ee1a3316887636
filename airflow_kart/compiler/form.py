"""The trigger form: Airflow params made from the roots' parameters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow.sdk import DAG, Param

from airflow_kart.compiler.binding import Binding
from airflow_kart.operators.run_context import RERUN_PARAM, kart_task_ids
from airflow_kart.parameters import UNSET

__all__ = ["add_form"]

_SECTION = "Kart"
_MOST_EXAMPLES = 200


def add_form(dag: DAG, binding: Binding) -> None:
    """Add the roots' parameters, and the choice of what to run again, to a DAG's trigger form.

    Called when the operators are made: Airflow copies a DAG's params into each operator that is made later, and
    checks and serializes every copy, which for many tasks costs more than all the rest of the parsing.

    Args:
        dag: the DAG; params it has already are left as they are.
        binding: says which parameters the form offers.
    """
    for name, (root, default) in binding.form.items():
        if name in dag.params:
            continue
        parameter = root.cls.get_parameters()[name]
        schema = parameter.json_schema()
        value = {} if default is UNSET else {"default": parameter.to_json(default)}
        dag.params[name] = Param(**value, description=parameter.description or None, title=name, **schema)
    dag.params[RERUN_PARAM] = _rerun_param(kart_task_ids(dag))  # those of all groups the DAG has by now


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
