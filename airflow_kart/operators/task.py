"""The operator that makes one task's artifact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_kart.graph import Graph, Node
from airflow_kart.kinds import ExternalTask
from airflow_kart.links.artifact import KartArtifactLink
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.run_context import RunContext, outside_consumers
from airflow_kart.outputs import targets_of
from airflow_kart.runtime.blueprint import Blueprint, check_single
from airflow_kart.runtime.plan import Outcome, Plan, PlannedTask, make_plan, states_of
from airflow_kart.runtime.runner import RunResult, make_all, run_task
from airflow_kart.sidecar import sidecar_uri
from airflow_kart.task import TaskOnKart
from airflow_kart.triggers.external import ExternalArtifactTrigger

__all__ = ["KartOperator"]


class KartOperator(KartBaseOperator):
    """Makes the artifact of a task, unless it is there.

    Used by itself it also makes what is missing below the task. In a compiled DAG each task has an operator of its
    own; then only what has none is made here, and a missing input that has one is an error that says how to make it.

    Raises:
        BindingError: ``task`` is no task, or ``bind`` names a parameter it does not have.

    Args:
        task: the task, with the values its operator is compiled with.
        on_cached: how the operator ends when the artifact was there: ``"skip"``, which shows in the UI, or
            ``"success"``. Where a task outside the graph hangs on it, it always ends well.
        blueprint: the compiled structure it belongs to.
        kwargs: everything :class:`~airflow_kart.operators.base.KartBaseOperator` takes.
    """

    operator_extra_links = (KartArtifactLink(),)
    ui_color = "#e8f0fb"
    makes_artifact = True

    def __init__(
        self,
        *,
        task: TaskOnKart[Any],
        on_cached: Literal["skip", "success"] = "skip",
        blueprint: Blueprint | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if blueprint is None:
            check_single(self.task_id, task, self.bind)
        self.task = task
        self.on_cached = on_cached
        self.blueprint = blueprint

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the artifact; return its outcome and where it is."""
        blueprint = self.blueprint or Blueprint.single(self.task_id, self.task)
        run_context = RunContext(self, blueprint, context)
        task = run_context.run.tasks.get(self.task_id)
        if task is None:
            raise AirflowSkipException(f"with this run's values the DAG has no task {self.task_id}; nothing to make")
        with self.workspace():
            below = _Below(task, run_context, context)
            if absent := below.absent(task):
                self._wait_for(absent)
            made = below.make()
            result = run_task(
                task,
                force=below.forced,
                coordinates=run_context.coordinates(),
                how_to_make=run_context.how_to_make,
            )
        summary = {**_summary(task, result), "made_below": made}
        if result.outcome is Outcome.CACHED:
            where = ", ".join(artifact["uri"] for artifact in summary["artifacts"])
            self.log.info("%r is cached (%s)%s", task, result.reason, f"; its artifact is {where}" if where else "")
            if self.on_cached == "skip" and not outside_consumers(self, blueprint.nodes):
                context["ti"].xcom_push(key="return_value", value=summary)
                raise AirflowSkipException("the artifact is there")
        return summary

    def _wait_for(self, external: list[ExternalTask[Any]]) -> NoReturn:
        """Give the worker slot up until what is made elsewhere is there."""
        uris = [target.uri for task in external for _, target in targets_of(task)]
        timeouts = [task.timeout for task in external if task.timeout is not None]
        self.log.info("Waiting for what is made elsewhere: %s", ", ".join(uris))
        self.defer(
            trigger=ExternalArtifactTrigger(
                uris=uris,
                poll_seconds=min(task.poll_seconds for task in external),
                aws_conn_id=self.aws_conn_id,
                gcp_conn_id=self.gcp_conn_id,
            ),
            method_name="execute_when_there",
            timeout=min(timeouts) if timeouts else None,
        )

    def execute_when_there(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Go on after waiting; what is not there after all is waited for again."""
        self.log.info("There now: %s", ", ".join(event["uris"]))
        return self.execute(context)


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


class _Below:
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

    def make(self) -> int:
        """Make them; return how many ran."""
        if self._plan is None:
            return 0
        results = make_all(self._plan, coordinates=self._coordinates(), except_for=self._others)
        return sum(result.outcome is Outcome.RAN for result in results)

    def _to_make(self) -> list[Node]:
        planned = self._plan.with_outcome(Outcome.RUN) if self._plan is not None else []
        return [node for node in planned if node.unique_id not in self._others]


def _summary(task: TaskOnKart[Any], result: RunResult) -> dict[str, Any]:
    return {
        "outcome": result.outcome.value,
        "reason": result.reason,
        "task": repr(task),
        "unique_id": task.unique_id,
        "seconds": round(result.seconds, 3),
        "artifacts": [{"uri": target.uri, "sidecar": sidecar_uri(target.uri)} for target in result.targets],
    }
