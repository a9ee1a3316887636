"""DAG runs as Airflow's database has them: states of task instances, and what plan, report and tasks pushed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import HTTPException
from sqlalchemy import select

from airflow_kart.plugin.structure import Structure, rendered_workspaces, structures, workspace_from
from airflow_kart.runtime.packed import CHANGED_CODE_XCOM, PLAN_XCOM, REPORT_XCOM, RESULTS_XCOM, unpacked
from airflow_kart.storage.workspace import Workspace

_RETURNED = "return_value"
_OF_RUN = (PLAN_XCOM, REPORT_XCOM, RESULTS_XCOM, CHANGED_CODE_XCOM)
_LIVE = ("queued", "running")


@dataclass(frozen=True)
class Instance:
    """A task instance."""

    task_id: str
    map_index: int
    state: str
    try_number: int
    started: dt.datetime | None
    ended: dt.datetime | None
    note: str
    """The words for a mapped task instance, or of a cached one."""


@dataclass(frozen=True)
class KartRun:
    """A DAG run."""

    dag_id: str
    run_id: str
    state: str
    date: dt.datetime | None
    run_after: dt.datetime
    conf: Mapping[str, Any]
    instances: Mapping[tuple[str, int], Instance]
    structure: Structure
    plan: Mapping[str, Mapping[str, Any]]
    """The plan's rows by task id."""
    report: Mapping[str, Any] | None
    """What the reports said; of several compiled groups, all."""
    results: Mapping[tuple[str, int], Mapping[str, Any]]
    """What tasks returned, by task id and map index."""
    changed_code: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Whether the run goes on."""
        return self.state in _LIVE

    @cached_property
    def said(self) -> dict[str, tuple[str, str]]:
        """The outcome and the reason of each task by the report."""
        report = self.report or {}
        why = _mapping(report.get("why"))
        return {
            str(task_id): (outcome, str(why.get(task_id, "")))
            for outcome, task_ids in report.items()
            if outcome not in ("changed_code", "why") and isinstance(task_ids, list)
            for task_id in task_ids
        }

    @cached_property
    def workspace(self) -> Workspace | None:
        """The run's workspace; ``None`` where Airflow has forgotten what its template rendered to."""
        nodes = [node for node in self.structure.nodes.values() if node.is_kart]
        if any(node.has_template for node in nodes):
            rendered = rendered_workspaces(self.dag_id, self.run_id)
            return workspace_from(rendered[0]) if rendered else None
        return workspace_from(nodes[0].workspace) if nodes else None


@dataclass(frozen=True)
class _Told:
    """What the XComs of a run tell."""

    plan: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    results: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def take(self, row: Any) -> None:
        """Take an XCom. Anybody may have pushed one by these names, so that nothing of its form is sure."""
        try:
            value = unpacked(XComModel.deserialize_value(row)) if row.key in _OF_RUN else XComModel.deserialize_value(row)
        except (ValueError, TypeError, OSError):
            return
        if row.key == CHANGED_CODE_XCOM and isinstance(value, list):
            self.changed.extend(map(str, value))
        elif not isinstance(value, Mapping):
            return
        elif row.key == PLAN_XCOM:
            self.plan.update({str(name): one for name, one in value.items() if isinstance(one, Mapping)})
        elif row.key == REPORT_XCOM:
            self.reports.append(value)
        elif row.key == RESULTS_XCOM:
            self.results.update({(str(name), -1): one for name, one in value.items() if isinstance(one, Mapping)})
        elif "outcome" in value:
            self.results[row.task_id, row.map_index] = value

    @property
    def report(self) -> Mapping[str, Any] | None:
        """The reports as one; ``None`` without any."""
        merged: dict[str, Any] = {}
        for report in self.reports:
            for name, value in report.items():
                before = merged.get(name)
                if isinstance(before, dict) and isinstance(value, Mapping):
                    merged[name] = {**before, **value}
                elif before is not None and isinstance(value, (list, float, int)) and isinstance(before, type(value)):
                    merged[name] = before + value  # type: ignore[operator]  # of one type
                else:
                    merged[name] = value
        return merged if self.reports else None


def read_run(dag_id: str, run_id: str, *, returned: bool | str = False) -> KartRun:
    """Return a DAG run.

    Args:
        dag_id: the DAG.
        run_id: the run.
        returned: whether to read what each task returned, or that of one task; a run without a report needs all.

    Raises:
        HTTPException: Airflow has no such run (404).
    """
    told = _Told()
    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if found is None:
            raise HTTPException(404, f"Airflow has no run {run_id} of {dag_id}.")
        facts = (str(getattr(found.state, "value", found.state)), found.logical_date, found.run_after, found.conf or {})
        instances = _instances(session, dag_id, run_id)
        columns = select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
        of_run = columns.where(XComModel.dag_id == dag_id, XComModel.run_id == run_id)
        for row in session.execute(of_run.where(XComModel.key.in_(_OF_RUN))):
            told.take(row)
        if returned or not told.reports:
            one = of_run.where(XComModel.key == _RETURNED)
            for row in session.execute(one.where(XComModel.task_id == returned) if isinstance(returned, str) else one):
                told.take(row)
        versions = [found.created_dag_version_id] if getattr(found, "created_dag_version_id", None) else []
    structure = structures([dag_id], versions).get(dag_id) or Structure({})
    state, date, after, conf = facts
    return KartRun(
        dag_id,
        run_id,
        state,
        date,
        after,
        conf if isinstance(conf, Mapping) else {},
        instances,
        structure,
        told.plan,
        told.report,
        told.results,
        tuple(told.changed),
    )


def _instances(session: Any, dag_id: str, run_id: str) -> dict[tuple[str, int], Instance]:
    columns: Any = (
        TaskInstance.task_id,
        TaskInstance.map_index,
        TaskInstance.state,
        TaskInstance.try_number,
        TaskInstance.start_date,
        TaskInstance.end_date,
        TaskInstance.rendered_map_index,
    )
    rows = session.execute(select(*columns).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id))
    return {
        (row.task_id, row.map_index): Instance(
            row.task_id,
            row.map_index,
            str(getattr(row.state, "value", row.state) or ""),
            row.try_number or 0,
            row.start_date,
            row.end_date,
            row.rendered_map_index or "",
        )
        for row in rows
    }


def runs_beside(dag_id: str, run: KartRun, most: int = 25) -> list[tuple[str, str]]:
    """Return the ids and states of the other runs of a DAG, those before this one first, the nearest before the others."""
    rows = select(DagRun.run_id, DagRun.run_after, DagRun.state).where(DagRun.dag_id == dag_id)
    with create_session() as session:
        earlier = rows.where(DagRun.run_after < run.run_after).order_by(DagRun.run_after.desc()).limit(most)
        later = rows.where(DagRun.run_after >= run.run_after, DagRun.run_id != run.run_id).order_by(DagRun.run_after)
        found = [*session.execute(earlier), *session.execute(later.limit(most))]
    return [(row.run_id, str(getattr(row.state, "value", row.state))) for row in found[:most]]


def plan_of(dag_id: str, run_id: str) -> dict[str, Mapping[str, Any]]:
    """Return the plan of a run, empty where there is none."""
    told = _Told()
    columns = select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
    rows = columns.where(XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == PLAN_XCOM)
    with create_session() as session:
        for row in session.execute(rows):
            told.take(row)
    return told.plan


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
