"""Settlement: an operator that has ended also ends what is downstream and need not run.

Where the inputs of a task downstream are all there, and an equal run is known, the task takes that run's artifact at once, in
the process of the operator that ended last upstream. Airflow then skips the task's own operator, which costs no process.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import islice
from typing import Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_kart.operators.assets import has_assets
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.operators.bulk_skip import skip_in_bulk
from airflow_kart.operators.run_context import RunContext, outside_consumers
from airflow_kart.operators.xcom import pulled_by, result_of, upstream_of
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.packed import RESULTS_XCOM, packed
from airflow_kart.runtime.result import RunResult
from airflow_kart.runtime.runner import reuse_task
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.single_flight import TakenElsewhere
from airflow_kart.tasks.completeness import is_complete
from airflow_kart.tasks.resolution import resolve

_ENDED = ("success", "skipped")
_MOST_NAMED = 10
_MOST_UPSTREAM = 1000
"""Operators upstream of a task that is settled. To look at a task takes time for each; the own operator does that once."""

logger = logging.getLogger(__name__)


class Settlement:
    """The tasks downstream of an operator that take the artifacts of equal runs.

    Args:
        operator: the operator, whose own task has its artifact.
        blueprint: the structure it belongs to.
        run_context: its view of the DAG run.
        context: Airflow's context.
    """

    def __init__(self, operator: Any, blueprint: Blueprint, run_context: RunContext, context: Mapping[str, Any]) -> None:
        self._operator = operator
        self._blueprint = blueprint
        self._run_context = run_context
        self._ti = context["ti"]
        self._operators: Mapping[str, Any] = operator.dag.task_dict
        self._pulled: Collection[str] | None = None
        self._states: dict[str, str | None] = {}
        self.results: dict[str, RunResult] = {}
        """By task id, of the tasks that need no process any more; upstream first."""

    def settle(self, session: Session) -> None:
        """Look at everything downstream, upstream first, as far as each task's inputs are all there.

        A task that cannot be settled is left to its own operator, whatever the reason.

        Args:
            session: of the operator's run. Nobody is waited for.
        """
        order = {task_id: place for place, task_id in enumerate(self._blueprint.nodes)}
        task_ids = list(order)
        waiting = sorted(order[one] for one in self._operator.downstream_task_ids if one in order)
        cleared = self._run_context.first_try  # then what is downstream may be cleared too, and has to run
        if not waiting or self._operator.on_cached != "skip" or self._ti.map_index >= 0 or cleared:
            return
        seen = set(waiting)
        session = replace(session, waits=False)
        while waiting:
            task_id = task_ids[heapq.heappop(waiting)]
            try:
                result = self._settled(task_id, session)
            except AirflowTaskTimeout:  # the operator has done its own work
                logger.warning("execution_timeout is over: what is left downstream looks for equal runs by itself")
                return
            except TakenElsewhere as elsewhere:
                logger.info("%s", elsewhere)
                continue
            except Exception as error:  # noqa: BLE001 - the task's own operator meets the error again, and says so
                logger.info("%s is left to its own operator: %s: %s", task_id, type(error).__name__, error)
                continue
            if result is None:
                continue
            self.results[task_id] = result
            for one in self._operators[task_id].downstream_task_ids:
                if one in order and order[one] not in seen:
                    seen.add(order[one])
                    heapq.heappush(waiting, order[one])

    def publish(self) -> None:
        """Tell Airflow: skip the operators, and keep the results for tasks outside the graph."""
        if not self.results:
            return
        names = ", ".join([*self.results][:_MOST_NAMED]) + (", ..." if len(self.results) > _MOST_NAMED else "")
        logger.info(
            "%d task(s) downstream have the artifacts of equal runs now, as their inputs are as before, and are skipped: %s",
            len(self.results),
            names,
        )
        try:
            if self._run_context.others:
                results = {task_id: result_of(found.task, found) for task_id, found in self.results.items()}
                self._ti.xcom_push(key=RESULTS_XCOM, value=packed(results))
            skip_in_bulk(self.results, self._operators)
        except Exception as error:  # noqa: BLE001 - the tasks find their artifacts by themselves
            logger.warning("Airflow did not skip them: %s: %s; each looks for itself", type(error).__name__, error)

    def _settled(self, task_id: str, session: Session) -> RunResult | None:
        operator, row = self._operators[task_id], self._run_context.plan_rows.get(task_id, {})
        if row.get("outcome") != Outcome.RUN.value or row.get("named"):
            return None
        if not self._is_free(operator) or self._is_far_down(operator):
            return None
        task = self._run_context.run.resolved(task_id)
        makers = self._run_context.run.makers(task_id, task) if task is not None else None
        if task is None or makers is None or has_assets(task):
            return None
        if not self._ended({*makers} - self.results.keys() - {self._operator.task_id}):
            return None
        if not all(is_complete(required).complete for _, required in resolve(task).inputs):  # one was skipped, and no hit
            return None
        reason = self._run_context.planned(task_id, task).reason
        return reuse_task(task, reason=reason, session=session)  # complete or not: perhaps of inputs before a rerun

    def _is_free(self, operator: Any) -> bool:
        """Whether nobody needs the operator's own process, or decides besides its inputs whether the operator runs."""
        nodes = self._blueprint.nodes
        if (
            operator.trigger_rule != "none_failed"
            or operator.on_cached != "skip"
            or not operator.upstream_task_ids <= nodes.keys()
        ):
            return False
        if self._pulled is None:
            self._pulled = pulled_by(self._run_context.others, nodes)
        return operator.task_id not in self._pulled and not outside_consumers(operator, nodes)

    def _is_far_down(self, operator: Any) -> bool:
        """Whether there are more operators upstream of one than are worth a look."""
        return any(islice(upstream_of(operator), _MOST_UPSTREAM, None))

    def _ended(self, task_ids: AbstractSet[str]) -> bool:
        """Whether Airflow knows operators as ended: before, their artifacts may be about to change."""
        if unknown := task_ids - self._states.keys():
            self._states.update(self._run_context.states_now(unknown))
        return all(self._states.get(task_id) in _ENDED for task_id in task_ids)
