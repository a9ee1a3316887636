"""The result of running a graph on empty frames."""

from __future__ import annotations

import enum
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_kart.tasks.model import Task


class EmptyRunOutcome(str, enum.Enum):
    """The outcome of one task."""

    RAN = "ran"
    """The task ran."""
    READ = "read"
    """The task requires nothing, and its complete artifact was read."""
    GIVEN = "given"
    """The test gave a stand-in for the task's result."""
    FAILED = "failed"
    """The task raised an error, or its result cannot be used."""
    NOT_TRIED = "not_tried"
    """An upstream task failed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class EmptyRun:
    """The run of one task, or the reason why the task did not run."""

    task: Task
    outcome: EmptyRunOutcome
    inputs: Mapping[str, str]
    """The inputs in words, by the keys of ``requires()``."""
    error: Exception | None = None
    """The error of a failed task."""
    seconds: float = 0.0
    """Duration, loading of the result included."""
    needs: tuple[Task, ...] = ()
    """For a task that was not tried: the required tasks that failed or were not tried."""

    def __str__(self) -> str:
        """Return the task, its outcome and its inputs, over several lines."""
        lines = [f"{self.task!r}: {self.outcome}"]
        if self.error is not None:
            place = _place(self.task, self.error)
            lines[0] = f"{self.task!r}: {type(self.error).__name__}: {self.error}" + (f" ({place})" if place else "")
            lines += [f"given {key}: {words}" for key, words in self.inputs.items()] or ["given nothing"]
        elif self.needs:
            lines[0] += f", as it needs {', '.join(map(repr, self.needs))}"
        return "\n    ".join(lines)


@dataclass(frozen=True)
class EmptyFramesReport:
    """The outcome of each task of a graph, upstream first."""

    rows: tuple[EmptyRun, ...]

    @property
    def failures(self) -> tuple[EmptyRun, ...]:
        """The tasks that failed."""
        return tuple(row for row in self.rows if row.outcome is EmptyRunOutcome.FAILED)

    def raise_for_failures(self) -> None:
        """Raise one error for all failed tasks; do nothing when no task failed.

        Raises:
            AssertionError: the message has each failed task with error and inputs, and the tasks not tried for that
                reason. The first error is the cause.
        """
        if self.failures:
            raise AssertionError(str(self)) from self.failures[0].error

    def __str__(self) -> str:
        """Return the failures in words, or the number of tasks."""
        if not self.failures:
            return f"{len(self.rows)} tasks, none failed on empty frames"
        idle = [row for row in self.rows if row.outcome is EmptyRunOutcome.NOT_TRIED]
        head = f"{len(self.failures)} of {len(self.rows)} tasks failed on empty frames"
        return "\n  ".join([head, *map(str, self.failures), *map(str, idle)])


def _place(task: Task, error: Exception) -> str:
    """Return the last line of the task's own file in an error's traceback, or an empty text."""
    file = getattr(sys.modules.get(type(task).__module__), "__file__", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""
