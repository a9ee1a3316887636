"""The chain of causes: why the tasks of a run ran, from what changed first to what followed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from airflow_kart.audit.catalogue.history import History
from airflow_kart.audit.catalogue.rows import one_look
from airflow_kart.audit.cause import Cause, Why
from airflow_kart.audit.changed_lines import ChangedLines
from airflow_kart.audit.why import why_artifact
from airflow_kart.exceptions import KartError
from airflow_kart.plugin.access import Reader, ReaderDep
from airflow_kart.plugin.airflow_runs import KartRun, read_run
from airflow_kart.plugin.code import changed_lines_for
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.rows import TaskRow, rows_of
from airflow_kart.plugin.run import READS, crumbs_of
from airflow_kart.plugin.task import found_row, records_of, since_made
from airflow_kart.plugin.words import Link, arrows, counted, cut, run_link

router = APIRouter()

_MOST_TASKS = 200
_PATIENCE = 3.0
"""Seconds for the causes of a run's tasks."""
_MOST_STEPS = 500
_OF_ALL = ("parameter", "package", "requested")
"""The kinds of causes that are one cause in tasks of several classes."""


class Root(NamedTuple):
    """A root cause, and the tasks that ran because of it."""

    words: str
    classes: list[str]
    lines: tuple[str, ...]
    ran: list[TaskRow]


class Step(NamedTuple):
    """A cause on the way to a task."""

    task: str
    words: str
    href: str
    depth: int


@router.get("/dags/{dag_id}/runs/{run_id}/why", dependencies=READS)
def of_run(request: Request, reader: ReaderDep, dag_id: str, run_id: str) -> HTMLResponse:
    """Return the root causes of all that ran in a DAG run."""
    run = read_run(dag_id, run_id, may=reader.may, returned=True)
    return _page(request, reader, run, [row for row in rows_of(run, base_of(request)) if row.outcome == "ran"], None)


@router.get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/why", dependencies=READS)
def of_task(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request, reader: ReaderDep, dag_id: str, run_id: str, task_id: str, map_index: str = ""
) -> HTMLResponse:
    """Return the causes of one task's artifact, from the root causes to the task."""
    run = read_run(dag_id, run_id, may=reader.may, returned=task_id)
    row = found_row(run, base_of(request), task_id, map_index)
    return _page(request, reader, run, [row], row)


def _page(request: Request, reader: Reader, run: KartRun, rows: list[TaskRow], one: TaskRow | None) -> HTMLResponse:
    base, answers, trouble = base_of(request), list[tuple[TaskRow, Why]](), ""
    compared, older = None, list[Cause]()
    ends = time.monotonic() + _PATIENCE
    try:
        with one_look():
            history: History | None = None
            lines: ChangedLines | None = None
            for row in rows[:_MOST_TASKS]:
                for record in records_of(run, row, reader)[:1]:
                    lines = lines or changed_lines_for(reader, run.dag_id, record.dag_id)
                    history = history or History(record.workspace, reader.sees_dag, lines)
                    answers.append((row, why_artifact(record, history)))
                if time.monotonic() > ends:
                    break
            if one is not None:
                older = since_made(run, one, records_of(run, one, reader), reader)
            if one is not None and answers and history is not None and (uri := answers[0][1].compared_with):
                records = (side.record for side in history.by_uris([uri]) if side.record is not None)
                compared = next((found for found in records if reader.sees(found)), None)
    except (KartError, OSError) as error:
        trouble = str(error)
    roots = _roots(answers)
    name = one.name if one is not None else rows[0].name if len(rows) == 1 else counted(len(rows), "task")
    own = rows[0].task_class.rpartition(".")[2] if len(rows) == 1 else ""  # the heading names this task already
    told = "; ".join(
        root.words if len(root.classes) > 1 or root.classes == [own] else f"{root.classes[0]}: {root.words}"
        for root in roots[:2]
    )
    more = f"; and {counted(len(roots) - 2, 'more cause')}" if len(roots) > 2 else ""
    return page(
        request,
        "why.html",
        title=f"Why {name} ran",
        crumbs=[
            *crumbs_of(base, run.dag_id),
            run_link(base, run.dag_id, run.run_id),
            *([Link(one.name, one.href)] if one is not None else []),
        ],
        heading=f"{name} ran: {told}{more}" if roots else "Nothing ran" if not rows else f"Nobody recorded why {name} ran",
        roots=roots,
        followed=[(row, [number for number, root in enumerate(roots, 1) if row in root.ran]) for row, _ in answers],
        untold=len(rows) - len(answers),
        steps=list(_steps(answers[0][1].causes, base))[:_MOST_STEPS] if one is not None and answers else [],
        compared=compared,
        older=older,
        trouble=trouble,
        row=one,
    )


def _roots(answers: Iterable[tuple[TaskRow, Why]]) -> list[Root]:
    """Return the root causes, those of most tasks first. A value that changed is one cause, whatever classes have the value."""
    found: dict[str, Root] = {}
    for row, why in answers:
        for cause in why.roots:
            name = cut(cause.task.partition("(")[0])
            key = cause.words if cause.kind in _OF_ALL else f"{name} {cause.words}"
            root = found.setdefault(key, Root(cut(arrows(cause.words), 400), [], cause.lines, []))
            if name not in root.classes:
                root.classes.append(name)
            if row not in root.ran:
                root.ran.append(row)
    return sorted(found.values(), key=lambda root: -len(root.ran))


def _steps(causes: Iterable[Cause], base: str, depth: int = 0) -> Iterator[Step]:
    """Return the causes as lines, each with its depth; a cause upstream leads to the artifact that it is about."""
    for cause in causes:
        linked = cause.kind == "upstream" and isinstance(cause.after, str) and cause.after.isalnum()
        yield Step(
            cut(cause.task), cut(arrows(cause.words), 400), f"{base}/artifacts/{cause.after}" if linked else "", depth
        )
        yield from _steps(cause.because, base, depth + 1)
