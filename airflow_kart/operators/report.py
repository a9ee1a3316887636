"""The operator that reports, at the end of a DAG run, which tasks ran and which artifacts were reused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_kart.exceptions import TaskFailedError
from airflow_kart.identity.names import logical_class_name
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.operators.metrics import count_outcomes
from airflow_kart.operators.run_context import RunContext
from airflow_kart.operators.table import text_table
from airflow_kart.operators.upstream_skips import skip_summary
from airflow_kart.runtime.ledger import enter
from airflow_kart.runtime.outcome import NOT_IN_GRAPH, REUSED, Outcome
from airflow_kart.runtime.packed import CHANGED_CODE_XCOM, REPORT_XCOM, packed
from airflow_kart.runtime.plan import PlannedTask
from airflow_kart.runtime.tally import Tally
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.completeness import Completeness, is_complete, look_at
from airflow_kart.tasks.graph import Node
from airflow_kart.tasks.model import kind_of


class KartReportOperator(KartBaseOperator):
    """Reports the tasks that ran, were cached or were not needed, and the compute time that cached tasks saved.

    The operator succeeds unless a task failed, also when all other tasks were skipped: set the successors of a compiled DAG
    or group downstream of the report. The report is in the operator's log, and under the XCom key ``report``.

    Args:
        blueprint: the compiled structure.
        kwargs: everything :class:`~airflow_kart.operators.base.KartBaseOperator` takes.
    """

    ui_color = "#e6f4e6"
    reports = True

    def __init__(self, *, blueprint: Blueprint, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blueprint = blueprint

    def private_parameters(self) -> Collection[str]:
        """Return the names of the roots' private parameters."""
        return self.blueprint.private_parameters()

    def execute(self, context: Any) -> dict[str, Any]:
        """Report; return how many tasks there are of each outcome and the seconds saved.

        Raises:
            TaskFailedError: a task failed.
            AirflowSkipException: the plan, or each task that the graph is made for, was skipped: so is what is downstream.
        """
        ti, plan_task_id = context["ti"], self.blueprint.plan_task_id
        run_context = RunContext(self, self.blueprint, context)
        states = run_context.states_now([*self.blueprint.nodes, *([plan_task_id] if plan_task_id else [])])
        if plan_task_id and states.get(plan_task_id) == "skipped":
            raise AirflowSkipException(f"{plan_task_id} was skipped, and so was everything that it plans")
        with self.run_workspace():
            found = self._outcomes(run_context, states, ti)
        summary = self._publish(found, run_context, context)
        failed = [task_id for task_id, outcome in found.items() if outcome.outcome is Outcome.FAILED]
        if plan_task_id and states.get(plan_task_id) not in (None, "success"):
            failed.insert(0, plan_task_id)
        if failed:
            ti.xcom_push(key="return_value", value=summary)  # the page of the DAG adds up the runs
            raise TaskFailedError(
                f"{len(failed)} task(s) failed, or could not run because one did: {', '.join(failed)}; see their logs"
            )
        roots = [
            found[task_id].outcome
            for task_id, node in self.blueprint.nodes.items()
            if any(route.consumer is None for route in node.routes)
        ]
        if all(outcome is Outcome.SKIPPED for outcome in roots):
            ti.xcom_push(key="return_value", value=summary)
            raise AirflowSkipException("all that the graph is made for was skipped; the report says why")
        return summary

    def _outcomes(self, run_context: RunContext, states: Mapping[str, Any], ti: Any) -> dict[str, PlannedTask]:
        plan = run_context.plan_rows
        found: dict[str, PlannedTask] = {}
        unknown: list[str] = []  # only their artifacts tell
        for task_id in self.blueprint.nodes:
            state, planned = str(states.get(task_id)), plan.get(task_id, {})
            if state in ("failed", "upstream_failed"):
                reason = "it failed" if state == "failed" else "something it needs failed"
                found[task_id] = PlannedTask(Outcome.FAILED, reason)
            elif planned.get("outcome") in (Outcome.CACHED.value, Outcome.NOT_NEEDED.value) and state != "success":
                found[task_id] = PlannedTask(Outcome(planned["outcome"]), planned["reason"], planned.get("seconds", 0.0))
            else:
                unknown.append(task_id)
        tasks = run_context.run.tasks if unknown else {}
        present = iter(look_at([Node(tasks[task_id]) for task_id in unknown if task_id in tasks], remember=True))
        for task_id in unknown:
            if task_id not in tasks:
                found[task_id] = PlannedTask(Outcome.NOT_NEEDED, NOT_IN_GRAPH)
                continue
            state, there, planned = str(states.get(task_id)), next(present), plan.get(task_id, {})
            if kind_of(tasks[task_id]).wrapper:  # which is there where all that it groups is
                there = is_complete(tasks[task_id])
            to_run, made_here = planned.get("outcome") == Outcome.RUN.value, there.made_by == (ti.dag_id, ti.run_id)
            by_other = state == "success" and not made_here and planned.get("outcome") != Outcome.CACHED.value
            seconds = there.seconds
            if to_run and state not in ("success", "skipped", "removed") and not (there.complete and made_here):
                # for a task outside the graph only; the report need not wait
                outcome, reason = Outcome.RUN, planned["reason"]
            elif (
                there.complete and not by_other and (state == "success" or to_run)
            ):  # perhaps the operator is about to end, or had no process
                outcome = Outcome.CACHED
                if made_here:
                    outcome = Outcome.REUSED if there.reused else Outcome.RAN
                why = planned.get("reason") if outcome is Outcome.RAN else None
                reason = str(why or there.reason)  # of an artifact that another run made meanwhile: by which, and when
            else:  # also where another run has made the artifact: instead of this one, or since
                outcome, reason, seconds = _as_its_operator_said(ti.xcom_pull(task_ids=task_id), state, there)
            found[task_id] = PlannedTask(outcome, reason, seconds, made_by=there.made_by, artifacts=there.artifacts)
        count_outcomes(ti.dag_id, (found[task_id] for task_id in unknown))  # the plan has counted the others
        return {task_id: found[task_id] for task_id in self.blueprint.nodes}

    def _publish(self, found: Mapping[str, PlannedTask], run_context: RunContext, context: Any) -> dict[str, Any]:
        by_outcome = {
            outcome.value: [task_id for task_id, task in found.items() if task.outcome is outcome] for outcome in Outcome
        }
        tally = Tally()
        for task_id, task in found.items():
            tally.add(logical_class_name(type(self.blueprint.nodes[task_id].task)), task.outcome, task.seconds)
        ran, saved = tally.seconds([Outcome.RAN]), tally.seconds(REUSED)
        why = {task_id: task.reason for task_id, task in found.items()}
        times = {"seconds_run": round(ran, 3), "seconds_saved": round(saved, 3)}
        changed = context["ti"].xcom_pull(task_ids=self.blueprint.plan_task_id, key=CHANGED_CODE_XCOM) or []
        told: dict[str, Any] = {"changed_code": changed} if changed else {}
        planned = run_context.plan_rows  # which has those of cached tasks
        made = {one: task for one, task in found.items() if task.seconds and "seconds" not in planned.get(one, {})}
        told["seconds"] = {one: round(task.seconds, 3) for one, task in made.items()}
        told["bytes"] = {one: sum(artifact.bytes or 0 for artifact in task.artifacts) for one, task in made.items()}
        context["ti"].xcom_push(key=REPORT_XCOM, value=packed({**by_outcome, **times, "why": why, **told}))
        counts = {outcome: len(task_ids) for outcome, task_ids in by_outcome.items()}
        table = text_table(
            ("task", "outcome", "seconds", "values", "why"),
            [
                (task_id, task.outcome.value, f"{task.seconds:.2f}", run_context.label_of(task_id), task.reason)
                for task_id, task in found.items()
            ],
        )
        ti = context["ti"]
        with self.run_workspace():
            enter(Workspace.current(), tally, (ti.dag_id, ti.run_id))
        self.log.info("Report: %s; of %s\n%s", tally, run_context.date_text(), "\n".join([table, *changed]))
        return {**counts, **times}


def _as_its_operator_said(summary: object, state: str, there: Completeness) -> tuple[Outcome, str, float]:
    """Return outcome, reason and seconds of a task whose state in Airflow does not tell.

    Args:
        summary: the operator's return value, if the operator pushed one.
        state: the task instance's state in Airflow.
        there: what is known of the artifact.
    """
    said = summary if isinstance(summary, Mapping) else {}
    if said.get("outcome") in (Outcome.RAN, *REUSED):
        lost = "" if there.complete else f"; {said.get('host')} has it at {_uris(said)}, and here {there.reason}"
        return Outcome(said["outcome"]), f"{said.get('reason')}{lost}", float(said.get("seconds") or 0.0)
    if state == "success" and not there.complete:
        return Outcome.SKIPPED, f"it was marked as success, and its artifact is not there: {there.reason}", there.seconds
    if state == "skipped":
        return Outcome.SKIPPED, skip_summary(summary), there.seconds
    return Outcome.CACHED if there.complete else Outcome.NOT_NEEDED, there.reason, there.seconds


def _uris(said: Mapping[str, Any]) -> str:
    return ", ".join(str(artifact.get("uri")) for artifact in said.get("artifacts") or ())
