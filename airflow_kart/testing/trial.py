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

__all__ = ["Trial", "run_in_memory", "try_in_memory"]

T = TypeVar("T")


@dataclass(frozen=True)
class Trial(Generic[T]):
    """What came of one task."""

    value: T
    """What the task dumped, loaded back; nested as ``output()`` nests its targets."""
    task_log: Mapping[str, Any]
    """The task log, as the run left it."""
    seconds: float
    """How long the task ran."""
    sidecars: Any = field(repr=False)
    """The :class:`~airflow_kart.artifacts.sidecar.Sidecar` of each output, nested as ``output()`` nests its targets."""


def run_in_memory(task: TaskOnKart[T], inputs: Any = NOTHING) -> T:
    """Run one task on given inputs, in memory, and return what it dumped.

    Each input is dumped in the format of the target it stands for, and the task loads it from there; so does what the
    task itself dumps come back. What a format cannot keep shows up as it would in a real run.

    Args:
        task: the task. Nothing that it requires runs.
        inputs: values nested as ``requires()`` nests the tasks: a mapping by key, a list, or the single value. The
            value of a task with several outputs is nested as its ``output()``, that of a wrapper as its ``requires()``.

    Returns:
        What the task dumped, loaded back; nested as ``output()`` nests its targets.

    Raises:
        ConfigurationError: the inputs are not nested so; the message lists the keys.
        FormatError: a format cannot write an input, or what the task dumps.
        Exception: whatever ``run()`` raises.
    """
    return try_in_memory(task, inputs).value


def try_in_memory(task: TaskOnKart[T], inputs: Any = NOTHING) -> Trial[T]:
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
