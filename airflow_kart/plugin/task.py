"""The page of a task instance: what became of the task and why, its artifact, and what that was made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from airflow_kart.audit.catalogue import one_look
from airflow_kart.audit.history import History
from airflow_kart.audit.record import Record
from airflow_kart.audit.why import why_artifact
from airflow_kart.exceptions import KartError
from airflow_kart.plugin.access import Reader, ReaderDep, reads_dag, require_reachable
from airflow_kart.plugin.airflow_runs import KartRun, read_run
from airflow_kart.plugin.page import base_of, page
from airflow_kart.plugin.rows import TaskRow, row_of, with_holders
from airflow_kart.plugin.run import crumbs_of
from airflow_kart.plugin.words import (
    Link,
    Words,
    bytes_text,
    cut,
    moment,
    run_href,
    run_words,
    seconds_text,
    task_href,
    value_text,
)
from airflow_kart.settings import kart_option

router = APIRouter()
READS = reads_dag(DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)

MOST_OF_A_SIDECAR = 8 << 20
"""Bytes of a sidecar that a page reads."""
_MOST_OUTPUTS = 20
_MOST_SHOWN = 50
"""Parameters, columns and neighbours on a page."""
_MOST_EARLIER = 8
_MOST_PACKAGES = 2000
_MOST_TEXT = 100_000
_COMMIT = re.compile("[0-9a-f]{7,64}")


class Value(NamedTuple):
    """A parameter: now, and before."""

    name: str
    value: str
    href: str
    before: str
    note: str


@dataclass(frozen=True)
class Earlier:
    """An artifact of the same task, made earlier or later."""

    record: Record
    href: str
    run: Link | None
    changes: list[tuple[str, str, str]]
    is_this: bool


@dataclass(frozen=True)
class Artifact:
    """What the page says of a task's artifact."""

    record: Record
    facts: list[tuple[str, str]]
    columns: list[tuple[str, str]]
    values: list[Value]
    compared: Link | None
    provenance: list[tuple[str, str | Link]]
    packages: list[str]
    task_log: str
    log_tail: str
    sidecar: str
    made_by: Link | None
    why: Words
    earlier: list[Earlier] = field(default_factory=list)
    more_earlier: int = 0
    trouble: str = ""


@router.get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", dependencies=READS)
def of_task(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request, reader: ReaderDep, dag_id: str, run_id: str, task_id: str, map_index: str = ""
) -> HTMLResponse:
    """Return the page of a task instance."""
    base = base_of(request)
    run = read_run(dag_id, run_id, returned=task_id)
    row = found_row(run, base, task_id, map_index)
    trouble = ""
    records: list[Record] = []
    artifact: Artifact | None = None
    try:
        row = with_holders([row], run.workspace if row.outcome == "waiting" else None, base, reader.may)[0]
        records = records_of(run, row, reader)
        artifact = _artifact(records[0], run, reader, base) if records else None
    except (KartError, OSError) as error:
        trouble = str(error)
    near = [row_of(run, base, one) for one in run.structure.upstream(task_id)[:_MOST_SHOWN]]
    below = run.structure.downstream(task_id)
    return page(
        request,
        "task.html",
        title=row.name,
        crumbs=[*crumbs_of(base, dag_id), Link(run_words(run_id), run_href(base, dag_id, run_id))],
        run=run,
        row=row,
        reason="" if artifact is None or "".join(map(str, row.why)) == "".join(map(str, artifact.why)) else row.why,
        artifact=artifact,
        records=records[:_MOST_OUTPUTS],
        more_outputs=len(records) - _MOST_OUTPUTS,
        trouble=trouble,
        upstream=near,
        downstream=[row_of(run, base, one) for one in below[:_MOST_SHOWN]],
        counts=(len(run.structure.upstream(task_id)), len(below)),
        log=_airflow_log(base, row, run),
        why=f"{task_href(base, dag_id, run_id, task_id)}/why",
        live=5 if run.live and row.outcome in ("waiting", "running", "run") else None,
    )


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
    return row_of(run, base, task_id, index)


def records_of(run: KartRun, row: TaskRow, reader: Reader) -> list[Record]:
    """Return the artifacts of a task instance that are there, and that the user may see.

    Raises:
        KartError: the workspace cannot be read from here.
    """
    found: list[Record] = []
    for uri in row.uris:
        workspace = reader.workspace_of(uri, [run.dag_id])
        require_reachable(workspace)
        record = Record.at(workspace, uri, MOST_OF_A_SIDECAR)
        if record is not None and reader.sees(record):
            found.append(record)
    if not row.uris and row.task_class and run.workspace is not None:  # the plan of a large graph names no files
        made_by = run.plan.get(row.task_id, {}).get("made_by")
        dag_id, run_id = made_by if isinstance(made_by, list) and len(made_by) == 2 else (None, None)
        labels = [part.partition("=")[::2] for part in row.label.split(", ")]
        named = run.workspace.artifacts(row.task_class, dag_id=dag_id, run_id=run_id) if run_id is not None else ()
        fits = [one for one in named if all(value_text(one.parameters.get(name)) == value for name, value in labels)]
        found += [one for one in fits if reader.sees(one)] if len({one.unique_id for one in fits}) == 1 else []
    return found


def _artifact(record: Record, run: KartRun, reader: Reader, base: str) -> Artifact:
    content = record.sidecar.content
    recorded, ran, source = record.sidecar.artifact, _part(content, "run"), _part(content, "source")
    environment = _part(content, "environment")
    packages = _part(environment, "packages")
    columns = [(cut(name), cut(str(kind))) for name, kind in (recorded.columns or {}).items()]
    table = f", {recorded.rows:,} rows" if recorded.rows is not None else ""
    table += f", {len(columns):,} columns" if columns else ""
    made_by = _run_link(record, reader, base)
    words: Words = []
    earlier: list[Earlier] = []
    more, before, trouble = 0, None, ""
    try:
        with one_look():
            history = History(record.workspace)
            why = why_artifact(record, history, lines=False)
            words = [cut(why.in_one_line.replace(" -> ", " → "), 400)]
            compared = history.by_uris([why.compared_with] if why.compared_with else [])
            before = compared[0].record if compared and compared[0].record is not None else None
            before = before if before is not None and reader.sees(before) else None
            earlier, more = _history(record, reader, base)
    except (KartError, OSError) as error:
        trouble = str(error)
    log_tail = (
        cut(str(content.get("log_tail") or ""), _MOST_TEXT) if reader.may(run.dag_id, DagAccessEntity.TASK_LOGS) else ""
    )
    return Artifact(
        record,
        [
            ("Type", f"{cut(recorded.type)}{table}"),
            ("Format", cut(recorded.format)),
            ("Size", f"{bytes_text(recorded.bytes)} ({recorded.bytes:,} bytes)"),
            ("SHA-256", cut(recorded.sha256[:16])),
            ("State", cut(record.state)),
            ("Unique id", cut(record.unique_id)),
            ("Labels", cut(", ".join(f"{name}={text}" for name, text in recorded.labels.items()))),
        ],
        columns[:_MOST_SHOWN],
        list(_values(record, before, base)),
        Link(f"{cut(str(before), 120)}, made {moment(before.made_at)} UTC", f"{base}/artifacts/{before.unique_id}")
        if before
        else None,
        list(_provenance(content, source, ran)),
        [f"{cut(name)} {cut(str(one))}" for name, one in list(packages.items())[:_MOST_PACKAGES]],
        _json(content.get("task_log")),
        log_tail,
        _json({**content, "log_tail": "…", "environment": {**environment, "packages": f"… ({len(packages)})"}}),
        made_by,
        words,
        earlier,
        more,
        trouble,
    )


def _values(record: Record, before: Record | None, base: str) -> Iterator[Value]:
    """Return the parameters, those that differ from the nearest artifact's first."""
    found = []
    then = before.parameters if before is not None else {}
    parts = _part(_part(record.sidecar.content, "task"), "parameters")
    names = [*dict.fromkeys([*record.parameters, *record.row.private])]
    for name in names[:_MOST_SHOWN]:
        private = name in record.row.private
        value = record.parameters.get(name)
        differs = before is not None and not private and (name not in then or then[name] != value)
        held = value.get("unique_id") if isinstance(value, Mapping) else None
        text = "private" if private else value_text(value)
        note = "" if _part(parts, name).get("significant", True) else "not in the id"
        was = value_text(then[name]) if name in then else "new"
        href = f"{base}/artifacts/{held}" if isinstance(held, str) and held.isalnum() else ""
        found.append(Value(cut(name), text, href, was if differs else "", note))
    yield from sorted(found, key=lambda one: not one.before)


def _provenance(
    content: Mapping[str, Any], source: Mapping[str, Any], ran: Mapping[str, Any]
) -> Iterator[tuple[str, str | Link]]:
    task, git, environment = _part(content, "task"), _part(source, "git"), _part(content, "environment")
    yield "Class", cut(str(task.get("class") or ""))
    if source.get("file"):
        yield "Code", cut(f"{source['file']}:{source.get('line') or ''}".rstrip(":"))
    yield "Version", cut(str(task.get("code_version") or "none set"))
    if isinstance(commit := git.get("commit"), str):
        yield "Commit", commit_link(commit)
        yield "Uncommitted", "changes were in the checkout" if git.get("dirty") else ""
    yield "Fingerprint", cut(str(source.get("fingerprint") or ""))
    yield "Seed", cut(str(_part(ran, "seed").get("value") or ""))
    yield "Python", cut(str(environment.get("python") or ""))
    yield "Host", cut(str(environment.get("host") or ""))
    memory = ran.get("peak_memory_bytes")
    yield "Memory", f"{bytes_text(memory)} at most" if isinstance(memory, int) else ""
    seconds = ran.get("seconds")
    yield "Took", seconds_text(seconds) if isinstance(seconds, (int, float)) else ""


def commit_link(commit: str) -> str | Link:
    """Return a commit, as a link where ``[kart] commit_url`` says where to."""
    pattern = kart_option("commit_url").strip()
    if not pattern.startswith("https://") or not _COMMIT.fullmatch(commit):
        return cut(commit[:12])
    return Link(commit[:12], pattern.replace("{commit}", commit))


def _history(record: Record, reader: Reader, base: str) -> tuple[list[Earlier], int]:
    """Return the newest artifacts of the same task of the same DAG, else of the class, and how many more there are."""
    if not record.task_class:
        return [], 0
    same = (record.dag_id, record.row.airflow_task_id)
    of_class = [one for one in record.workspace.artifacts(record.task_class) if one.task_class == record.task_class]
    of_task = [one for one in of_class if (one.dag_id, one.row.airflow_task_id) == same and one.row.name]
    outputs: dict[tuple[str, str], Record] = {}  # of several outputs one
    for one in of_task:
        outputs.setdefault((one.unique_id, one.run_id or one.made_at), one)
    seen = [one for one in sorted(outputs.values(), key=lambda one: one.made_at, reverse=True) if reader.sees(one)]
    return [
        Earlier(
            one,
            f"{base}/artifacts/{one.unique_id}",
            _run_link(one, reader, base),
            _changes(record, one),
            one.unique_id == record.unique_id,
        )
        for one in seen[:_MOST_EARLIER]
    ], max(0, len(seen) - _MOST_EARLIER)


def _changes(this: Record, other: Record) -> list[tuple[str, str, str]]:
    names = dict.fromkeys([*this.parameters, *other.parameters])
    found = [
        (cut(name), value_text(this.parameters.get(name)), value_text(other.parameters.get(name)))
        for name in names
        if this.parameters.get(name) != other.parameters.get(name)
    ]
    if this.code_version != other.code_version:
        found.append(("code_version", this.code_version or "none", other.code_version or "none"))
    elif this.fingerprint != other.fingerprint:
        found.append(("code", (this.fingerprint or "")[:8], (other.fingerprint or "")[:8]))
    return found[:_MOST_SHOWN]


def _run_link(record: Record, reader: Reader, base: str) -> Link | None:
    if record.dag_id is None or record.run_id is None or not reader.may(record.dag_id):
        return None
    return Link(run_words(record.run_id), run_href(base, record.dag_id, record.run_id))


def _airflow_log(base: str, row: TaskRow, run: KartRun) -> str:
    """Return the address of Airflow's own page of a task instance, which has the log; empty for one without a try."""
    instance = run.instances.get((row.task_id, row.map_index))
    if instance is None or not instance.try_number:
        return ""
    path = task_href(base.removesuffix("/kart"), run.dag_id, run.run_id, row.task_id)
    return f"{path}/mapped/{row.map_index}" if row.map_index >= 0 else path


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}


def _json(value: Any) -> str:
    return cut(json.dumps(value, indent=1, ensure_ascii=False, default=str), _MOST_TEXT) if value else ""
