"""The chain of causes: why the tasks of a run ran, from what changed first to what followed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from airflow_kart.audit.catalogue import one_look
from airflow_kart.audit.cause import Cause, Why
from airflow_kart.audit.history import History
from airflow_kart.audit.record import Record
from airflow_kart.audit.why import why_artifact
from airflow_kart.exceptions import KartError
from airflow_kart.plugin.access import Reader, ReaderDep
from airflow_kart.plugin.airflow_runs import read_run
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.rows import TaskRow, rows_of
from airflow_kart.plugin.run import crumbs_of
from airflow_kart.plugin.task import READS, found_row, records_of
from airflow_kart.plugin.words import Link, counted, cut, run_href, run_words, task_href, value_text

router = APIRouter()

_MOST_TASKS = 200
_PATIENCE = 3.0
"""Seconds for the causes of a run's tasks."""
_MOST_ROOTS = 50
_DEEPEST = 30
_PARTS = ("parameter", "code_version", "package", "class", "namespace", "key", "output", "workspace")
"""The kinds of causes whose former and present value say something to people."""
_OF_ALL = ("parameter", "package", "requested")
"""The kinds of causes that are one cause in tasks of several classes."""


class Root(NamedTuple):
    """A root cause, and the tasks that ran because of it."""

    words: str
    classes: list[str]
    change: tuple[str, str] | None
    ran: list[TaskRow]


@dataclass
class Step:
    """A cause on the way from a root cause to a task."""

    task: str
    words: str
    href: str
    depth: int


@router.get("/dags/{dag_id}/runs/{run_id}/why", dependencies=READS)
def of_run(request: Request, reader: ReaderDep, dag_id: str, run_id: str) -> HTMLResponse:
    """Return the root causes of all that ran in a DAG run."""
    base = base_of(request)
    run = read_run(dag_id, run_id, returned=True)
    ran = [row for row in rows_of(run, base) if row.outcome == "ran"]
    answers: dict[str, tuple[TaskRow, Why]] = {}
    trouble = ""
    ends = time.monotonic() + _PATIENCE
    try:
        with one_look():
            history: History | None = None
            for row in ran[:_MOST_TASKS]:
                if time.monotonic() > ends:
                    break
                for record in records_of(run, row, reader)[:1]:
                    history = history or History(record.workspace)
                    answers[row.name] = row, why_artifact(record, history, lines=False)
    except (KartError, OSError) as error:
        trouble = str(error)
    roots = _roots(answers.values())
    title = "Why did they run?" if len(ran) != 1 else f"Why did {ran[0].name} run?"
    return page(
        request,
        "why.html",
        title=title,
        crumbs=[*crumbs_of(base, dag_id), Link(run_words(run_id), run_href(base, dag_id, run_id))],
        heading=_heading(roots, f"{counted(len(ran), 'task')} ran" if len(ran) != 1 else f"{ran[0].name} ran"),
        roots=roots[:_MOST_ROOTS],
        more_roots=max(0, len(roots) - _MOST_ROOTS),
        followed=[(row, [number for number, one in enumerate(roots, 1) if row in one.ran]) for row, _ in answers.values()],
        untold=len(ran) - len(answers),
        steps=[],
        compared=None,
        trouble=trouble,
        row=None,
    )


@router.get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/why", dependencies=READS)
def of_task(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request, reader: ReaderDep, dag_id: str, run_id: str, task_id: str, map_index: str = ""
) -> HTMLResponse:
    """Return the causes of one task's artifact, from the root causes to the task."""
    base = base_of(request)
    run = read_run(dag_id, run_id, returned=task_id)
    row = found_row(run, base, task_id, map_index)
    record: Record | None = None
    why: Why | None = None
    compared: Link | None = None
    trouble = ""
    try:
        with one_look():
            record = next(iter(records_of(run, row, reader)), None)
            if record is not None:
                history = History(record.workspace)
                why = why_artifact(record, history, lines=False)
                compared = _compared(why, history, reader, base)
    except (KartError, OSError) as error:
        trouble = str(error)
    roots = _roots([(row, why)] if why is not None else [])
    return page(
        request,
        "why.html",
        title=f"Why {row.name} ran",
        crumbs=[
            *crumbs_of(base, dag_id),
            Link(run_words(run_id), run_href(base, dag_id, run_id)),
            Link(row.name, task_href(base, dag_id, run_id, task_id, row.map_index)),
        ],
        heading=_heading(roots, f"{row.name} ran")
        if why is not None
        else f"There is no artifact of {row.name} that could tell why it ran",
        roots=roots[:_MOST_ROOTS],
        more_roots=max(0, len(roots) - _MOST_ROOTS),
        followed=[],
        untold=0,
        steps=list(_steps(why.causes, base)) if why is not None else [],
        compared=compared,
        trouble=trouble,
        row=row,
    )


def _compared(why: Why, history: History, reader: Reader, base: str) -> Link | None:
    for side in history.by_uris([why.compared_with] if why.compared_with else []):
        if side.record is not None and reader.sees(side.record):
            words = f"{cut(str(side.record), 120)}, made {side.record.made_at[:16].replace('T', ' ')} UTC"
            return Link(words, f"{base}/artifacts/{side.record.unique_id}")
    return None


def _roots(answers: Iterable[tuple[TaskRow, Why]]) -> list[Root]:
    """Return the root causes, those of most tasks first. A value that changed is one cause, whatever classes have the value."""
    found: dict[str, Root] = {}
    for row, why in answers:
        for cause in why.roots:
            root = found.setdefault(_key(cause), Root(_words(cause), [], _change(cause), []))
            if (name := cut(cause.task.partition("(")[0])) not in root.classes:
                root.classes.append(name)
            if row not in root.ran:
                root.ran.append(row)
    return sorted(found.values(), key=lambda root: -len(root.ran))


def _key(cause: Cause) -> str:
    return cause.words if cause.kind in _OF_ALL else f"{cause.task.partition('(')[0]} {cause.words}"


def _words(cause: Cause) -> str:
    return cut(cause.words.replace(" -> ", " → "), 400)


def _change(cause: Cause) -> tuple[str, str] | None:
    was, now = value_text(cause.before), value_text(cause.after)
    told = was in cause.words and now in cause.words
    return None if told or cause.kind not in _PARTS or (cause.before is None and cause.after is None) else (was, now)


def _heading(roots: list[Root], ran: str) -> str:
    """Return the answer in a sentence."""
    if not roots:
        return f"{ran}, and nobody recorded why" if not ran.startswith("0 ") else "Nothing ran"
    told = "; ".join(root.words if len(root.classes) > 1 else f"{root.classes[0]}: {root.words}" for root in roots[:2])
    more = len(roots) - 2
    return f"{ran}: {told}{f'; and {more:,} more' if more > 0 else ''}"


def _steps(causes: Iterable[Cause], base: str, depth: int = 0) -> Iterator[Step]:
    """Return the causes as lines, each with its depth; a cause upstream leads to the artifact that it is about."""
    for cause in causes:
        linked = cause.kind == "upstream" and isinstance(cause.after, str) and cause.after.isalnum()
        href = f"{base}/artifacts/{cause.after}" if linked else ""
        yield Step(cut(cause.task), _words(cause), href, depth)
        if depth < _DEEPEST:
            yield from _steps(cause.because, base, depth + 1)
