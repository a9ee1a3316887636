"""Whether a skip upstream is a hit. Only a hit, a task skipped because its artifact is there, lets consumers run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.operators.run_context import RunContext
from airflow_kart.runtime.outcome import REUSED, Outcome
from airflow_kart.tasks.completeness import is_complete

_BY_AIRFLOW = "a task upstream of it was skipped, or a branch or a person chose so"


def reason_to_skip(operator: Any, run_context: RunContext, blueprint: Blueprint, context: Mapping[str, Any]) -> str | None:
    """Return why a compiled operator has to be skipped, since something upstream was; ``None`` if it goes on.

    The operator's trigger rule, ``none_failed``, lets a task run whose upstream is cached. Airflow calls a cached task
    skipped, as it does a task that a branch left out. So the operator itself tells one from the other.

    Args:
        operator: the operator.
        run_context: its view of the DAG run.
        blueprint: the structure it belongs to.
        context: Airflow's context.
    """
    if operator.trigger_rule != "none_failed":  # the scheduler, or a rule of the author's, has decided
        return None
    ti, plan = context["ti"], blueprint.plan_task_id
    upstream: set[str] = set(operator.upstream_task_ids)
    asked = sorted(upstream if plan is None else {*upstream, plan})
    states = run_context.states_now(asked)
    for task_id in asked:
        if states.get(task_id) != "skipped":
            continue
        if task_id not in blueprint.nodes:
            return f"{task_id} was skipped"
        task = run_context.run.task(task_id)
        if task is None or (plan is not None and is_complete(task).complete):
            continue
        summary = ti.xcom_pull(task_ids=task_id)
        if not isinstance(summary, Mapping) or summary.get("outcome") not in REUSED:
            return f"{task_id} was skipped: {skip_summary(summary)}"
    return None


def skip_summary(summary: object) -> str:
    """Return why a task was skipped, from the summary that its operator pushed, if it did."""
    if isinstance(summary, Mapping) and summary.get("outcome") == Outcome.SKIPPED.value:
        return str(summary.get("reason"))
    return _BY_AIRFLOW
