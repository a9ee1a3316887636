"""Trials: one task run in memory, on inputs that a test gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_kart.artifacts.target import Target
from airflow_kart.runtime.runner import run_task
from airflow_kart.tasks.graph import require_task
from airflow_kart.tasks.nesting import map_leaves
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.task import TaskOnKart
from airflow_kart.testing.memory import in_memory_workspace
from airflow_kart.testing.stand_in import NOTHING, dump_inputs, refuse_outside

T = TypeVar("T")


@dataclass(frozen=True)
class Trial(Generic[T]):
    """The result of one task."""

    value: T
    """The dumped object, loaded back; nested as ``output()`` nests its targets."""
    task_log: Mapping[str, Any]
    """The task log at the end of the run."""
    seconds: float
    """Duration of ``run()``."""
    sidecars: Any = field(repr=False)
    """The :class:`~airflow_kart.artifacts.sidecar.Sidecar` of each output, nested as ``output()`` nests its targets."""


def run_in_memory(task: TaskOnKart[T], inputs: object = NOTHING) -> T:
    """Run one task on given inputs, in memory, and return the dumped object.

    Each input is dumped to a target in memory, in the target's format, and loaded by the task. The task's own result
    takes the same way. So the limits of a format show up as in a real run.

    Args:
        task: the task. No upstream task runs.
        inputs: values nested as ``requires()`` nests the tasks: a mapping by key, a list, or the single value. For a
            task with several outputs nest the value as its ``output()``, for a wrapper as its ``requires()``.

    Returns:
        The dumped object, loaded back; nested as ``output()`` nests its targets.

    Raises:
        ConfigurationError: the inputs have another nesting; the message lists the keys.
        FormatError: a format cannot write an input or the result.
        Exception: ``run()`` raised this error.
    """
    return try_in_memory(task, inputs).value


def try_in_memory(task: TaskOnKart[T], inputs: object = NOTHING) -> Trial[T]:
    """Run one task as :func:`run_in_memory` does, and return its task log and sidecars too."""
    require_task(task, "run_in_memory")
    with in_memory_workspace():
        for _, target in targets_of(task):
            refuse_outside(target)
        dump_inputs(task, inputs)
        result = run_task(task)
        value: T = map_leaves(lambda target: target.load(), task.output(), Target)
        sidecars = map_leaves(lambda target: target.sidecar(), task.output(), Target)
        return Trial(value, dict(task.task_log), result.seconds, sidecars)
