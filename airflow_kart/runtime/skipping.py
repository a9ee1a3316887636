"""Skips: a ``run()`` that raises Airflow's ``AirflowSkipException`` makes nothing, and its consumers are skipped too."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.redaction import Redaction

logger = logging.getLogger(__name__)


def is_skip(error: BaseException) -> bool:
    """Whether an error is Airflow's request to skip a task. Airflow itself need not be loaded."""
    return any(
        cls.__name__ == "AirflowSkipException" and cls.__module__.partition(".")[0] == "airflow"
        for cls in type(error).__mro__
    )


def skip_reason(task: Task, error: BaseException) -> str:
    """Return the words of a task's skip, without secrets."""
    return Redaction(task).text(str(error)) or "its run() raised AirflowSkipException"


@dataclass
class Skips:
    """The tasks of a graph that were skipped: those that asked for it, and all downstream."""

    graph: Graph
    reasons: dict[str, str] = field(default_factory=dict)
    """By unique id."""
    first: Exception | None = None
    """The error of the first task that asked to be skipped."""

    def add(self, task: Task, error: Exception) -> list[tuple[Task, str]]:
        """Take the error of a task that asks to be skipped; return the tasks skipped because of it, with reasons.

        The task itself comes first.
        """
        self.first = self.first or error
        found = [(task, skip_reason(task, error))]
        downstream = self.graph.with_downstream([task.unique_id])
        for unique_id, node in self.graph.nodes.items():
            if unique_id in downstream and unique_id != task.unique_id:
                found.append((node.task, f"{task!r}, which it needs, was skipped: {found[0][1]}"))
        found = [(one, reason) for one, reason in found if one.unique_id not in self.reasons]
        self.reasons.update((one.unique_id, reason) for one, reason in found)
        for one, reason in found:
            logger.info("%r is skipped: %s", one, reason)
        return found
