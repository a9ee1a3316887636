"""What a run would do now: each task's outcome, why the task runs, and how long it will take, by what the catalogue knows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_kart.audit.cause import Why
from airflow_kart.audit.history import History
from airflow_kart.audit.why import why_task
from airflow_kart.identity.names import logical_class_name
from airflow_kart.runtime.plan import Outcome, Plan, PlannedTask
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task, kind_of

_NEWEST = 20
"""Artifacts of a class whose seconds are the measure."""


@dataclass(frozen=True)
class Expected:
    """A task of a plan."""

    task: Task
    planned: PlannedTask
    why: Why | None = None
    """Why the task runs; ``None`` for other tasks, and where the time for the search was over."""
    seconds: float | None = None
    """How long a run will take, by the median of the newest artifacts of the class; ``None`` where the class never ran."""

    @property
    def reason(self) -> str:
        """The root causes of a run, or the plan's reason."""
        return self.planned.reason if self.why is None else self.why.in_one_line


def forecast(plan: Plan, patience: float) -> Iterator[Expected]:
    """Return the tasks of a plan of the current workspace, upstream first.

    Args:
        plan: the plan.
        patience: seconds for the search of causes; the tasks left have the plan's reasons.
    """
    history = History(Workspace.current()) if plan.with_outcome(Outcome.RUN) else None
    medians: dict[str, float | None] = {}
    ends = time.monotonic() + patience
    for unique_id, planned in plan.tasks.items():
        task = plan.graph.nodes[unique_id].task
        if planned.outcome is not Outcome.RUN or history is None:
            yield Expected(task, planned)
            continue
        name = logical_class_name(type(task))
        if name not in medians:
            newest = history.newest(name, _NEWEST)
            medians[name] = statistics.median(row.seconds for row in newest) if newest else None
        why = why_planned(task, planned, history) if time.monotonic() < ends else None
        yield Expected(task, planned, why, medians[name] if kind_of(task).sidecar else 0.0)


def why_planned(task: Task, planned: PlannedTask, history: History) -> Why:
    """Return why a task of a plan runs, or why it need not."""
    if planned.outcome is Outcome.RUN:
        return why_task(task, forced=planned.reason, history=history)
    return Why(repr(task), task.unique_id, False, f"it need not run: {planned.reason}")
