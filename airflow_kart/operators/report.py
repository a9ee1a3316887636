"""The operator that says, after everything, what a DAG run made and what it reused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_kart.exceptions import TaskFailedError
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.operators.plan import PLAN_XCOM
from airflow_kart.operators.run_context import RunContext
from airflow_kart.operators.table import text_table
from airflow_kart.runtime.plan import Outcome, PlannedTask
from airflow_kart.tasks.completeness import look_at

__all__ = ["REPORT_XCOM", "KartReportOperator"]

REPORT_XCOM = "report"


class KartReportOperator(KartBaseOperator):
    """Reports what ran, what was cached, what was not needed, and the compute time that saved.

    It ends well unless a task failed, also when everything else was skipped: what should follow a compiled DAG or
    group hangs on it. The report is in its log, and under the XCom key ``report``.

    Args:
        blueprint: the compiled structure.
        plan_task_id: the task id of the plan; ``None`` where there is none.
        kwargs: everything :class:`~airflow_kart.operators.base.KartBaseOperator` takes.
    """

    ui_color = "#e6f4e6"
    reports = True

    def __init__(
        self,
        *,
        blueprint: Blueprint,
        plan_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.blueprint = blueprint
        self.plan_task_id = plan_task_id

    def execute(self, context: Any) -> dict[str, Any]:
        """Report; return how many tasks there are of each outcome and the seconds saved.

        Raises:
            TaskFailedError: a task failed.
        """
        ti = context["ti"]
        run_context = RunContext(self, self.blueprint, context)
        states = ti.get_task_states(
            dag_id=ti.dag_id,
            task_ids=[*self.blueprint.nodes, *([self.plan_task_id] if self.plan_task_id else [])],
            run_ids=[ti.run_id],
        ).get(ti.run_id, {})
        plan = ti.xcom_pull(task_ids=self.plan_task_id, key=PLAN_XCOM) if self.plan_task_id else None
        with self.run_workspace():
            found = self._outcomes(run_context, states, plan or {}, (ti.dag_id, ti.run_id))
        summary = self._publish(found, context)
        failed = [task_id for task_id, outcome in found.items() if outcome.outcome is Outcome.FAILED]
        if self.plan_task_id and states.get(self.plan_task_id) not in (None, "success"):
            failed.insert(0, self.plan_task_id)
        if failed:
            raise TaskFailedError(
                f"{len(failed)} task(s) failed, or could not run because one did: {', '.join(failed)}; see their logs"
            )
        return summary

    def _outcomes(
        self,
        run_context: RunContext,
        states: Mapping[str, Any],
        plan: Mapping[str, Any],
        airflow_run: tuple[str, str],
    ) -> dict[str, PlannedTask]:
        tasks = run_context.run.tasks
        graph = run_context.run.graph
        looked_at = look_at([graph.nodes[task.unique_id] for task in tasks.values()], remember=True)
        present = dict(zip(tasks, looked_at, strict=True))
        found: dict[str, PlannedTask] = {}
        for task_id in self.blueprint.nodes:
            state = str(states.get(task_id))
            there = present.get(task_id)
            cached = there is not None and there.complete
            seconds = there.seconds if there is not None and cached else 0.0
            planned = plan.get(task_id, {})
            reason = str(planned.get("reason") or (there.reason if there is not None else "not part of the graph"))
            if state in ("failed", "upstream_failed"):
                outcome = Outcome.FAILED
                reason = "it failed" if state == "failed" else "something it needs failed"
            elif state == "success":
                outcome = Outcome.RAN if there is not None and there.made_by == airflow_run else Outcome.CACHED
            elif planned.get("outcome") in (Outcome.CACHED.value, Outcome.NOT_NEEDED.value):
                outcome = Outcome(planned["outcome"])
            else:
                outcome = Outcome.CACHED if cached else Outcome.NOT_NEEDED
            found[task_id] = PlannedTask(outcome, reason, seconds)
        return found

    def _publish(self, found: Mapping[str, PlannedTask], context: Any) -> dict[str, Any]:
        by_outcome = {
            outcome.value: [task_id for task_id, task in found.items() if task.outcome is outcome]
            for outcome in (Outcome.RAN, Outcome.CACHED, Outcome.NOT_NEEDED, Outcome.FAILED)
        }
        ran = sum(task.seconds for task in found.values() if task.outcome is Outcome.RAN)
        saved = sum(task.seconds for task in found.values() if task.outcome in (Outcome.CACHED, Outcome.NOT_NEEDED))
        times = {"seconds_run": round(ran, 3), "seconds_saved": round(saved, 3)}
        context["ti"].xcom_push(key=REPORT_XCOM, value={**by_outcome, **times})
        counts = {outcome: len(task_ids) for outcome, task_ids in by_outcome.items()}
        table = text_table(
            ("task", "outcome", "seconds", "why"),
            [(task_id, task.outcome.value, f"{task.seconds:.2f}", task.reason) for task_id, task in found.items()],
        )
        self.log.info(
            "Report: %d ran (%.1f s), %d cached, %d not needed, %d failed; %.1f s of compute saved\n%s",
            counts["ran"],
            ran,
            counts["cached"],
            counts["not_needed"],
            counts["failed"],
            saved,
            table,
        )
        return {**counts, **times}
