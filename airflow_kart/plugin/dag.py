"""The page of a DAG: its artifacts by task and day, what reuse has saved run after run, and what the artifacts take."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from airflow_kart.audit.catalogue.record import Record
from airflow_kart.exceptions import KartError
from airflow_kart.idioms.kept import kept
from airflow_kart.plugin.access import ReaderDep, reads_dag, records_in
from airflow_kart.plugin.airflow_runs import plan_of
from airflow_kart.plugin.layout import layers
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.rows import number_of
from airflow_kart.plugin.structure import structures
from airflow_kart.plugin.words import OUTCOMES, bytes_text, counted, run_href, run_words, seconds_text

router = APIRouter()

_MOST_DAYS = 18
_MOST_RUNS = 60
_MOST_PLANS = 3  # runs without a plan, because theirs has failed or is to come
_LONGEST_GAP = 31
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)([T ](?!00:00)\d\d)?", re.ASCII)
_ONE_DAY, _THREE_WEEKS = "2013-03-01", dt.timedelta(weeks=3)


@dataclass
class Run:
    """A run of the DAG, with what its reports say of its tasks."""

    run_id: str
    day: str
    """The logical date, else the day on which the run was to start."""
    href: str
    counts: Counter[str] = field(default_factory=Counter)
    """Tasks by outcome."""
    computed: float = 0.0
    saved: float = 0.0

    @property
    def words(self) -> str:
        """The run in words."""
        return run_words(self.run_id)

    @property
    def said(self) -> str:
        """The outcomes in words."""
        return ", ".join(f"{self.counts[key]:,} {word}" for key, (_, word) in OUTCOMES.items() if self.counts[key])

    def add(self, told: Any) -> None:
        """Add what a report returned; anybody may have written something else there."""
        found = {name: number_of(value) or 0.0 for name, value in told.items()} if isinstance(told, Mapping) else {}
        self.counts += Counter({name: int(found[name]) for name in OUTCOMES if name in found})
        self.computed += found.get("seconds_run", 0.0)
        self.saved += found.get("seconds_saved", 0.0)


@dataclass
class Line:
    """The artifacts of a class."""

    name: str
    href: str
    days: dict[str, list[Record]] = field(default_factory=dict)
    """Artifacts by day."""

    @kept
    def records(self) -> list[Record]:
        """All artifacts."""
        return [record for found in self.days.values() for record in found]

    @kept
    def bytes(self) -> int:
        """The size of all artifacts."""
        return sum(record.bytes for record in self.records)

    @kept
    def older(self) -> set[Record]:
        """The artifacts that other code made than the newest one."""
        code = max(((one.made_at, one.fingerprint) for one in self.records if one.fingerprint), default=("", None))[1]
        return {record for record in self.records if record.fingerprint not in (None, code)}

    @kept
    def missing(self) -> set[str]:
        """The days without an artifact between others at their usual distance; none within long gaps, or on days off."""
        dates = [dt.date.fromisoformat(day) for day in sorted(self.days) if len(day) == len(_ONE_DAY)]
        gaps = Counter(later - earlier for earlier, later in pairwise(dates))
        step = min(gaps, key=lambda gap: (-gaps[gap], gap), default=dt.timedelta.max)
        short = [(one, other) for one, other in pairwise(dates) if other - one <= step * _LONGEST_GAP]
        found = [one + step * number for one, other in short for number in range(1, -((one - other) // step))]
        is_long = len(dates) > 1 and dates[-1] - dates[0] > _THREE_WEEKS
        weekdays = {date.weekday() for date in dates} if is_long else set(range(7))
        return {str(date) for date in found if date.weekday() in weekdays}

    def cell(self, day: str, latest: Run | None) -> tuple[str, str, str]:
        """Return icon, words and link of a day; all empty where nobody has made anything."""
        found = self.days.get(day, [])
        if not found:
            return ("missing", f"{self.name} {day}: missing", "") if day in self.missing else ("", "", "")
        icon, state = "there", "there"
        if not self.older.isdisjoint(found):
            icon, state = "stale", "there, made by older code"
        elif latest is not None and any(record.run_id == latest.run_id for record in found):
            icon, state = "ran", "ran in the latest run"
        many = f"{len(found):,} artifacts, " if len(found) > 1 else ""
        said = f"{self.name} {day}: {state}, {many}{bytes_text(sum(record.bytes for record in found))}"
        ids = {record.unique_id for record in found}
        base, _, _ = self.href.partition("/?")
        return icon, said, f"{base}/artifacts/{ids.pop()}" if len(ids) == 1 else f"{self.href}+{day.replace(' ', 'T')}"


@router.get(
    "/dags/{dag_id}",
    dependencies=reads_dag(DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM),
)
def of_dag(request: Request, reader: ReaderDep, dag_id: str, until: str = "") -> HTMLResponse:
    """Return the page of a DAG."""
    base, runs = base_of(request), _runs(dag_id, base_of(request))
    classes = _classes(dag_id, list(runs))
    lines = {cls: _line(base, cls) for cls in classes}
    workspaces, trouble = reader.workspaces([dag_id]), ""
    _add_reports(runs, dag_id)
    for workspace in workspaces:
        try:
            for record in records_in(workspace):
                if (record.task_class in lines or record.dag_id == dag_id) and reader.sees(record):
                    line = lines.setdefault(record.task_class, _line(base, record.task_class))
                    line.days.setdefault(day_of(record, dag_id, runs), []).append(record)
        except (KartError, OSError) as error:
            trouble = str(error)
    told, found = [run for run in runs.values() if run.counts], [line for line in lines.values() if line.days]
    days = sorted({day for line in found for day in (*line.days, *line.missing) if day})
    shown = [day for day in days if not until or day <= until][-_MOST_DAYS:]
    root = next((lines[cls] for cls in reversed(classes) if lines[cls].days), None)
    latest = next(iter(runs.values()), None)
    return page(
        request,
        "dag.html",
        title=dag_id,
        crumbs=[],
        summary=_summary(root, sum(len(line.records) for line in found), shown, told),
        trouble=trouble,
        latest=latest,
        lines=found,
        days=[(day, dt.date.fromisoformat(day[:10]).strftime("%b"), f"{day[8:10]}{day[10:]}") for day in shown],
        cells=[[line.cell(day, latest) for day in shown] for line in found],
        earlier=max((day for day in days if day < shown[0]), default="") if shown else "",
        later=bool(shown) and shown[-1] != days[-1],
        plot=plot_of(told[::-1]),
        runs=told,
        workspaces=list(
            dict.fromkeys(record.place.directory for line in found for record in line.records)
            or dict.fromkeys(workspace.directory for workspace in workspaces)
        ),
        search=f"{base}/?{urlencode({'q': f'dag:{dag_id}'})}",
    )


def _runs(dag_id: str, base: str) -> dict[str, Run]:
    """Return the newest runs of a DAG, the newest first."""
    rows = select(DagRun.run_id, DagRun.logical_date, DagRun.run_after).where(DagRun.dag_id == dag_id)
    with create_session() as session:
        found = session.execute(rows.order_by(DagRun.run_after.desc()).limit(_MOST_RUNS)).all()
    return {
        run_id: Run(run_id, str(date or after)[:10], run_href(base, dag_id, run_id))
        for run_id, date, after in sorted(found, key=lambda row: (row[1] or row[2], row[2]), reverse=True)
    }


def _add_reports(runs: Mapping[str, Run], dag_id: str) -> None:
    """Add what reports returned: a DAG whose workspace only reads has no ledger of its own."""
    structure = structures([dag_id]).get(dag_id)
    reports = [one.task_id for one in structure.nodes.values() if one.kind == "report"] if structure else []
    rows = select(XComModel.run_id, XComModel.value).where(XComModel.dag_id == dag_id, XComModel.key == "return_value")
    with create_session() as session:
        for run_id, told in session.execute(rows.where(XComModel.run_id.in_(runs), XComModel.task_id.in_(reports))):
            runs[run_id].add(told)


def _line(base: str, cls: str) -> Line:
    return Line(cls.rpartition(".")[2] or "(no class)", f"{base}/?{urlencode({'q': f'class:{cls}'})}")


def _classes(dag_id: str, run_ids: Sequence[str]) -> list[str]:
    """Return the classes of a DAG's tasks by its newest plan, upstream first."""
    plan = next(filter(None, (plan_of(dag_id, run_id) for run_id in run_ids[:_MOST_PLANS])), {})
    class_of = {task_id: str(row["class"]) for task_id, row in plan.items() if row.get("class")}
    structure = structures([dag_id]).get(dag_id)
    readers = {task_id: structure.downstream(task_id) if structure else [] for task_id in class_of}
    number = {cls: number for number, cls in enumerate(dict.fromkeys(class_of.values()))}
    pairs = {(class_of[one], class_of[other]) for one in readers for other in readers[one] if other in class_of}
    layer = layers(len(number), {(number[one], number[other]) for one, other in pairs if one != other})
    return sorted(number, key=lambda cls: (layer[number[cls]], number[cls]))


def day_of(record: Record, dag_id: str, runs: Mapping[str, Run]) -> str:
    """Return the day, or the hour, that an artifact is for: by its values, else by the run that made the artifact."""
    for value in record.parameters.values():
        if isinstance(value, str) and (found := _DAY.match(value)):
            with suppress(ValueError):
                return f"{dt.date.fromisoformat(found[1])}{(found[2] or '').replace('T', ' ')}"
    run = runs.get(record.run_id or "") if record.dag_id == dag_id else None
    return run.day if run is not None else ""


def _summary(root: Line | None, artifacts: int, shown: Sequence[str], told: Collection[Run]) -> str:
    """Return a line: ``10 of the last 11 days are complete; 34 s saved in the last 18 runs``."""
    last = "run" if len(told) == 1 else counted(len(told), "run")
    saved = f"; {seconds_text(sum(run.saved for run in told))} saved in the last {last}" if told else ""
    there, missing = (sum(day in days for day in shown) for days in (root.days, root.missing)) if root else (0, 0)
    if there + missing < 2:
        return f"{counted(artifacts, 'artifact')}{saved}"
    noun = "day" if all(len(day) == len(_ONE_DAY) for day in shown) else "hour"
    return f"{there} of the last {counted(there + missing, noun)} are complete{saved}"


def plot_of(runs: Sequence[Run]) -> dict[str, list[tuple[float, float, str]]] | None:
    """Return points of a plot that is 1 wide and 1 high, with words: of seconds added up over runs, and of lines across."""
    computed, whole = (
        list(accumulate(sums)) for sums in ([run.computed for run in runs], [run.computed + run.saved for run in runs])
    )
    if len(runs) < 2 or (top := whole[-1]) <= 0:
        return None
    step = next((one for one in _STEPS if top / one <= 4), 3600.0 * (1 + top // (4 * 3600)))
    across = [number / (len(runs) - 1) for number in range(len(runs))]
    return {
        "low": [(x, one / top, seconds_text(one)) for x, one in zip(across, computed, strict=True)],
        "high": [(x, one / top, seconds_text(one)) for x, one in zip(across, whole, strict=True)],
        "ticks": [(0, number * step / top, seconds_text(number * step)) for number in range(int(top / step) + 1)],
        "runs": [(across[at], 0, runs[at].day[5:]) for at in range(len(runs) - 1, -1, -(1 + len(runs) // 10))],
    }
