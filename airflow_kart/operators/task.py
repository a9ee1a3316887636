"""The operator that makes one task's artifact."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout

from airflow_kart.artifacts.staged import sidecar_version
from airflow_kart.exceptions import KartError, MissingInputError
from airflow_kart.locks import Taken
from airflow_kart.operators.assets import announce, has_assets, made_by_operator, with_alias
from airflow_kart.operators.base import KartBaseOperator
from airflow_kart.operators.blueprint import Blueprint, check_single
from airflow_kart.operators.link import KartArtifactLink
from airflow_kart.operators.metrics import count, count_outcomes
from airflow_kart.operators.run_context import RunContext, outside_consumers
from airflow_kart.operators.settlement import Settlement
from airflow_kart.operators.several_hosts import several_hosts_advice
from airflow_kart.operators.upstream import UpstreamTasks
from airflow_kart.operators.upstream_skips import reason_to_skip
from airflow_kart.operators.waiting import Blocked, Waits, blocks, check_event, check_time, time_is_over, wait
from airflow_kart.operators.xcom import result_of
from airflow_kart.parameters.label import label
from airflow_kart.runtime.outcome import REUSED, Outcome
from airflow_kart.runtime.result import RunResult
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.single_flight import TakenElsewhere
from airflow_kart.runtime.skipping import is_skip, skip_reason
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.kinds import ExternalTask
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.task import TaskOnKart
from airflow_kart.triggers.external import ExternalArtifactTrigger
from airflow_kart.triggers.lock import LockTrigger

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context


class KartOperator(KartBaseOperator):
    """Makes the artifact of a task, unless the artifact is there.

    An operator by itself also makes the missing artifacts upstream. In a compiled DAG each task has an operator of its own:
    there an operator makes besides only upstream tasks without one, and a missing input that has one is an error that
    says how to make the input.

    Raises:
        BindingError: ``task`` is no task, or ``bind`` names an unknown parameter.

    Args:
        task: the task, with sample values for bound parameters.
        bind: see :class:`~airflow_kart.operators.base.KartBaseOperator`.
        workspace: as ``bind``.
        workspace_directory: as ``bind``.
        on_cached: how the operator ends when the artifact was there: ``"skip"``, which shows in the UI, or
            ``"success"``. With a downstream task outside the graph, the operator always succeeds.
        blueprint: the compiled structure of the DAG.
        kwargs: ``namespace``, and everything ``airflow.sdk.BaseOperator`` takes.
    """

    operator_extra_links = (KartArtifactLink(),)
    ui_color = "#e8f0fb"
    makes_artifact = True
    _at_work = False
    _result: Mapping[str, Any] | None = None

    def __init__(
        self,
        *,
        task: TaskOnKart[Any],
        bind: Mapping[str, Any] | None = None,
        workspace: str | Workspace | None = None,
        workspace_directory: str | None = None,
        on_cached: Literal["skip", "success"] = "skip",
        blueprint: Blueprint | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(task, TaskOnKart) and any(map(has_assets, made_by_operator(task, blueprint))):
            kwargs["outlets"] = with_alias(kwargs.get("outlets"))
        super().__init__(bind=bind, workspace=workspace, workspace_directory=workspace_directory, **kwargs)
        if blueprint is None:
            check_single(self.task_id, task, bind)
        self.task = task
        self.on_cached = on_cached
        self.blueprint = blueprint

    def private_parameters(self) -> Collection[str]:
        """Return the names of the private parameters of the task, or of the compiled graph's roots."""
        return (self.blueprint or Blueprint.single(self.task_id, self.task)).private_parameters()

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Render the templates, and let the task's label name the task instance in Airflow, where the author names none."""
        super().render_template_fields(context, jinja_env)
        if self.map_index_template is None:
            context["map_index_template"] = "{{ task.values_in(params) }}"

    def values_in(self, params: Mapping[str, Any]) -> str:
        """Return the values that tell this run's task apart, such as ``day=2024-05-06``."""
        blueprint = self.blueprint or Blueprint.single(self.task_id, self.task)
        task = blueprint.for_run(self.run_bind(), params).task(self.task_id)
        return label(task) if task is not None else ""

    def execute(self, context: Any) -> dict[str, Any]:
        """Make the artifact; return outcome and uris."""
        waits = Waits.of_first_process(context)
        if waits.since is not None:
            check_time(self.task_id, waits, waits.end_of(self.execution_timeout), "as the log of its earlier starts says")
        return self._execute(context, {}, waits)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after a deferral.

        Raises:
            TaskDeferralTimeout: the operator waited for too long.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except Exception as error:
            if type(error).__name__ == "TaskDeferralTimeout":  # which lives in another module in each version of Airflow
                message = (
                    f"{self.task_id} has waited for too long, for a file or for another run that makes the same artifact: longer "
                    "than execution_timeout, the external task's timeout or [kart] lock_timeout allows. The log above says "
                    "for what; if that is there, see whether Airflow's triggerer runs"
                )
                error.args = (message,)
            raise

    def on_kill(self) -> None:
        """Abort the running task. Nothing is published; the lock is released.

        Airflow alone would let the task go on and kill the process seconds later; a lock outside the kernel would then stay
        for its time to live.

        Raises:
            SystemExit: in the midst of the task. Airflow retries the task while tries are left.
        """
        if self._at_work:
            self._at_work = False  # clearing up is not to be stopped
            raise SystemExit(f"Airflow has told {self.task_id} to end; nothing is published, and its lock is free again")

    def _execute(self, context: Any, dead: Mapping[str, Taken], waits: Waits) -> dict[str, Any]:
        """Make the artifact.

        Args:
            context: Airflow's.
            dead: by unique id, the locks of dead runs.
            waits: since when the operator has been at its task, and has waited for another run.
        """
        self._at_work, blocked = True, Blocked()
        try:
            return self._make(context, dead, waits, blocked)
        except MissingInputError as error:
            with self.run_workspace() as workspace:
                if advice := several_hosts_advice(workspace):
                    error.args = (f"{error}\nOr another worker has made them: {advice}",)
            raise
        except AirflowTaskTimeout as error:
            if blocked.words:
                error.args = (time_is_over(self.task_id, waits, blocked.words),)
            raise
        finally:
            self._at_work = False

    def _make(self, context: Any, dead: Mapping[str, Taken], waits: Waits, blocked: Blocked) -> dict[str, Any]:
        blueprint = self.blueprint or Blueprint.single(self.task_id, self.task)
        run_context = RunContext(self, blueprint, context)
        if blueprint.plan_task_id is None:
            run_context.check_conf()
        with self.run_workspace():
            task = run_context.run.resolved(self.task_id)
            if task is None:
                raise AirflowSkipException(f"with this run's values the DAG has no task {self.task_id}; nothing to make")
            if self.blueprint is not None and (why := reason_to_skip(self, run_context, self.blueprint, context)):
                self._push_skip(context, task, why)
                raise AirflowSkipException(why)
            upstream = UpstreamTasks(task, run_context, context)
            if absent := upstream.absent(task):
                return self._wait_for(absent, context, waits, blocked)
            session = Session(run_context.coordinates(), run_context.how_to_make, blocks(), dead, blocked)
            try:
                made = upstream.make(session)
                planned = run_context.planned(self.task_id, task)
                result = run_task(
                    task,
                    force=upstream.forced or planned.forced,
                    reason=upstream.reason or planned.reason,
                    named=upstream.named or planned.named,
                    session=session,
                )
            except TakenElsewhere as elsewhere:
                return self._wait_for_lock(elsewhere, context, waits)
            except Exception as error:
                if is_skip(error):
                    self._push_skip(context, task, skip_reason(task, error))
                elif blocked.failed and not isinstance(error, MissingInputError):
                    with contextlib.suppress(KartError):
                        self.log.info("To run it in a debugger: %s", run_context.how_to_debug(blocked.failed))
                raise
            settlement = Settlement(self, blueprint, run_context, context)
            settlement.settle(session)
        return self._end(task, result, made, settlement, context)

    def _end(
        self, task: Task, result: RunResult, made: list[RunResult], settlement: Settlement, context: Any
    ) -> dict[str, Any]:
        """Tell others of the results: metrics, assets, the log, what is skipped downstream; return the XCom.

        Raises:
            AirflowSkipException: the artifact was there, and nobody waits for the task.
        """
        if self.blueprint is None:  # else the report counts
            count_outcomes(self.dag_id, [*made, result])
        news = [announce(one.task, one.artifacts, context) for one in [*made, result] if _is_news(one, context["ti"])]
        settlement.publish()
        self._result = summary = result_of(task, result, sum(one.outcome is Outcome.RAN for one in made))
        if result.outcome in REUSED:
            where = ", ".join(artifact.uri for artifact in result.artifacts)
            words = result.outcome, result.reason, f"; its artifact is {where}" if where else ""
            self.log.info("%r is %s (%s)%s", task, *words)
            inside = self.blueprint.nodes if self.blueprint is not None else ()
            if self.on_cached == "skip" and not any(news) and not outside_consumers(self, inside):
                context["ti"].xcom_push(key="return_value", value=summary)
                raise AirflowSkipException("the artifact is there")
        return summary

    def get_openlineage_facets_on_start(self) -> Any:
        """Return the inputs and outputs for Airflow's OpenLineage provider, which calls this."""
        from airflow_kart.operators.openlineage import lineage_of

        blueprint = self.blueprint or Blueprint.single(self.task_id, self.task)
        with self.run_workspace():
            task = RunContext(self, blueprint, self._context).run.resolved(self.task_id)
            return None if task is None else lineage_of(task, self._result)

    def get_openlineage_facets_on_complete(self, ti: object) -> Any:  # noqa: ARG002 - the provider's signature
        """Return the same, with versions, schemas and the result."""
        return self.get_openlineage_facets_on_start()

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def _push_skip(self, context: Any, task: Task, reason: str) -> None:
        self.log.info("%r is skipped: %s", task, reason)
        summary = {"outcome": Outcome.SKIPPED.value, "reason": reason, "task": repr(task), "unique_id": task.unique_id}
        context["ti"].xcom_push(key="return_value", value=summary)

    def _wait_for(self, external: list[ExternalTask[Any]], context: Any, waits: Waits, blocked: Blocked) -> dict[str, Any]:
        """Wait until external artifacts are there."""
        trigger = ExternalArtifactTrigger(
            uris=[target.uri for task in external for _, target in targets_of(task)],
            poll_seconds=min(task.poll_seconds for task in external),
            workspace=Workspace.current(),
            until=waits.end_of(self.execution_timeout, *(task.timeout for task in external)),
        )
        blocked.words = f"for what is made elsewhere, {', '.join(trigger.uris)}"
        self.log.info("Waiting for what is made elsewhere: %s", ", ".join(trigger.uris))
        event = wait(self, trigger, context["ti"], "execute_when_there", waits)
        return self.execute_when_there(context, event, waits.began)

    def execute_when_there(self, context: Any, event: Mapping[str, Any], began: float | None = None) -> dict[str, Any]:
        """Go on after waiting, or wait again for artifacts that are still missing.

        Raises:
            AirflowTaskTimeout: the wait took too long.
        """
        waits = Waits(began or time.time())
        check_event(self.task_id, event, waits)
        self.log.info("There now: %s", ", ".join(event["uris"]))
        return self._execute(context, {}, waits)

    def _wait_for_lock(self, elsewhere: TakenElsewhere, context: Any, waits: Waits) -> dict[str, Any]:
        """Wait until another run has made the task, or has died."""
        task = elsewhere.task
        if waits.since is None:
            count(self.dag_id, "waits")
        self.log.info("Waiting, as %s", elsewhere)
        trigger = LockTrigger(
            task=repr(task),
            unique_id=task.unique_id,
            sidecars={target.uri: sidecar_version(target.store, target.uri) for _, target in targets_of(task)},
            since=waits.since or time.time(),
            workspace=Workspace.current(),
            until=waits.end_of(self.execution_timeout),
        )
        trigger.taken = elsewhere.taken
        event = wait(self, trigger, context["ti"], "execute_when_free", waits)
        return self.execute_when_free(context, event, waits.began)

    def execute_when_free(self, context: Any, event: Mapping[str, Any], began: float | None = None) -> dict[str, Any]:
        """Go on after waiting for another run: take its artifact, or make the artifact.

        Raises:
            LockTimeoutError: the wait took too long.
            AirflowTaskTimeout: the operator's own time is over.
        """
        waits = Waits(began or event["since"], event["since"])
        check_event(self.task_id, event, waits)
        self.log.info("Going on after %.0f s: %s", time.time() - event["since"], event["reason"])
        dead = {event["unique_id"]: Taken(None, **event["dead"])} if event["dead"] else {}
        return self._execute(context, dead, waits)


def _is_news(result: RunResult, ti: Any) -> bool:
    """Whether an artifact changed in this DAG run, perhaps in an earlier try, or its class announces every artifact."""
    in_this_run = result.changed or result.made_by == (ti.dag_id, ti.run_id)
    return in_this_run or (result.outcome in REUSED and result.task.assets_when_cached)
