"""An operator's view of its DAG run: the tasks with this run's values, reruns, and the coordinates in Airflow."""

from __future__ import annotations

import fnmatch
import json
import logging
import shlex
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_kart.exceptions import BindingError
from airflow_kart.identity.spelling import closest, unmatched
from airflow_kart.idioms.kept import kept
from airflow_kart.operators.blueprint import Blueprint, RunGraph
from airflow_kart.parameters.label import label
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.packed import PLAN_XCOM, unpacked
from airflow_kart.runtime.selection import AND_DOWNSTREAM
from airflow_kart.settings import kart_choice
from airflow_kart.tasks.completeness import Completeness, look_at
from airflow_kart.tasks.graph import Node
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.outputs import targets_of

RERUN_PARAM = "kart_rerun"
"""The Airflow param that names tasks to run again."""

_TEMPORARY_RUN = "__airflow_temporary_run"  # of `airflow tasks test`, which removes the run
_NOT_GIVEN = object()
_LONGEST_QUERY = 3000  # characters; common proxies take addresses of 8 kB, httpx of 64 kB
_CONF_OF_AIRFLOW = ("airflow/", "openlineage")
"""The beginnings of keys that Airflow and its OpenLineage provider add to a run's ``conf``."""

logger = logging.getLogger(__name__)


class Planned(NamedTuple):
    """What a plan says of a task that has to run again."""

    reason: str = ""
    named: bool = False
    """Whether somebody asked for this very task."""
    forced: bool = False
    """Whether the artifact counts as complete all the same: it lies in a workspace that is only read, where nobody marks it."""


class RunContext:
    """One operator's view of a DAG run.

    Args:
        operator: a kart operator whose templates are rendered.
        blueprint: the operator's compiled structure.
        context: Airflow's context.
    """

    def __init__(self, operator: Any, blueprint: Blueprint, context: Mapping[str, Any]) -> None:
        self._operator = operator
        self.task_id: str = operator.task_id
        self._blueprint = blueprint
        self._context = context
        self.run: RunGraph = blueprint.for_run(operator.run_bind(), dict(context.get("params") or {}))

    @kept
    def patterns(self) -> Sequence[str]:
        """The patterns of ``kart_rerun``.

        Raises:
            BindingError: the param is no list of texts.
        """
        patterns = (self._context.get("params") or {}).get(RERUN_PARAM) or []
        if isinstance(patterns, str):
            patterns = [patterns]
        if not isinstance(patterns, (list, tuple)) or not all(isinstance(pattern, str) for pattern in patterns):
            raise BindingError(
                f"{RERUN_PARAM} is {patterns!r}; give a list of task ids, class names or globs", parameter=RERUN_PARAM
            )
        return patterns

    def rerun(self) -> set[str]:
        """Return the unique ids of this blueprint's tasks that ``kart_rerun`` names, or whose classes ask for reruns.

        Raises:
            BindingError: a pattern names no kart task anywhere in the DAG.
        """
        inline = self.run.inline_tasks() if self._blueprint.inline else []
        named: set[str] = {task.unique_id for task in [*self.run.tasks.values(), *inline] if task.rerun}
        for given in self.patterns:
            pattern = given.removesuffix(AND_DOWNSTREAM)
            known = kart_task_ids(self._operator.dag) | kart_classes(self._operator.dag).keys()
            nodes = self.run.graph.nodes.values()
            of_classes = {node.unique_id for node in nodes if fnmatch.fnmatchcase(type(node.task).__name__, pattern)}
            if not (_matching(pattern, known) or of_classes):
                raise BindingError(f"{RERUN_PARAM}: {unmatched(pattern, known)}", parameter=RERUN_PARAM)
            found = self.run.unique_ids(_matching(pattern, self._blueprint.nodes)) | of_classes
            named |= found if pattern == given else self.run.graph.with_downstream(found)
        return named

    def check_conf(self) -> None:
        """Refuse keys of the run's ``conf`` that nobody reads, as ``[kart] unknown_conf`` says; Airflow ignores them.

        In a DAG of the user's own with compiled groups, any task may read the ``conf``. So only a key that looks like a
        misspelt field of the form counts there.

        Raises:
            BindingError: the ``conf`` has such a key, and the option is ``error``.
        """
        how = kart_choice("unknown_conf", ("error", "warn", "ignore"))
        conf = getattr(self._context.get("dag_run"), "conf", None)
        if not conf or not isinstance(conf, Mapping) or how == "ignore":
            return
        dag = self._operator.dag
        blueprints = kart_blueprints(dag)
        form = [RERUN_PARAM, *(field for blueprint in blueprints for field in blueprint.form.values())]
        bound = (name for blueprint in blueprints for root in blueprint.roots for name in root.cls.get_parameters())
        known = {*dag.params, *bound, *form}
        for key in map(str, conf):
            close = closest(key, form)
            own_conf = hasattr(dag, "blueprint")  # a KartDag's
            if key in known or key.startswith(_CONF_OF_AIRFLOW) or not (close or own_conf):
                continue
            hint = f"did you mean {close!r}?" if close else f"the form has {', '.join(form)}."
            message = (
                f"the run's conf has {key!r}, which is no field of the trigger form; {hint} Declare {key!r} in the DAG's params if "
                "it is for another task, or set [kart] unknown_conf to warn or ignore"
            )
            if how == "error":
                raise BindingError(message, parameter=close[0] if close else key)
            logger.warning("%s", message)

    def planned(self, task_id: str, task: Task) -> Planned:
        """Return what the plan says of a task that runs although its artifact is still readable; nothing of others."""
        targets = [target for _, target in targets_of(task)]
        if self._blueprint.plan_task_id is None or not any(target.state().readable for target in targets):
            return Planned()
        row = self.plan_rows.get(task_id, {})
        elsewhere = any(target.located() is not target for target in targets)
        return Planned(str(row["reason"]), bool(row.get("named")), elsewhere) if row.get("forced") else Planned()

    @kept
    def plan_rows(self) -> Mapping[str, Mapping[str, Any]]:
        """The plan's rows by task id; none without a plan, and none before the plan has ended."""
        plan = self._blueprint.plan_task_id
        rows = unpacked(self._context["ti"].xcom_pull(task_ids=plan, key=PLAN_XCOM)) if plan is not None else None
        return rows if isinstance(rows, Mapping) else {}

    @kept
    def others(self) -> list[Any]:
        """The operators of the DAG that are outside of this blueprint."""
        operators = self._operator.dag.task_dict.values()
        return [one for one in operators if getattr(one, "blueprint", None) is not self._blueprint]

    def outside(self, task_id: str) -> list[str]:
        """Return the tasks of the DAG directly downstream of one of this blueprint's, outside the blueprint."""
        return outside_consumers(self._operator.dag.task_dict[task_id], self._blueprint.nodes)

    def how_to_make(self, task: Task) -> str:
        """Return how to make a task's artifact with this run's values, and what Airflow says of its operator in this run."""
        task_id = self.run.task_ids.get(task.unique_id)
        if task_id is None:
            return f"build({task!r}) in Python"
        dag_run, run_id = self._context["dag_run"], self._context["ti"].run_id
        lasts = not run_id.startswith(_TEMPORARY_RUN)
        date = dag_run.logical_date or (None if lasts else dag_run.run_after)  # only its run knows a partition
        command = ["airflow", "tasks", "test", self._operator.dag.dag_id, task_id, date.isoformat() if date else run_id]
        if given := self._given_params():
            command += ["-t", json.dumps(given, default=str)]
        how = shlex.join(command)
        if lasts:
            how += f"\n    or clear {task_id} in the UI, with its downstream tasks"
        planned = self.plan_rows.get(task_id, {}).get("outcome")
        if (state := self.states.get(task_id)) == "success" or (state == "skipped" and planned == Outcome.CACHED.value):
            summary = self._context["ti"].xcom_pull(task_ids=task_id)
            host = summary.get("host") if isinstance(summary, Mapping) else None
            where = f" on host {host}" if host else ""
            how += (
                f"\n    {task_id} ended as {state} in this run{where}; this is host {socket.gethostname()}. All hosts have to see "
                "one workspace: a bucket, or a shared volume"
            )
        return how

    def how_to_debug(self, failed: Sequence[str]) -> str:
        """Return the command that runs the first of some failed tasks in a debugger; values from templates stay out.

        Args:
            failed: unique ids; tasks that ``run()`` asked for are in no graph, and do not count.
        """
        ti, dag_run = self._context["ti"], self._context["dag_run"]
        unique_id = next((one for one in failed if one in self.run.graph.nodes), "")
        command = ["airflow-kart", "debug", ti.dag_id, self.run.task_ids.get(unique_id, unique_id or ti.task_id)]
        if not ti.run_id.startswith(_TEMPORARY_RUN):
            command += ["--run-id", ti.run_id]
        else:
            command += ["--date", (dag_run.logical_date or dag_run.run_after).isoformat()]
            command += ["--conf", json.dumps(given, default=str)] if (given := self._given_params()) else []
        if ti.map_index is not None and ti.map_index >= 0:
            public = self._operator.bind.items() if self._operator.bind else ()
            command += [word for name, value in public if value != "***" for word in ("--set", f"{name}={value}")]
        return shlex.join(command)

    def _given_params(self) -> dict[str, Any]:
        """Return the run's params that differ from the DAG's."""
        own = self._operator.dag.params
        params = (self._context.get("params") or {}).items()
        defaults = {name: own.get_param(name).value for name in own}
        return {name: value for name, value in params if name != RERUN_PARAM and value != defaults.get(name, _NOT_GIVEN)}

    @kept
    def states(self) -> Mapping[str, str | None]:
        """The states of this blueprint's task instances when they were first asked for."""
        return self.states_now(self._blueprint.nodes)

    def states_now(self, task_ids: Iterable[str]) -> Mapping[str, str | None]:
        """Return the states in Airflow of task instances in this run; ``None`` of one that is to begin.

        Airflow takes the ids as a part of an address, which no service takes at any length: of many task instances, this
        asks for those of the whole run.
        """
        ti, asked = self._context["ti"], set(task_ids)
        few = sum(map(len, asked)) < _LONGEST_QUERY
        found: Mapping[str, Any] = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=sorted(asked) if few else None, run_ids=[ti.run_id]
        )
        states = found.get(ti.run_id, {})
        return {task_id: state and str(state) for task_id, state in states.items() if few or task_id in asked}

    @kept
    def first_try(self) -> int:
        """The number of the task instance's first try since somebody cleared the task instance; 0 if nobody did.

        Clearing raises Airflow's ``max_tries`` to the tries so far and the retries. With ``[kart] clear = look``, 0.
        """
        ti = self._context["ti"]
        first: int = getattr(ti, "max_tries", 0) - self._operator.retries + 1
        rerun = kart_choice("clear", ("rerun", "look")) == "rerun"
        return first if rerun and 1 < first <= ti.try_number else 0

    def made_before_clear(self, found: Completeness) -> bool:
        """Whether this task instance has made an artifact, in a try before somebody cleared the task instance."""
        ti = self._context["ti"]
        made_at = found.made_at if found.complete and found.made_by == (ti.dag_id, ti.run_id) else None
        return made_at is not None and made_at[:2] == (ti.task_id, ti.map_index) and made_at[2] < self.first_try

    def cleared(self) -> set[str]:
        """Return the unique ids of the tasks to run again since somebody cleared the plan with their operators.

        These are the tasks that this run made and whose operators have no state now: the plan comes first.
        """
        if not self.first_try:
            return set()
        ti = self._context["ti"]
        tasks = {task_id: task for task_id, task in self.run.tasks.items() if self.states.get(task_id) is None}
        found = look_at([Node(task) for task in tasks.values()])
        return {
            task.unique_id
            for task, there in zip(tasks.values(), found, strict=True)
            if there.complete and there.made_by == (ti.dag_id, ti.run_id)
        }

    def date_text(self) -> str:
        """Return the run's partition, logical date or start, whichever Airflow knows first, as text."""
        dag_run = self._context["dag_run"]
        key = getattr(dag_run, "partition_key", None)
        return f"partition {key}" if key else (dag_run.logical_date or dag_run.run_after).isoformat()

    def label_of(self, task_id: str) -> str:
        """Return the label of one operator's task, from the plan if it has one; empty for a task that this run does not have."""
        row = self.plan_rows.get(task_id, {})
        if "label" in row:
            return str(row["label"])
        task = self.run.task(task_id)
        return label(task) if task is not None else ""

    def coordinates(self) -> dict[str, Any]:
        """Return where in Airflow this happens, as JSON for the sidecar."""
        ti, dag_run = self._context["ti"], self._context["dag_run"]
        bundle = getattr(ti, "bundle_instance", None)
        moments = {
            "logical_date": dag_run.logical_date,
            "run_after": dag_run.run_after,
            "data_interval_start": dag_run.data_interval_start,
            "data_interval_end": dag_run.data_interval_end,
            "partition_date": getattr(dag_run, "partition_date", None),
        }
        return {
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": ti.map_index,
            "try_number": ti.try_number,
            "run_type": str(getattr(dag_run.run_type, "value", dag_run.run_type)),
            **{name: moment.isoformat() if moment is not None else None for name, moment in moments.items()},
            "partition_key": getattr(dag_run, "partition_key", None),
            "dag_version_id": _text(getattr(ti, "dag_version_id", None)),
            "bundle_name": _text(getattr(bundle, "name", None)),
            "bundle_version": _text(getattr(bundle, "version", None)),
            "log_url": _text(getattr(ti, "log_url", None)),
        }


def outside_consumers(operator: Any, inside: Collection[str]) -> list[str]:
    """Return the direct downstream tasks of an operator that are neither among ``inside`` nor a report."""
    downstream = (operator.dag.task_dict[task_id] for task_id in sorted(operator.downstream_task_ids))
    return [task.task_id for task in downstream if task.task_id not in inside and not _reports_on(task, operator)]


def _reports_on(task: Any, operator: Any) -> bool:
    blueprint = getattr(task, "blueprint", None)
    return getattr(task, "reports", False) and blueprint is not None and operator.task_id in blueprint.nodes


def kart_task_ids(dag: Any) -> set[str]:
    """Return the tasks of a DAG that make artifacts."""
    return {task_id for task_id, operator in dag.task_dict.items() if getattr(operator, "makes_artifact", False)}


def kart_classes(dag: Any) -> dict[str, list[str]]:
    """Return the class names of a DAG's tasks with their task ids; tasks without an operator of their own have none."""
    classes: dict[str, list[str]] = {name: [] for blueprint in kart_blueprints(dag) for name in blueprint.inline}
    for task_id in kart_task_ids(dag):
        classes.setdefault(type(dag.task_dict[task_id].task).__name__, []).append(task_id)
    return classes


def kart_blueprints(dag: Any) -> list[Blueprint]:
    """Return the compiled structures of a DAG's groups and single operators."""
    found = (getattr(operator, "blueprint", None) for operator in dag.task_dict.values())
    return list({id(blueprint): blueprint for blueprint in found if blueprint is not None}.values())


def _matching(pattern: str, task_ids: Collection[str]) -> set[str]:
    return {task_id for task_id in task_ids if fnmatch.fnmatchcase(task_id, pattern)}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
