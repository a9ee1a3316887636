"""The outcomes of tasks."""

from __future__ import annotations

import enum


class Outcome(str, enum.Enum):
    """The outcome of a task, planned or actual."""

    RUN = "run"
    """The task is going to run."""
    RAN = "ran"
    """The task ran in this run."""
    REUSED = "reused"
    """The task would have run, and took the artifact of an equal run in its place."""
    CACHED = "cached"
    """The task's artifact was there."""
    NOT_NEEDED = "not_needed"
    """No task downstream runs."""
    SKIPPED = "skipped"
    """The task's ``run()``, a person or Airflow skipped the task, or a task upstream."""
    FAILED = "failed"
    """The task, or a task upstream, failed."""

    def __str__(self) -> str:
        return self.value


NOT_IN_GRAPH = "not part of the graph with this run's values"
"""The reason of a task that a DAG has and one of its runs does not need, whatever else runs."""
REUSED = (Outcome.CACHED, Outcome.REUSED)
"""The outcomes of a task whose artifact was not made anew."""
