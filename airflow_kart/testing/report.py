"""What came of running a graph on empty frames."""

from __future__ import annotations

import enum
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_kart.tasks.model import Task

__all__ = ["EmptyFramesReport", "EmptyRun", "EmptyRunOutcome"]


class EmptyRunOutcome(str, enum.Enum):
    """What came of one task."""

    RAN = "ran"
    """It ran."""
    READ = "read"
    """It requires nothing and its artifact was complete, so that was read."""
    GIVEN = "given"
    """The test gave a stand-in for what it dumps."""
    FAILED = "failed"
    """It raised an error, or what it dumped cannot be used."""
    NOT_TRIED = "not_tried"
    """Something it needs failed."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class EmptyRun:
    """What came of one task."""

    task: Task
    outcome: EmptyRunOutcome
    inputs: Mapping[str, str]
    """What it was given, in words, by the keys of ``requires()``."""
    error: Exception | None = None
    """Why it failed."""
    seconds: float = 0.0
    """How long it took."""
    needs: tuple[Task, ...] = ()
    """For a task that was not tried: what it needs that failed, or was not tried either."""

    def __str__(self) -> str:
        """Return the task and what came of it, over several lines."""
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
    """What came of each task of a graph, upstream first."""

    rows: tuple[EmptyRun, ...]

    @property
    def failures(self) -> tuple[EmptyRun, ...]:
        """The tasks that failed."""
        return tuple(row for row in self.rows if row.outcome is EmptyRunOutcome.FAILED)

    def raise_for_failures(self) -> None:
        """Raise one error for all tasks that failed, if any did.

        Raises:
            AssertionError: the message has each task that failed, with its error and what it was given, and the tasks
                that were not tried for that reason. The first error is its cause.
        """
        if self.failures:
            raise AssertionError(str(self)) from self.failures[0].error

    def __str__(self) -> str:
        """Return the failures in words, or how many tasks there were."""
        if not self.failures:
            return f"{len(self.rows)} tasks, none failed on empty frames"
        idle = [row for row in self.rows if row.outcome is EmptyRunOutcome.NOT_TRIED]
        head = f"{len(self.failures)} of {len(self.rows)} tasks failed on empty frames"
        return "\n  ".join([head, *map(str, self.failures), *map(str, idle)])


def _place(task: Task, error: Exception) -> str:
    """Return the line of the task's own file that an error came through last, or an empty text."""
    file = getattr(sys.modules.get(type(task).__module__), "__file__", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""
