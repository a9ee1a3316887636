"""The operator that makes one task's artifact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import BaseOperator

from airflow_kart.graph import Graph
from airflow_kart.links.artifact import KartArtifactLink
from airflow_kart.operators.run_context import RunContext, outside_consumers
from airflow_kart.runtime.blueprint import Blueprint, RunGraph, check_single
from airflow_kart.runtime.plan import Outcome, make_plan, states_of
from airflow_kart.runtime.runner import RunResult, run_task
from airflow_kart.sidecar import sidecar_uri
from airflow_kart.task import TaskOnKart

__all__ = ["KartOperator"]


class KartOperator(BaseOperator):
    """Makes the artifact of a task, unless it is there.

    Used by itself it also makes what is missing below the task. In a compiled DAG each task has an operator of its
    own; then only what has none is made here, and a missing input that has one is an error that says how to make it.

    Raises:
        BindingError: ``task`` is no task, or ``bind`` names a parameter it does not have.

    Args:
        task: the task, with the values its operator is compiled with.
        bind: values and Jinja templates for parameters of the task (of the roots, in a compiled DAG).
        workspace_directory: where artifacts are; by default ``[kart] workspace_directory``. May be a template.
        on_cached: how the operator ends when the artifact was there: ``"skip"``, which shows in the UI, or
            ``"success"``. Where a task outside the graph hangs on it, it always ends well.
        blueprint: the compiled structure it belongs to.
    """

    template_fields = ("bind", "workspace_directory")
    template_fields_renderers: ClassVar[dict[str, str]] = {"bind": "json"}
    operator_extra_links = (KartArtifactLink(),)
    ui_color = "#e8f0fb"
    makes_artifact = True

    def __init__(
        self,
        *,
        task: TaskOnKart[Any],
        bind: Mapping[str, Any] | None = None,
        workspace_directory: str | None = None,
        on_cached: Literal["skip", "success"] = "skip",
        blueprint: Blueprint | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if blueprint is None:
            check_single(self.task_id, task, bind)
        self.task = task
        self.bind = bind
        self.workspace_directory = workspace_directory
        self.on_cached = on_cached
        self.blueprint = blueprint

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the artifact; return its outcome and where it is."""
        blueprint = self.blueprint or Blueprint.single(self.task_id, self.task)
        run_context = RunContext(self, blueprint, context)
        task = run_context.run.tasks.get(self.task_id)
        if task is None:
            raise AirflowSkipException(f"with this run's values the DAG has no task {self.task_id}; nothing to make")
        with run_context.workspace():
            named = run_context.run.unique_ids(run_context.rerun())
            force = _forced(task, named, run_context.run, context)
            _make_what_has_no_operator(task, named | ({task.unique_id} if force else set()), run_context)
            result = run_task(task, force=force, coordinates=run_context.coordinates(), how_to_make=run_context.how_to_make)
        summary = _summary(task, result)
        if result.outcome is Outcome.CACHED:
            self.log.info("%r is cached (%s); its artifact is %s", task, result.reason, summary["artifacts"][0]["uri"])
            if self.on_cached == "skip" and not outside_consumers(self, blueprint.nodes):
                context["ti"].xcom_push(key="return_value", value=summary)
                raise AirflowSkipException("the artifact is there")
        return summary


def _forced(task: TaskOnKart[Any], named: set[str], run: RunGraph, context: Any) -> bool:
    """Whether the task, or one it needs, is named to run again, and was not made since this DAG run started."""
    if not named or task.unique_id not in run.graph.below(named):
        return False
    present = states_of([run.graph.nodes[task.unique_id]])[0]
    started: dt.datetime | None = context["dag_run"].start_date
    if present.outcome is not Outcome.CACHED or not present.finished_at or started is None:
        return True
    return dt.datetime.fromisoformat(present.finished_at) < started


def _make_what_has_no_operator(task: TaskOnKart[Any], rerun: set[str], run_context: RunContext) -> None:
    """Make what is missing, or named to run again, below a task, as far as no other operator does."""
    others = {unique_id for unique_id in run_context.run.task_ids if unique_id != task.unique_id}
    if all(required.unique_id in others for _, required in task.lineage.inputs):
        return
    graph = Graph.of([task])
    plan = make_plan(graph, rerun=rerun & graph.nodes.keys(), given=others)
    for node in plan.with_outcome(Outcome.RUN):
        if node.unique_id != task.unique_id and node.unique_id not in others:
            run_task(node.task, force=plan.tasks[node.unique_id].forced, coordinates=run_context.coordinates())


def _summary(task: TaskOnKart[Any], result: RunResult) -> dict[str, Any]:
    return {
        "outcome": result.outcome.value,
        "reason": result.reason,
        "task": repr(task),
        "unique_id": task.unique_id,
        "seconds": round(result.seconds, 3),
        "artifacts": [{"uri": target.uri, "sidecar": sidecar_uri(target.uri)} for target in result.targets],
    }
