"""What an operator makes besides its own task: tasks that have no operator of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

from airflow_kart.operators.run_context import RunContext
from airflow_kart.runtime.plan import Outcome, Plan, PlannedTask, make_plan, states_of
from airflow_kart.runtime.runner import make_all
from airflow_kart.runtime.single_flight import Turns
from airflow_kart.tasks.graph import Graph, Node
from airflow_kart.tasks.kinds import ExternalTask
from airflow_kart.tasks.task import TaskOnKart

__all__ = ["Below"]


class Below:
    """What an operator makes besides its own task: tasks below it that no other operator makes, such as inline ones."""

    def __init__(self, task: TaskOnKart[Any], run_context: RunContext, context: Any) -> None:
        others = run_context.run.task_ids.keys() - {task.unique_id}
        self._coordinates = run_context.coordinates
        self._others = {*others, task.unique_id}
        self._plan: Plan | None = None
        makes_more = any(required.unique_id not in others for _, required in task.lineage.inputs)
        named = run_context.rerun() | (run_context.run.graph.always_run if makes_more else set())
        again = _to_run_again(named, others, run_context, context)
        self.forced = task.unique_id in again
        """Whether the task has to run: it is asked to, or something below it does."""
        if makes_more:
            graph = Graph.of([task])
            settled = graph.always_run - again
            self._plan = make_plan(graph, rerun=again & graph.nodes.keys(), given=others, settled=settled)
            self.forced = self.forced or self._plan.tasks[task.unique_id].forced

    def absent(self, task: TaskOnKart[Any]) -> list[ExternalTask[Any]]:
        """Return the external tasks among the task and those below it whose artifacts are not there."""
        to_make = [node.task for node in self._to_make()]
        external = [found for found in [task, *to_make] if isinstance(found, ExternalTask)]
        return [found for found in external if not found.complete()]

    def make(self, turns: Turns) -> int:
        """Make them; return how many ran."""
        if self._plan is None:
            return 0
        results = make_all(self._plan, coordinates=self._coordinates(), except_for=self._others, turns=turns)
        return sum(result.outcome is Outcome.RAN for result in results)

    def _to_make(self) -> list[Node]:
        planned = self._plan.with_outcome(Outcome.RUN) if self._plan is not None else []
        return [node for node in planned if node.unique_id not in self._others]


def _to_run_again(named: set[str], others: Collection[str], run_context: RunContext, context: Any) -> set[str]:
    """Return what is asked to run again and all below it, but for what this DAG run has made since it started.

    Everything is named by unique ids. What other operators make, ``others``, is left out.
    """
    if not named:
        return set()
    graph = run_context.run.graph
    nodes = [graph.nodes[unique_id] for unique_id in graph.below(named).difference(others)]
    return {
        node.unique_id for node, present in zip(nodes, states_of(nodes), strict=True) if not _made_here(present, context)
    }


def _made_here(present: PlannedTask, context: Any) -> bool:
    """Whether this DAG run has made an artifact since it started, or was cleared."""
    started: dt.datetime | None = context["dag_run"].start_date  # of `airflow tasks test` it may be years ago
    if present.outcome is not Outcome.CACHED or present.made_by != (context["ti"].dag_id, context["ti"].run_id):
        return False
    return started is None or dt.datetime.fromisoformat(present.finished_at) >= started
