"""The trigger form: Airflow params made from the roots' parameters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

from airflow.sdk import DAG, Param

from airflow_kart.compiler.binding import Binding
from airflow_kart.operators.run_context import RERUN_PARAM, kart_classes
from airflow_kart.parameters import UNSET

_SECTION = "Kart"
_FIELDS = "_kart_form_fields"
_MOST_EXAMPLES = 200
_OWN_KEYS = ("default", "description", "title")
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most", "exclusiveMaximum": "less than"}


def name_fields(dag: DAG, binding: Binding, group_id: str | None) -> dict[str, str]:
    """Return the form's field for each parameter in the form.

    A field has its parameter's name, unless another graph in the DAG has a field of this name for something else: then
    the name starts with the group's id. A param of this name that the DAG's author made serves as the field.
    """
    taken: dict[str, Param] = vars(dag).get(_FIELDS, {})
    fields = {}
    for name in binding.form:
        shared = name not in taken or _same(taken[name], _field(binding, name))
        fields[name] = name if shared or group_id is None else f"{group_id}.{name}"
    return fields


def add_form(dag: DAG, binding: Binding, fields: Mapping[str, str]) -> None:
    """Add the roots' parameters, and the choice of tasks to run again, to a DAG's trigger form.

    The compiler calls this after making the operators: Airflow copies a DAG's params into each operator made later, and
    checks and serializes every copy. For many tasks this costs more than the rest of the parsing.

    Args:
        dag: the DAG. Its own params stay as they are.
        binding: names the parameters of the form.
        fields: the field for each parameter.
    """
    ours: dict[str, Param] = vars(dag).setdefault(_FIELDS, {})
    for name, field in fields.items():
        if field not in dag.params:
            dag.params[field] = ours[field] = _field(binding, name)
    dag.params[RERUN_PARAM] = _rerun_param(kart_classes(dag))  # of all groups that the DAG has by now


def _field(binding: Binding, name: str) -> Param:
    root, default = binding.form[name]
    parameter = copy.copy(root.cls.get_parameters()[name])
    parameter.default = default  # the root's own value, which the field has to take
    value = {} if default is UNSET else {"default": parameter.to_json(default)}
    schema = {
        key: item for key, item in parameter.json_schema().items() if key not in _OWN_KEYS
    }  # a user's own parameter may have these
    bounds = ", ".join(f"{words} {schema[key]}" for key, words in _BOUNDS.items() if key in schema)
    description = " ".join(filter(None, (_sentence(parameter.description), _sentence(bounds))))
    return Param(**value, description=description or None, title=name, **schema)


def _sentence(text: str) -> str:
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _same(one: Param, other: Param) -> bool:
    return one.has_value == other.has_value and one.value == other.value and one.schema == other.schema


def _rerun_param(classes: Mapping[str, Collection[str]]) -> Param:
    """Return the field that names tasks to run again: one of all tasks, of classes, of single tasks.

    Airflow offers a picker for an array with ``examples``, and takes only these there. Of many tasks the picker has the
    classes. An emptied picker gives ``null``.
    """
    labels = {"*": "All tasks", **{name: f"{name} (class)" for name in sorted(classes)}}
    ids = {task_id: f"{task_id} ({name})" for name, task_ids in classes.items() for task_id in task_ids}
    if len(ids) <= _MOST_EXAMPLES:
        labels.update(sorted(ids.items()))
    return Param(
        [],
        description="Tasks to run again, with everything downstream, although their artifacts are there: classes or single "
        "tasks. The run's conf also takes globs such as `features*`.",
        title="Run again",
        type=["array", "null"],
        items={"type": "string"},
        section=_SECTION,
        examples=list(labels),
        values_display=labels,
    )
