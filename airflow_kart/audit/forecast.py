"""What a run would do now: each task's outcome, why the task runs, and how long it will take, by what the catalogue knows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_kart.audit.catalogue.history import History, Side
from airflow_kart.audit.cause import Cause, Why
from airflow_kart.audit.why import why_task
from airflow_kart.exceptions import KartError
from airflow_kart.identity.names import logical_class_name
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import Plan, PlannedTask
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task, kind_of

_MANY = 1000
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
    whys = {} if history is None else explained(plan, history, patience)
    medians: dict[str, float | None] = {}
    for unique_id, planned in plan.tasks.items():
        task = plan.graph.nodes[unique_id].task
        if planned.outcome is not Outcome.RUN or history is None:
            yield Expected(task, planned)
            continue
        name = logical_class_name(type(task))
        if name not in medians:
            newest = history.newest(name, _NEWEST)
            medians[name] = statistics.median(row.seconds for row in newest) if newest else None
        yield Expected(task, planned, whys.get(unique_id), medians[name] if kind_of(task).sidecar else 0.0)


def explained(plan: Plan, history: History, patience: float) -> dict[str, Why]:
    """Return why tasks run, by unique id: the answer for a task explains the tasks upstream, too.

    Where one answer about very many tasks would take long, each task is asked by itself.

    Args:
        plan: the plan, of the current workspace.
        history: of the same workspace.
        patience: seconds for the search; tasks left are left out.
    """
    running = [node.task for node in plan.with_outcome(Outcome.RUN)]
    found: dict[str, Why] = {}
    met: dict[str, list[Cause]] = {}
    ends = time.monotonic() + patience
    for task in running if len(running) > _MANY else reversed(running):
        planned, text = plan.tasks[task.unique_id], str(Side.of_task(task))
        if text in met and not planned.named:
            found[task.unique_id] = Why(text, task.unique_id, True, planned.reason, None, tuple(met[text]))
        elif time.monotonic() < ends:
            try:
                found[task.unique_id] = why = why_planned(task, planned, history)
            except KartError:  # somebody removes what is compared
                continue
            here: dict[str, list[Cause]] = {}
            pending = list(why.causes) if len(running) <= _MANY else []
            for cause in pending:  # which grows
                here.setdefault(cause.task, []).append(cause)
                pending += cause.because
            met = {**here, **met}
    return found


def why_planned(task: Task, planned: PlannedTask, history: History) -> Why:
    """Return why a task of a plan runs, or why it need not."""
    if planned.outcome is Outcome.RUN:
        return why_task(task, forced=planned.reason, history=history)
    return Why(repr(task), task.unique_id, False, f"it need not run: {planned.reason}")
