"""The page of a DAG run: what ran, what was reused, and why; and its comparison with another run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from airflow_kart.exceptions import KartError
from airflow_kart.plugin.access import ReaderDep, reads_dag
from airflow_kart.plugin.airflow_runs import KartRun, Plan, plan_of, read_run, runs_beside
from airflow_kart.plugin.graph import OLDER, graph_of
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.rows import TaskRow, failed_besides, rows_of, summary_of, sums_of, with_holders
from airflow_kart.plugin.words import OUTCOMES, Link, change_words, clean, run_href, run_link, run_words

router = APIRouter()

READS = reads_dag(DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
_MOST_ROWS = 250
_MOST_CHANGES = 3
SECONDS = 5
"""Between two looks at what goes on."""


class Since(NamedTuple):
    """The values that differ from another run's, of each name the one furthest downstream: name, before, now."""

    run: Link
    changes: list[tuple[str, str, str]]
    more: int


class Shown(NamedTuple):
    """The rows that a filter leaves, a page of them."""

    groups: list[list[TaskRow]]
    found: int
    of: int
    outcome: str
    words: str
    number: int
    pages: int


@router.get("/dags/{dag_id}/runs/{run_id}", dependencies=READS)
def of_run(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request, reader: ReaderDep, dag_id: str, run_id: str, outcome: str = "", q: str = "", number: int = 1
) -> HTMLResponse:
    """Return the page of a DAG run."""
    base, run = base_of(request), read_run(dag_id, run_id, may=reader.may)
    rows = rows_of(run, base)
    if any(row.outcome == "waiting" for row in rows):
        with suppress(KartError):  # where no workspace is configured, the rows say that another run makes the artifacts
            rows = with_holders(rows, run.workspace, base, reader.may)
    before = next((one for one, _ in runs_beside(dag_id, run, 1)), "")
    return page(
        request,
        "run.html",
        title=run_words(run_id),
        crumbs=crumbs_of(base, dag_id),
        run=run,
        summary=summary_of(rows),
        sums=sums_of(rows),
        since=_since(run, before, plan_of(dag_id, before) if before else {}, base),
        beside=before,
        failed=[row for row in rows if row.outcome == "failed"],
        failed_besides=failed_besides(run, base, rows),
        waiting=[row for row in rows if row.outcome == "waiting"],
        older=[row for row in rows if row.older_code],
        pink=[OUTCOMES[one][1] for one in dict.fromkeys(row.outcome for row in rows if row.state == "skipped")],
        asked=request.query_params,
        drawn=graph_of(run, rows, run_href(base, dag_id, run_id), "each" in request.query_params),
        shown=_shown(rows, outcome if outcome in (*OUTCOMES, OLDER) else "", clean(q[:200]), number),
        here=run_href(base, dag_id, run_id),
        may_trigger=reader.may(dag_id, DagAccessEntity.RUN, "POST"),
        live=SECONDS if run.live else None,
    )


@router.get("/dags/{dag_id}/runs/{run_id}/compare", dependencies=READS)
def compared(request: Request, dag_id: str, run_id: str, other: str = "") -> HTMLResponse:
    """Return the page that compares a DAG run with another one of the DAG."""
    base, run = base_of(request), read_run(dag_id, run_id)
    beside = runs_beside(dag_id, run)
    other = other or next((one for one, _ in beside), "")
    if not other:
        raise HTTPException(404, f"{dag_id} has no other run to compare with.")
    before = read_run(dag_id, other)
    rows, olds = rows_of(run, base), rows_of(before, base)
    then = {(row.task_id, row.map_index): row for row in olds}
    pairs = [(row, then.pop((row.task_id, row.map_index), None)) for row in rows]
    different = [(row, old) for row, old in pairs if old is None or _facts(row) != _facts(old)]
    return page(
        request,
        "compare.html",
        title="comparison",
        crumbs=[*crumbs_of(base, dag_id), run_link(base, dag_id, run_id)],
        summary=summary_of(rows),
        summary_then=summary_of(olds),
        since=_since(run, other, before.plan, base),
        pairs=[
            (row, old, change_words(row.label, old.label) if old is not None else []) for row, old in different[:_MOST_ROWS]
        ],
        gone=list(then.values())[:_MOST_ROWS],
        different=len(different),
        same=len(pairs) - len(different),
        beside=[(one, run_words(one), state) for one, state in beside],
        other=other,
        here=run_href(base, dag_id, run_id),
    )


def crumbs_of(base: str, dag_id: str) -> list[Link]:
    """Return the links to where the pages of a DAG's runs are."""
    return [Link(dag_id, f"{base}/dags/{dag_id}")]


def _since(run: KartRun, other: str, plan: Plan, base: str) -> Since | None:
    """Return what differs from another run's plan; ``None`` where one has no plan."""
    if not plan or not run.plan:
        return None
    found: dict[str, tuple[str, str, str]] = {}
    for one in reversed([one for one in run.structure.makers if one in plan and one in run.plan]):
        for change in change_words(*(str(each[one].get("label") or "") for each in (run.plan, plan))):
            found.setdefault(change[0], change)
    changes = list(found.values())[:_MOST_CHANGES]
    return Since(run_link(base, run.dag_id, other), changes, len(found) - len(changes))


def _facts(row: TaskRow) -> tuple[str, str, str]:
    return row.outcome, row.label, row.unique_id


def _shown(rows: Sequence[TaskRow], outcome: str, words: str, number: int) -> Shown:
    """Filter rows by outcome and by words, and take one page."""
    asked = words.lower().split()
    found = [
        row
        for row in rows
        if (not outcome or (row.older_code if outcome == OLDER else row.outcome == outcome))
        and all(word in row.text for word in asked)
    ]
    pages = max(1, -(-len(found) // _MOST_ROWS))
    number = min(max(1, number), pages)
    few = found[(number - 1) * _MOST_ROWS : number * _MOST_ROWS]
    groups = [list(group) for _, group in groupby(few, lambda row: row.outcome)]
    return Shown(groups, len(found), len(rows), outcome, words, number, pages)
