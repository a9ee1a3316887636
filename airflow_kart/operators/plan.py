"""The operator that decides, before any task runs, the outcome of each task of a DAG run."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Literal

from airflow.providers.common.compat.sdk import XCom

from airflow_kart.artifacts.sidecar.source import source_of
from airflow_kart.artifacts.state import NO_ARTIFACT
from airflow_kart.exceptions import KartError
from airflow_kart.identity.names import logical_class_name
from airflow_kart.locks import locks_for, remove_forgotten
from airflow_kart.operators.assets import announce, has_assets, made_by_operator, with_alias
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.blueprint import Blueprint, RunGraph
from airflow_kart.operators.bulk_skip import skip_in_bulk
from airflow_kart.operators.metrics import count_outcomes
from airflow_kart.operators.run_context import RunContext
from airflow_kart.operators.several_hosts import several_hosts_advice
from airflow_kart.operators.table import text_table
from airflow_kart.operators.xcom import pulled_by, result_of
from airflow_kart.parameters.label import label
from airflow_kart.runtime.outcome import NOT_IN_GRAPH, Outcome
from airflow_kart.runtime.packed import CHANGED_CODE_XCOM, CODE_XCOM, PLAN_XCOM, RESULTS_XCOM, packed
from airflow_kart.runtime.plan import Plan, PlannedTask, make_plan
from airflow_kart.storage import keeps_files
from airflow_kart.storage.workspace import Workspace

WHAT_TO_DO = "kart_rerun makes these again, and [kart] on_changed_code says what becomes of them without being asked"
_MOST_WITH_URIS = 1000  # the unique ids in the uris do not compress

_PATIENCE = 5.0
"""Seconds for the search of causes."""

logger = logging.getLogger(__name__)


class KartPlanOperator(KartBaseOperator):
    """Asks the roots first, looks upstream only of tasks that will run, and skips all others at once, without a process each.

    The plan is in its log, and under the XCom key ``plan`` by task id: outcome, reason, class, label; of a cached task also bytes,
    the seconds that making the artifact took, and whether its code has changed since; of a task without an
    artifact what makes its id differ; of at most 1,000 tasks the uris. :mod:`airflow_kart.runtime.packed` says how a long plan
    is written.

    A task that a task outside the graph names in an ``xcom_pull`` has its XCom in a warm run too: the plan pushes that of a
    cached one. If the DAG has other tasks, the plan's XCom ``results`` holds the results of all tasks skipped as cached.

    Args:
        blueprint: the compiled structure.
        on_cached: ``"skip"`` skips what is cached; ``"success"`` lets each cached task end well by itself.
        kwargs: everything :class:`~airflow_kart.operators.base.KartBaseOperator` takes.
    """

    ui_color = "#fdf3dc"

    def __init__(
        self,
        *,
        blueprint: Blueprint,
        on_cached: Literal["skip", "success"] = "skip",
        **kwargs: Any,
    ) -> None:
        made = (task for node in blueprint.nodes.values() for task in made_by_operator(node.task, blueprint))
        if any(task.assets_when_cached and has_assets(task) for task in made):
            kwargs["outlets"] = with_alias(kwargs.get("outlets"))
        super().__init__(**kwargs)
        self.blueprint = blueprint
        self.on_cached = on_cached

    def private_parameters(self) -> Collection[str]:
        """Return the names of the roots' private parameters."""
        return self.blueprint.private_parameters()

    def execute(self, context: Any) -> dict[str, int]:
        """Make the plan; return the number of tasks of each outcome."""
        run_context = RunContext(self, self.blueprint, context)
        run_context.check_conf()
        nodes = self.blueprint.nodes
        outside = {task_id for task_id in nodes if run_context.outside(task_id)}
        operators: Mapping[str, Any] = self.dag.task_dict
        pulled = pulled_by(run_context.others, nodes)
        with self.run_workspace():
            run = run_context.run
            required = run.unique_ids(outside | pulled)
            again = run_context.rerun() | run_context.cleared()
            bundle: Any = getattr(context["ti"], "bundle_instance", None)  # a real worker's
            plan = make_plan(
                run.graph, rerun=again, required=required, remember=True, bundle=bundle and (bundle.name, str(bundle.path))
            )
            planned = {task_id: self._of_operator(task_id, run_context, plan) for task_id in self.blueprint.nodes}
            counts = {outcome.value: 0 for outcome in (Outcome.RUN, Outcome.CACHED, Outcome.NOT_NEEDED)}
            for found in planned.values():
                counts[found.outcome.value] += 1
            if counts[Outcome.RUN.value]:
                workspace = Workspace.current()
                workspace.store.check_writable(workspace.directory)
                remove_forgotten(locks_for(workspace))  # an unknown kind of locks is an error of the plan, not of each task
                if advice := several_hosts_advice(workspace):
                    self.log.warning("%s", advice)
                plan.begin_reruns()
            self._publish(planned, plan, run_context, context, counts)
        changed, elsewhere = plan.changed_code(), plan.made_elsewhere()
        if changed:
            classes = {cls for found in plan.tasks.values() for cls in found.since.changed}
            context["ti"].xcom_push(
                key=CODE_XCOM, value=packed({logical_class_name(one): source_of(one) for one in classes})
            )
        if told := [*changed, *elsewhere]:
            context["ti"].xcom_push(key=CHANGED_CODE_XCOM, value=told)
            self.log.warning("%s", "\n".join([*changed, *[WHAT_TO_DO][: len(changed)], *elsewhere]))
        skipped = [
            task_id for task_id, found in planned.items() if task_id not in outside and self._is_skipped(found.outcome)
        ]
        asked = pulled if run_context.others else None
        self._tell_of_cached(planned, plan, skipped=skipped, run=run, context=context, pulled=asked)
        if skipped:
            skip_in_bulk(skipped, operators)
        return counts

    def _tell_of_cached(
        self,
        planned: Mapping[str, PlannedTask],
        plan: Plan,
        *,
        skipped: Collection[str],
        run: RunGraph,
        context: Any,
        pulled: Collection[str] | None,
    ) -> None:
        """Push XComs, add the events of assets, and count metrics, for cached tasks that get no process.

        ``pulled`` are the tasks that other tasks of the DAG name; ``None`` without other tasks.
        """
        ti = context["ti"]
        cached = {one: planned[one] for one in skipped if planned[one].outcome is Outcome.CACHED}
        count_outcomes(ti.dag_id, cached.values())
        nobodys = {None, *cached}
        for unique_id, found in plan.tasks.items():
            task = plan.graph.nodes[unique_id].task
            if found.outcome is Outcome.CACHED and task.assets_when_cached and run.task_ids.get(unique_id) in nobodys:
                announce(task, found.artifacts, context)
        if pulled is None:
            return
        results = {one: result_of(run.tasks[one], found) for one, found in cached.items()}
        ti.xcom_push(key=RESULTS_XCOM, value=packed(results))
        for one in sorted(results.keys() & pulled):
            if getattr(self.dag.task_dict[one], "do_xcom_push", True):
                XCom.set("return_value", results[one], dag_id=ti.dag_id, task_id=one, run_id=ti.run_id)

    def _of_operator(self, task_id: str, run_context: RunContext, plan: Plan) -> PlannedTask:
        task = run_context.run.tasks.get(task_id)
        if task is None:
            return PlannedTask(Outcome.NOT_NEEDED, NOT_IN_GRAPH)
        return plan.tasks[task.unique_id]

    def _is_skipped(self, outcome: Outcome) -> bool:
        return outcome is Outcome.NOT_NEEDED or (outcome is Outcome.CACHED and self.on_cached == "skip")

    def _publish(
        self,
        planned: Mapping[str, PlannedTask],
        plan: Plan,
        run_context: RunContext,
        context: Any,
        counts: Mapping[str, int],
    ) -> None:
        rows: dict[str, dict[str, Any]] = {}
        causes = _causes(planned, plan, run_context)
        for task_id, found in planned.items():
            task = run_context.run.tasks.get(task_id)
            row = rows[task_id] = {"outcome": found.outcome.value, "reason": found.reason}
            row["label"] = label(task) if task is not None else ""
            row["class"] = logical_class_name(type(self.blueprint.nodes[task_id].task))
            if found.outcome is Outcome.CACHED:
                row["seconds"] = round(found.seconds, 3)
                row["bytes"] = sum(one.bytes or 0 for one in found.artifacts)
            if found.since.changed:
                row["older_code"] = True
            if task_id in causes:
                row["why"] = causes[task_id]
            if found.forced:
                row["forced"] = True
            if found.named:
                row["named"] = True
            if len(planned) <= _MOST_WITH_URIS:
                targets = plan.graph.nodes[task.unique_id].targets if task is not None else ()
                row["uris"] = [one.uri for one in found.artifacts or targets]
                row["unique_id"] = task.unique_id if task is not None else ""
        context["ti"].xcom_push(key=PLAN_XCOM, value=packed(rows))
        table = text_table(
            ("task", "plan", "values", "why"),
            [
                (task_id, row["outcome"], row["label"], ": ".join(filter(None, (row["reason"], row.get("why")))))
                for task_id, row in rows.items()
            ],
        )
        self.log.info(
            "Plan: %d to run, %d cached, %d not needed, in %s; for %s\n%s",
            *counts.values(),
            Workspace.current().directory,
            run_context.date_text(),
            table,
        )


def _causes(planned: Mapping[str, PlannedTask], plan: Plan, run_context: RunContext) -> dict[str, str]:
    """Return what makes the ids of tasks without artifacts differ from those that are there.

    The catalogue of a disk is read in a moment. A bucket would be listed for it: there ``airflow kart why`` tells on demand.
    """
    tasks = run_context.run.tasks
    new = [
        one
        for one, found in planned.items()
        if found.outcome is Outcome.RUN and found.reason == NO_ARTIFACT and one in tasks
    ]
    workspace = Workspace.current()
    if not new or not keeps_files(workspace.store):
        return {}
    from airflow_kart.audit.catalogue.history import History
    from airflow_kart.audit.forecast import explained  # these take a moment to load, and each DAG file loads this module

    try:
        whys = explained(plan, History(workspace), _PATIENCE)
        return {one: why.in_one_line for one in new if (why := whys.get(tasks[one].unique_id)) is not None}
    except KartError as error:  # the plan itself is made
        logger.info("the plan does not say what has changed: %s", error)
        return {}
