"""The page of a DAG run: what ran, what was reused, and why; and its comparison with another run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from airflow_kart.exceptions import KartError
from airflow_kart.plugin.access import ReaderDep, reads_dag
from airflow_kart.plugin.airflow_runs import KartRun, plan_of, read_run, runs_beside
from airflow_kart.plugin.graph import graph_of
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.rows import TaskRow, rows_of, summary_of, sums_of, with_holders
from airflow_kart.plugin.words import OUTCOMES, Link, change_words, clean, run_href, run_words

router = APIRouter()

_MOST_ROWS = 250
_MOST_CHANGES = 3
_SECONDS = 5
"""Between two looks at a run that goes on."""
STALE = "older"
"""The filter for artifacts of older code."""


class Change(NamedTuple):
    """A value that differs between two runs."""

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class Since:
    """What differs from another run: the values of most tasks first."""

    run_id: str
    words: str
    href: str
    changes: list[Change]
    more: int


@dataclass(frozen=True)
class Shown:
    """The rows that a filter leaves, a page of them."""

    rows: list[TaskRow]
    found: int
    of: int
    outcome: str
    words: str
    number: int
    pages: int

    @property
    def groups(self) -> list[list[TaskRow]]:
        """The rows by outcome."""
        return [list(rows) for _, rows in groupby(self.rows, lambda row: row.outcome)]

    @classmethod
    def of_rows(cls, rows: Sequence[TaskRow], outcome: str, words: str, number: int) -> Shown:
        """Filter rows by outcome and by words, and take one page."""
        asked = words.lower().split()
        found = [
            row
            for row in rows
            if (not outcome or (row.older_code if outcome == STALE else row.outcome == outcome))
            and all(word in row.text for word in asked)
        ]
        pages = max(1, -(-len(found) // _MOST_ROWS))
        number = min(max(1, number), pages)
        few = found[(number - 1) * _MOST_ROWS : number * _MOST_ROWS]
        return cls(few, len(found), len(rows), outcome, words, number, pages)


@router.get(
    "/dags/{dag_id}/runs/{run_id}",
    dependencies=reads_dag(DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM),
)
def of_run(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request, reader: ReaderDep, dag_id: str, run_id: str, outcome: str = "", q: str = "", number: int = 1
) -> HTMLResponse:
    """Return the page of a DAG run."""
    base, run = base_of(request), read_run(dag_id, run_id)
    rows = rows_of(run, base)
    if any(row.outcome == "waiting" for row in rows):
        with suppress(KartError):  # where no workspace is configured, the rows say that another run makes the artifacts
            rows = with_holders(rows, run.workspace, base, reader.may)
    sums = sums_of(rows)
    return page(
        request,
        "run.html",
        title=run_words(run_id),
        crumbs=crumbs_of(base, dag_id),
        run=run,
        summary=summary_of(rows),
        sums=sums,
        bar=_bar({name: count for name, (count, _) in sums.items()}),
        since=_since(run, base),
        failed=[row for row in rows if row.outcome == "failed"],
        waiting=[row for row in rows if row.outcome == "waiting"],
        older=[row for row in rows if row.older_code],
        asked=request.query_params,
        drawn=graph_of(run, rows, run_href(base, dag_id, run_id), "each" in request.query_params),
        shown=Shown.of_rows(rows, outcome if outcome in (*OUTCOMES, STALE) else "", clean(q[:200]), number),
        here=run_href(base, dag_id, run_id),
        live=_SECONDS if run.live else None,
    )


@router.get(
    "/dags/{dag_id}/runs/{run_id}/compare",
    dependencies=reads_dag(DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM),
)
def compared(request: Request, dag_id: str, run_id: str, other: str = "") -> HTMLResponse:
    """Return the page that compares a DAG run with another one of the DAG."""
    base, run = base_of(request), read_run(dag_id, run_id)
    beside = runs_beside(dag_id, run)
    if not other and beside:
        other = beside[0][0]
    if not other:
        raise HTTPException(404, f"{dag_id} has no other run to compare with.")
    before = read_run(dag_id, other)
    rows, olds = rows_of(run, base), rows_of(before, base)
    then = {(row.task_id, row.map_index): row for row in olds}
    pairs = [(row, then.pop((row.task_id, row.map_index), None)) for row in rows]
    different = [(row, old) for row, old in pairs if old is None or _differs(row, old)]
    return page(
        request,
        "compare.html",
        title=f"{run_words(run_id)} and {run_words(other)}",
        crumbs=[*crumbs_of(base, dag_id), Link(run_words(run_id), run_href(base, dag_id, run_id))],
        summary=summary_of(rows),
        summary_then=summary_of(olds),
        since=_since(run, base, before),
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


def _since(run: KartRun, base: str, before: KartRun | None = None) -> Since | None:
    """Return what differs from another run, by default the one before; ``None`` where there is none with a plan."""
    if before is not None:
        run_id, plan = before.run_id, before.plan
    else:
        run_id = next((one for one, _ in runs_beside(run.dag_id, run, 1)), "")
        plan = plan_of(run.dag_id, run_id) if run_id else {}
    if not plan or not run.plan:
        return None
    found = Counter(
        Change(*change)
        for task_id, row in run.plan.items()
        if task_id in plan
        for change in change_words(str(row.get("label") or ""), str(plan[task_id].get("label") or ""))
    )
    changes = [change for change, _ in found.most_common(_MOST_CHANGES)]
    return Since(run_id, run_words(run_id), run_href(base, run.dag_id, run_id), changes, len(found) - len(changes))


def _differs(row: TaskRow, old: TaskRow) -> bool:
    return (row.outcome, row.label, row.unique_id) != (old.outcome, old.label, old.unique_id)


def _bar(counts: dict[str, int]) -> list[tuple[str, str, str]]:
    """Return outcome, place and width of each piece of a bar that is 1,000 wide, with gaps of 3."""
    whole = sum(counts.values())
    room, at, found = 1000 - 3 * (len(counts) - 1), 0.0, []
    for outcome, count in counts.items():
        width = room * count / whole
        found.append((OUTCOMES[outcome][0], f"{at:.1f}", f"{width:.1f}"))
        at += width + 3
    return found
