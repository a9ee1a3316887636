"""The tasks upstream of an operator's own that no other operator makes: inline tasks, for example."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

from airflow_kart.operators.run_context import RunContext
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import ASKED_AGAIN, CLEARED, NEEDS_AGAIN, Plan, make_plan
from airflow_kart.runtime.result import RunResult
from airflow_kart.runtime.runner import make_all
from airflow_kart.runtime.session import Session
from airflow_kart.tasks.completeness import Completeness, look_at
from airflow_kart.tasks.graph import Graph, Node, upstream_first
from airflow_kart.tasks.kinds import ExternalTask
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.resolution import resolve


class UpstreamTasks:
    """The tasks that an operator makes besides its own.

    Args:
        task: the operator's own.
        run_context: the operator's view of the DAG run.
        context: Airflow's context.
    """

    def __init__(self, task: Task, run_context: RunContext, context: Any) -> None:
        self._others: Collection[str] = ()
        self._plan: Plan | None = None
        self.forced = False
        """Whether the operator's own task has to run: a rerun names the task, or a task upstream."""
        self.named = False
        """Whether somebody asked for this very task: an equal run does not stand in for it."""
        self.reason = ""
        """The reason why the task has to run; empty for a task that need not."""
        if run_context.patterns or run_context.run.makers(run_context.task_id, task) is None:
            self._look_at_the_graph(task, run_context, context)
        elif named := {found.unique_id for found in upstream_first([task]) if found.rerun}:
            self._force_if(not _made_here(look_at([Node(task)])[0], run_context, context), task, named)
        if run_context.first_try and run_context.made_before_clear(look_at([Node(task)])[0]):
            self.forced, self.named, self.reason = True, True, self.reason or CLEARED

    def _force_if(self, forced: bool, task: Task, named: Collection[str]) -> None:
        if forced:
            self.forced, self.named = True, task.unique_id in named
            self.reason = ASKED_AGAIN if self.named else NEEDS_AGAIN

    def _look_at_the_graph(self, task: Task, run_context: RunContext, context: Any) -> None:
        """Look at all tasks of the run: a rerun may name any, and a task upstream that no operator makes is made here."""
        others = run_context.run.task_ids.keys() - {task.unique_id}
        self._others = {*others, task.unique_id}
        makes_more = any(required.unique_id not in others for _, required in resolve(task).inputs)
        named = run_context.rerun() | (run_context.run.graph.always_run if makes_more else set())
        if makes_more and run_context.first_try:
            own = [node for unique_id, node in Graph.of([task]).nodes.items() if unique_id not in others]
            found = zip(own, look_at(own), strict=True)
            named |= {node.unique_id for node, there in found if run_context.made_before_clear(there)}
        again = _to_run_again(named, others, run_context, context)
        self._force_if(task.unique_id in again, task, named)
        if makes_more:
            graph = Graph.of([task])
            settled = graph.always_run - again
            self._plan = make_plan(graph, rerun=again & graph.nodes.keys(), given=others, settled=settled)
            planned = self._plan.tasks[task.unique_id]
            if planned.forced and not self.forced:
                self.forced, self.named, self.reason = True, planned.named, planned.reason

    def absent(self, task: Task) -> list[ExternalTask[Any]]:
        """Return the external tasks, among the operator's own task and these, whose artifacts are not there."""
        planned = self._plan.with_outcome(Outcome.RUN) if self._plan is not None else []
        to_make = [node.task for node in planned if node.unique_id not in self._others]
        external = [found for found in [task, *to_make] if isinstance(found, ExternalTask)]
        return [found for found in external if not found.complete()]

    def make(self, session: Session) -> list[RunResult]:
        """Make the tasks; return their results.

        Raises:
            TakenElsewhere: another run holds the lock of one of them.
        """
        if self._plan is None:
            return []
        return make_all(self._plan, except_for=self._others, session=session)


def _to_run_again(named: set[str], others: Collection[str], run_context: RunContext, context: Any) -> set[str]:
    """Return the unique ids of the tasks to run again: the named ones and all downstream, but for two kinds.

    Left out are the tasks of other operators, and tasks that this DAG run has made since it started.
    """
    if not named:
        return set()
    graph = run_context.run.graph
    nodes = [graph.nodes[unique_id] for unique_id in graph.with_downstream(named).difference(others)]
    found = zip(nodes, look_at(nodes), strict=True)
    return {node.unique_id for node, there in found if not _made_here(there, run_context, context)}


def _made_here(found: Completeness, run_context: RunContext, context: Any) -> bool:
    """Whether this DAG run has made an artifact since its start, or since somebody cleared it or the task instance."""
    if run_context.made_before_clear(found):
        return False
    started: dt.datetime | None = context["dag_run"].start_date  # of `airflow tasks test` it may be years ago
    if not found.complete or found.made_by != (context["ti"].dag_id, context["ti"].run_id):
        return False
    return started is None or dt.datetime.fromisoformat(found.finished_at) >= started
