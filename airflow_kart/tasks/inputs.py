"""The inputs of a task, chosen and loaded by tasks, keys or targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from airflow_kart.artifacts.target import Target
from airflow_kart.artifacts.together import load_parts_together
from airflow_kart.exceptions import TargetError
from airflow_kart.identity.encoding import Identified
from airflow_kart.tasks.model import Task, is_task, kind_of
from airflow_kart.tasks.nesting import KeyPath, NotALeafError, follow, leaves, map_leaves
from airflow_kart.tasks.outputs import load_nested, nested_outputs
from airflow_kart.tasks.resolution import resolve


def loaded_inputs(task: Task, target: object, keys: KeyPath, columns: Sequence[str] | None) -> object:
    """Load inputs of a task, as :meth:`airflow_kart.TaskOnKart.load` does."""
    return load_nested(input_targets(task, target, keys, "load"), columns)


def input_parts(task: Task, target: object, keys: KeyPath) -> Iterator[Any]:
    """Load inputs of a task part by part, as :meth:`airflow_kart.TaskOnKart.load_generator` does."""
    targets = input_targets(task, target, keys, "load_generator")
    return load_parts_together(found for _, found in leaves(targets, Target))


def input_targets(task: Task, target: object, keys: KeyPath, method: str) -> Any:
    """Return the targets of inputs, nested as the tasks and their outputs are.

    Args:
        task: the task downstream.
        target: a required task, or a nesting of tasks; a key of ``requires()``; a target; ``None`` for all requirements.
        keys: the way from there, through the nesting of tasks and then through a task's outputs.
        method: of the task, for messages.

    Raises:
        TargetError: there is no such input.
    """
    chosen = target
    given = keys if target is None else (target, *keys)
    if target is None or isinstance(target, (str, int)):
        chosen, keys = resolve(task).requirements, cast(KeyPath, given)
    for key in keys:
        if is_task(chosen):
            chosen = outputs_of(chosen)
        try:
            chosen = follow(chosen, (key,))
        except LookupError:
            raise TargetError(
                f"{task!r}.{method}({', '.join(map(repr, given))}): there is no input {key!r}; {_keys_in(chosen)}",
                task=repr(task),
            ) from None
    leaf = cast("type[Task | Target]", (Identified, Target))
    try:
        list(leaves(chosen, leaf))
    except NotALeafError as error:
        raise TargetError(
            f"{task!r}.{method}() takes a key of requires(), a task, a target, or lists and dicts of these, not {error}",
            task=repr(task),
        ) from None
    return map_leaves(outputs_of, chosen, leaf)


def outputs_of(found: Task | Target) -> object:
    """Return ``output()`` of a task; of a wrapper the outputs of the tasks that it groups, nested as these."""
    if isinstance(found, Target):
        return found
    if kind_of(found).wrapper:
        return map_leaves(outputs_of, resolve(found).requirements, cast("type[Task]", Identified))
    return nested_outputs(found)


def _keys_in(nested: object) -> str:
    if isinstance(nested, Target):
        return "that is a single output, without keys: leave the key out"
    if isinstance(nested, Mapping):
        return f"there are {', '.join(map(repr, nested)) or 'none'}"
    return f"there is a list of {len(nested)}" if isinstance(nested, list) and nested else "nothing is required"
