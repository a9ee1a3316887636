"""DAG runs as Airflow's database has them: states of task instances, and what plan, report and tasks pushed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import HTTPException
from sqlalchemy import select

from airflow_kart.idioms.kept import kept
from airflow_kart.plugin.structure import Structure, rendered_workspaces, structures, workspace_from
from airflow_kart.runtime.packed import CHANGED_CODE_XCOM, CODE_XCOM, PLAN_XCOM, REPORT_XCOM, RESULTS_XCOM, unpacked
from airflow_kart.storage.workspace import Workspace

Plan: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The plan's rows by task id."""

_MOST_UNPACKED = 16 << 20  # 30,000 rows
_PACKED = (PLAN_XCOM, REPORT_XCOM, RESULTS_XCOM, CHANGED_CODE_XCOM, CODE_XCOM)


UNDER_WAY = frozenset({"running", "queued", "scheduled", "restarting"})
"""States in which clearing a task instance would kill or repeat work."""


class Instance(NamedTuple):
    """A task instance."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    started: dt.datetime | None
    ended: dt.datetime | None
    note: str | None
    """The words that tell a mapped task instance from others."""


@dataclass
class KartRun:
    """A DAG run."""

    dag_id: str
    run_id: str
    state: str
    run_after: dt.datetime
    instances: Mapping[tuple[str, int], Instance] = field(default_factory=dict)
    structure: Structure = field(default_factory=lambda: Structure({}))
    plan: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reports: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """What the reports said, one for each compiled graph, with their task ids."""
    results: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    """What tasks returned, by task id and map index."""
    changed_code: list[str] = field(default_factory=list)
    sources: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By class, the code of reused artifacts' classes that the plan saw, where it is other code than the artifacts'."""
    may: Callable[[str], bool] = field(default=lambda _: False, repr=False)
    """Whether the user may read another DAG, whose runs a reason may name."""

    @property
    def live(self) -> bool:
        """Whether the run goes on."""
        return self.state in ("queued", "running")

    @kept
    def indexes(self) -> dict[str, list[int]]:
        """The map indexes of each task; -1 of a task that is not mapped, or not yet."""
        found: dict[str, list[int]] = {}
        for task_id, map_index in sorted(self.instances):
            found.setdefault(task_id, []).append(map_index)
        return found

    @kept
    def said(self) -> dict[str, tuple[str, str]]:
        """The outcome and the reason of each task by the report, unless the task ended after the report had looked."""
        return {
            str(task_id): (outcome, str(self.reported("why", task_id) or ""))
            for by, report in self.reports
            for outcome, task_ids in report.items()
            if isinstance(task_ids, list) and outcome != CHANGED_CODE_XCOM
            for task_id in task_ids
            if self._knew(by, task_id)
        }

    def reported(self, name: str, task_id: str) -> Any:
        """Return what the reports say of a task under a name: ``why``, ``seconds`` or ``bytes``."""
        parts = (report.get(name) for by, report in self.reports if self._knew(by, task_id))
        return next((part[task_id] for part in parts if isinstance(part, Mapping) and task_id in part), None)

    def _knew(self, report_id: str, task_id: Any) -> bool:
        report, one = (self.instances.get((str(name), -1)) for name in (report_id, task_id))
        return not (report and one and report.started and one.ended) or one.ended <= report.started

    @kept
    def workspace(self) -> Workspace | None:
        """The run's workspace; ``None`` where Airflow has forgotten what its template became."""
        nodes = [node for node in self.structure.nodes.values() if node.kind]
        fields = [node.workspace for node in nodes]
        if any(node.has_template for node in nodes):
            fields = rendered_workspaces(self.dag_id, self.run_id)
        return workspace_from(fields[0]) if fields else None

    def take(self, row: Any) -> None:
        """Take an XCom, as JSON. Anybody may have pushed one by these names, so that nothing of its form is sure."""
        node = self.structure.nodes.get(row.task_id)
        if self.structure.nodes and (node is None or not node.kind):
            return
        try:
            value = unpacked(row.value, _MOST_UNPACKED) if row.key in _PACKED else row.value
        except (ValueError, TypeError, OSError, RecursionError):
            return
        if row.key == CHANGED_CODE_XCOM and isinstance(value, list):
            self.changed_code.extend(map(str, value))
        elif not isinstance(value, Mapping):
            return
        elif row.key == PLAN_XCOM:
            self.plan.update({str(name): one for name, one in value.items() if isinstance(one, Mapping)})
        elif row.key == CODE_XCOM:
            self.sources.update({str(name): one for name, one in value.items() if isinstance(one, Mapping)})
        elif row.key == REPORT_XCOM:
            self.reports.append((row.task_id, value))
        elif row.key == RESULTS_XCOM:
            self.results.update({(str(name), -1): one for name, one in value.items() if isinstance(one, Mapping)})
        elif "outcome" in value:
            self.results[row.task_id, row.map_index] = value


def read_run(
    dag_id: str, run_id: str, *, may: Callable[[str], bool] = lambda _: False, returned: bool | str = False
) -> KartRun:
    """Return a DAG run.

    Args:
        dag_id: the DAG.
        run_id: the run.
        may: whether the user may read another DAG; by default none.
        returned: whether to read what each task returned, or that of one task; of tasks without a report all is read.

    Raises:
        HTTPException: Airflow has no such run (404).
    """
    ti: Any = TaskInstance
    columns: Any = ti.task_id, ti.map_index, ti.state, ti.try_number, ti.start_date, ti.end_date, ti.rendered_map_index
    with create_session() as session:
        found: Any = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if found is None:
            raise _no_run(dag_id, run_id)
        run = KartRun(dag_id, run_id, str(found.state), found.run_after, may=may)
        rows = session.execute(select(*columns).where(ti.dag_id == dag_id, ti.run_id == run_id))
        run.instances = {(row.task_id, row.map_index): Instance(*row) for row in rows}
        versions = [found.created_dag_version_id] if found.created_dag_version_id else []
    run.structure = structures([dag_id], versions).get(dag_id, run.structure)
    with create_session() as session:
        _take(session, run, _PACKED)
        if returned is True or any(task_id not in run.said for task_id in {*run.plan, *run.structure.makers}):
            _take(session, run, ("return_value",))
        elif returned:
            _take(session, run, ("return_value",), returned)
    return run


def _no_run(dag_id: str, run_id: str) -> HTTPException:
    return HTTPException(404, f"Airflow has no run {run_id} of {dag_id}.")


def _take(session: Any, run: KartRun, keys: tuple[str, ...], task_id: str | None = None) -> None:
    columns = select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
    rows = columns.where(XComModel.dag_id == run.dag_id, XComModel.run_id == run.run_id, XComModel.key.in_(keys))
    for row in session.execute(rows if task_id is None else rows.where(XComModel.task_id == task_id)):
        run.take(row)


def runs_beside(dag_id: str, run: KartRun, most: int = 25) -> list[tuple[str, str]]:
    """Return the ids and states of the other runs of a DAG, those before this one first, the nearest before the others."""
    rows = select(DagRun.run_id, DagRun.state).where(DagRun.dag_id == dag_id)
    with create_session() as session:
        earlier = rows.where(DagRun.run_after < run.run_after).order_by(DagRun.run_after.desc()).limit(most)
        later = rows.where(DagRun.run_after >= run.run_after, DagRun.run_id != run.run_id).order_by(DagRun.run_after)
        found = [*session.execute(earlier), *session.execute(later.limit(most))]
    return [(row.run_id, str(row.state)) for row in found[:most]]


def conf_of(dag_id: str, run_id: str) -> dict[str, Any]:
    """Return what a run was triggered with.

    Raises:
        HTTPException: Airflow has no such run (404).
    """
    with create_session() as session:
        found = session.execute(select(DagRun.conf).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    if found is None:
        raise _no_run(dag_id, run_id)
    return dict(found.conf) if isinstance(found.conf, Mapping) else {}


def states_of(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> set[str | None]:
    """Return the states of a task in a run: of one task instance, or of all where no index is given."""
    asked = select(TaskInstance.state).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id)
    with create_session() as session:
        return set(session.scalars(asked if map_index < 0 else asked.filter_by(map_index=map_index)))


def plan_of(dag_id: str, run_id: str) -> Plan:
    """Return the plan of a run, empty where there is none."""
    run = KartRun(dag_id, run_id, "", dt.datetime.now(dt.timezone.utc))
    with create_session() as session:
        _take(session, run, (PLAN_XCOM,))
    return run.plan
