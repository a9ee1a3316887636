"""The inputs of a task, chosen and loaded by tasks, keys or targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from airflow_kart.artifacts.target import Target
from airflow_kart.artifacts.together import load_parts_together
from airflow_kart.exceptions import TargetError
from airflow_kart.identity.encoding import Identified
from airflow_kart.tasks.model import Task, is_task
from airflow_kart.tasks.nesting import NotALeafError, follow, leaves, map_leaves
from airflow_kart.tasks.outputs import load_nested, targets_of
from airflow_kart.tasks.resolution import resolve

__all__ = ["input_parts", "loaded_inputs"]


def loaded_inputs(task: Task, target: object, columns: Sequence[str] | None) -> object:
    """Load inputs of a task, as :meth:`airflow_kart.TaskOnKart.load` does."""
    if isinstance(target, Target):
        return target.load(columns)

    outputs = map_leaves(lambda required: required.output(), _chosen(task, target, "load"), cast("type[Task]", Identified))
    return load_nested(outputs, columns)


def input_parts(task: Task, target: object) -> Iterator[Any]:
    """Load inputs of a task part by part, as :meth:`airflow_kart.TaskOnKart.load_generator` does."""
    if isinstance(target, Target):
        return target.load_parts()
    chosen = leaves(_chosen(task, target, "load_generator"), cast("type[Task]", Identified))
    found = (output for _, required in chosen for _, output in targets_of(required))
    return load_parts_together(found)


def _chosen(task: Task, target: object, method: str) -> object:
    """Return the tasks to load, nested."""
    chosen = target
    if target is None or isinstance(target, (str, int)):
        chosen = resolve(task).requirements
        if target is not None:
            try:
                chosen = follow(chosen, (target,))
            except LookupError:
                raise TargetError(
                    f"{task!r}.{method}({target!r}): requires() has no such key; {_keys_of(chosen)}", task=repr(task)
                ) from None
    try:
        list(leaves(chosen, Identified))
    except NotALeafError as error:
        raise TargetError(
            f"{task!r}.{method}() takes a key of requires(), a task, a target, or lists and dicts of these, not {error}",
            task=repr(task),
        ) from None
    return chosen


def _keys_of(requirements: object) -> str:
    if is_task(requirements):
        return "it returns one task by itself: call load()"
    if isinstance(requirements, Mapping):
        return f"it has {', '.join(map(repr, requirements)) or 'none'}"
    return (
        f"it returns a list of {len(requirements)}"
        if isinstance(requirements, list) and requirements
        else "it returns nothing"
    )
