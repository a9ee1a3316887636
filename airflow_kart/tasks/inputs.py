"""The inputs of a task, chosen and loaded by tasks, keys or targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from airflow_kart.artifacts.target import Target
from airflow_kart.artifacts.together import load_parts_together
from airflow_kart.exceptions import TargetError
from airflow_kart.identity.encoding import Identified
from airflow_kart.tasks.model import Task, is_task, kind_of
from airflow_kart.tasks.nesting import NotALeafError, follow, leaves, map_leaves
from airflow_kart.tasks.outputs import load_nested, targets_of
from airflow_kart.tasks.resolution import resolve

__all__ = ["input_parts", "loaded_inputs"]


def loaded_inputs(task: Task, target: object, columns: Sequence[str] | None) -> object:
    """Load inputs of a task, as :meth:`airflow_kart.TaskOnKart.load` does."""
    if isinstance(target, Target):
        return target.load(columns)

    chosen = _chosen(task, target, "load")
    return load_nested(map_leaves(_nested_outputs, chosen, cast("type[Task]", Identified)), columns)


def input_parts(task: Task, target: object) -> Iterator[Any]:
    """Load inputs of a task part by part, as :meth:`airflow_kart.TaskOnKart.load_generator` does."""
    if isinstance(target, Target):
        return target.load_parts()
    return load_parts_together(_outputs(_chosen(task, target, "load_generator")))


def _nested_outputs(required: Task) -> object:
    """Return ``output()`` of a task; of a wrapper the outputs of the tasks that it groups, nested as these."""
    if kind_of(required).wrapper:
        return map_leaves(_nested_outputs, resolve(required).requirements, cast("type[Task]", Identified))
    return required.output()


def _outputs(nested: object) -> Iterator[Target]:
    """Return the targets of nested tasks in order; a wrapper stands for the tasks that it groups."""
    for _, required in leaves(nested, cast("type[Task]", Identified)):
        if kind_of(required).wrapper:
            yield from _outputs(resolve(required).requirements)
        else:
            yield from (output for _, output in targets_of(required))


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
