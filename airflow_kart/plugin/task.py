"""The page of a task instance: what became of the task and why, its artifact, and what that was made of."""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from airflow_kart.artifacts.state import NO_ARTIFACT
from airflow_kart.audit.catalogue.history import History
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.rows import one_look
from airflow_kart.audit.cause import Cause
from airflow_kart.audit.code_cause import older_code
from airflow_kart.audit.pins import Pin
from airflow_kart.audit.why import why_artifact
from airflow_kart.exceptions import KartError, MissingArtifactError
from airflow_kart.plugin.access import Reader, ReaderDep, records_in, require_reachable
from airflow_kart.plugin.airflow_runs import UNDER_WAY, KartRun, read_run, states_of
from airflow_kart.plugin.code import changed_lines_for
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.peek import peek_of, stem_of
from airflow_kart.plugin.rows import TaskRow, again_href, maker_of, row_of, with_holders
from airflow_kart.plugin.run import READS, SECONDS, crumbs_of
from airflow_kart.plugin.words import Link, arrows, cut, part, run_link, task_href, value_text
from airflow_kart.settings import kart_option

router = APIRouter()

MOST_OF_A_SIDECAR = 8 << 20
"""Bytes of a sidecar that a page reads."""
_MOST_SHOWN = 50
_MOST_EARLIER = 8
_INSTANCE = DagAccessEntity.TASK_INSTANCE


class Earlier(NamedTuple):
    """Another artifact of the same task."""

    record: Record
    run: Link | None
    changes: dict[str, tuple[str, str]]


class Made(NamedTuple):
    """What is told of a task's artifact besides its sidecar."""

    record: Record
    run: Link | None
    """The run that made it, where the user may see the run."""
    why: str
    code: list[Cause]
    """The changes of code that made the task run."""
    pin: Pin | None
    before: Record | None
    """The nearest artifact before."""
    earlier: list[Earlier]
    more: int


@router.get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", dependencies=READS)
def of_task(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request, reader: ReaderDep, dag_id: str, run_id: str, task_id: str, map_index: str = ""
) -> HTMLResponse:
    """Return the page of a task instance."""
    base, run = base_of(request), read_run(dag_id, run_id, may=reader.may, returned=task_id)
    row = found_row(run, base, task_id, map_index)
    records, made, older, trouble = [], None, list[Cause](), ""
    with one_look():
        try:
            row = with_holders([row], run.workspace if row.outcome == "waiting" else None, base, reader.may)[0]
            records = records_of(run, row, reader)
            made = made_of(records[0], reader, base) if records else None
            older = since_made(run, row, records, reader)
        except (KartError, OSError) as error:
            trouble = str(error)
        peek = peek_of(records[0], reader) if records else None
    around = {"Upstream": run.structure.upstream(task_id), "Downstream": run.structure.downstream(task_id)}
    near = {name: ([row_of(run, base, one) for one in found[:_MOST_SHOWN]], len(found)) for name, found in around.items()}
    instance = run.instances.get((row.task_id, row.map_index))
    if instance is None and (own := run.indexes.get(task_id)):
        near = {"Instances": ([row_of(run, base, task_id, one) for one in own[:_MOST_SHOWN]], len(own)), **near}
    return page(
        request,
        "task.html",
        title=row.name,
        crumbs=[*crumbs_of(base, dag_id), run_link(base, dag_id, run_id)],
        run=run,
        row=row,
        records=records,
        made=made,
        peek=peek,
        differences=differences,
        older=older,
        trouble=trouble,
        near=near,
        no_artifact=NO_ARTIFACT,
        log=_airflow_page(base, row) if instance is not None and instance.try_number else "",
        origin=origin_of(made.record, reader, base) if made and row.outcome == "cached" else "",
        below=run.structure.all_downstream(task_id)
        if row.took is not None and row.state not in UNDER_WAY and reader.may(dag_id, _INSTANCE, "PUT")
        else None,
        may_read_log=reader.may(dag_id, DagAccessEntity.TASK_LOGS),
        live=SECONDS if run.live and row.outcome in ("waiting", "running", "run") else None,
    )


def _airflow_page(base: str, row: TaskRow) -> str:
    """Return the address of Airflow's own page of a task instance, which has the log."""
    return f"{base.removesuffix('/kart')}{row.href.removeprefix(base).replace('?map_index=', '/mapped/')}"


def found_row(run: KartRun, base: str, task_id: str, map_index: str) -> TaskRow:
    """Return the row of a task instance.

    Raises:
        HTTPException: the run has no such task, or it makes no artifact (404).
    """
    index = int(map_index) if re.fullmatch(r"\d{1,9}", map_index) else -1  # Airflow's UI leaves {MAP_INDEX} as it is
    if task_id not in run.plan and task_id not in run.structure.makers:
        kind = run.structure.nodes[task_id].kind if task_id in run.structure.nodes else ""
        told = {"plan": "plans the run", "report": "reports on the run"}.get(kind, "makes no artifact of Kart")
        raise HTTPException(404, f"{cut(task_id)} {told}: the tab Kart of the run says more.")
    if index >= 0 and (task_id, index) not in run.instances:
        raise HTTPException(404, f"{cut(task_id)} has no task instance {index} in this run.")
    return row_of(run, base, task_id, index)


def records_of(run: KartRun, row: TaskRow, reader: Reader) -> list[Record]:
    """Return the artifacts of a task instance that are there, and that the user may see.

    Raises:
        KartError: the workspace cannot be read from here.
    """
    found: list[Record | None] = []
    for uri in row.uris[:_MOST_SHOWN]:
        try:
            workspace = reader.workspace_of(uri, [run.dag_id])
        except MissingArtifactError:
            if not (moved := _moved(uri, row.unique_id, reader, run.dag_id)):
                raise
            found += moved
            continue
        require_reachable(workspace, uri)
        found.append(Record.at(workspace, uri, MOST_OF_A_SIDECAR))
    made_by = maker_of(str(run.plan.get(row.task_id, {}).get("reason")))
    if not row.uris and made_by is not None and run.workspace is not None:  # the plan of a large graph names no files
        labels = [part.partition("=")[::2] for part in row.label.split(", ")]
        named = run.workspace.artifacts(row.task_class, dag_id=made_by[0], run_id=made_by[1])
        fits = [one for one in named if all(value_text(one.parameters.get(name)) == value for name, value in labels)]
        found += fits if len({one.unique_id for one in fits}) == 1 else []
    return [one for one in found if one is not None and reader.sees(one)]


def _moved(uri: str, unique_id: str, reader: Reader, dag_id: str) -> list[Record]:
    """Return the artifact that had a uri before somebody moved the workspace of a DAG; nothing where it is not there."""
    name = posixpath.basename(uri)
    named = (
        one for each in reader.workspaces([dag_id]) for one in records_in(each, unique_id) if one.unique_id == unique_id
    )
    return [one for one in named if posixpath.basename(one.uri) == name and reader.workspace_of(one.uri, [dag_id])][:1]


def made_of(record: Record, reader: Reader, base: str) -> Made:
    """Return why an artifact was made, by which run, and the other artifacts of its task.

    Raises:
        KartError: the workspace cannot be read from here.
    """
    with one_look():
        history = History(record.workspace, reader.sees_dag, changed_lines_for(reader, record.dag_id))
        why = why_artifact(record, history)
        compared = history.by_uris([why.compared_with] if why.compared_with else [])
        before = next((one.record for one in compared if one.record is not None and reader.sees(one.record)), None)
        same = (record.task_class, record.dag_id, record.row.airflow_task_id)
        of_class = record.workspace.artifacts(record.task_class) if record.task_class else ()
        runs: dict[tuple[str, str], Record] = {}  # of several outputs one, best the same
        for one in sorted(of_class, key=lambda one: stem_of(one.row) != stem_of(record.row)):
            if (one.task_class, one.dag_id, one.row.airflow_task_id) == same and reader.sees(one):
                runs.setdefault((one.unique_id, one.run_id or one.made_at), one)
    newest = sorted(runs.values(), key=lambda one: one.made_at, reverse=True)
    earlier = [Earlier(one, _run_link(one, reader, base), differences(record, one)) for one in newest[:_MOST_EARLIER]]
    words = cut(arrows(why.in_one_line), 400)
    code = [root for root in why.roots if root.lines]
    return Made(
        record, _run_link(record, reader, base), words, code, record.pinned, before, earlier, len(newest) - len(earlier)
    )


def since_made(run: KartRun, row: TaskRow, records: list[Record], reader: Reader) -> list[Cause]:
    """Return how the code that a plan saw differs from the code of a reused artifact.

    Raises:
        KartError: the workspace cannot be read from here.
    """
    if not (row.older_code and records and run.sources):
        return []
    lines = changed_lines_for(reader, run.dag_id, records[0].dag_id)
    return list(older_code(records[0], run.sources, History(records[0].workspace, reader.sees_dag, lines)))


def differences(this: Record, other: Record) -> dict[str, tuple[str, str]]:
    """Return the values of each parameter that differs between two artifacts; of equal ones, the versions of the code."""
    found = {
        name: (value_text(this.parameters.get(name)), value_text(other.parameters.get(name)))
        for name in dict.fromkeys([*this.parameters, *other.parameters])
        if this.parameters.get(name) != other.parameters.get(name)
    }
    if this.code_version != other.code_version:
        found["code_version"] = this.code_version or "none", other.code_version or "none"
    elif this.fingerprint != other.fingerprint:
        found["code"] = (this.fingerprint or "")[:8], (other.fingerprint or "")[:8]
    return found


def origin_of(record: Record, reader: Reader, base: str) -> str:
    """Return where a form asks that the run which made an artifact makes it again: the values are those of then.

    It is empty for who may not clear that task instance, and where clearing makes nothing: the run is gone, makes
    the artifact already, or took an equal run's.
    """
    dag_id, run_id, task_id = record.dag_id, record.run_id, record.row.airflow_task_id
    index = part(record.sidecar.content, "airflow").get("map_index")
    index = index if isinstance(index, int) else -1
    if not (dag_id and run_id and task_id) or record.outcome != "ran" or kart_option("clear") == "look":
        return ""
    found = states_of(dag_id, run_id, task_id, index) if reader.may(dag_id, _INSTANCE, "PUT") else set()
    return again_href(task_href(base, dag_id, run_id, task_id, index)) if found and not found & UNDER_WAY else ""


def _run_link(record: Record, reader: Reader, base: str) -> Link | None:
    if record.dag_id is None or record.run_id is None or not reader.may(record.dag_id):
        return None
    return run_link(base, record.dag_id, record.run_id)
