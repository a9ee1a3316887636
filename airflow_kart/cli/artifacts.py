"""``ls``, ``show``, ``tree`` and ``lineage``: what the catalogue answers, printed."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_kart.audit.catalogue.artifacts import Artifacts
from airflow_kart.audit.catalogue.lineage import Lineage, Required
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.rows import one_look
from airflow_kart.audit.catalogue.savings import sums
from airflow_kart.audit.pins import pinned_in
from airflow_kart.cli.output import MACHINES, progress, show, show_document
from airflow_kart.exceptions import KartError
from airflow_kart.runtime.tally import in_words, size_text
from airflow_kart.storage.workspace import Workspace
from airflow_kart.views.caption import one_line

_HEAD = 5
_MOST_FOR_HEAD = 64 << 20
"""Bytes of a table that is loaded to show its head."""
_SUMS = ("artifacts", "bytes", "seconds", "hits", "seconds_saved", "newest")
_PICKLED = ("pickle", "zip", "gzip")


def found_by(workspace: Workspace, name: str | None, arguments: argparse.Namespace | None = None) -> Artifacts:
    """Return the artifacts of a name and of the conditions of a command line."""
    conditions = ("since", "until", "dag_id", "run_id", "outcome")
    given = {} if arguments is None else {each: getattr(arguments, each, None) for each in conditions}
    return replace(workspace.artifacts(name, **given), tell=progress("sidecars read for the catalogue"))


def list_artifacts(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """List artifacts, or their sums."""
    asked = found_by(workspace, arguments.name, arguments)
    if arguments.name is None or arguments.by:
        _list_sums(asked, arguments.by or "task", arguments.output)
        return
    shown = asked.newest(arguments.most or None)
    if not shown:
        raise asked.none()
    pins = pinned_in(workspace)
    if arguments.output in MACHINES:
        found = [{**facts(record), "pinned": record.unique_id in pins} for record in shown]
        show_document(found, arguments.output)
        return
    rows = [
        {
            "artifact": str(record),
            "made_at": record.made_at[:19],
            "took": in_words(record.seconds),
            "size": size_text(record.bytes),
            "rows": record.rows,
            "state": ", ".join(filter(None, (_state(record), "pinned" if record.unique_id in pins else ""))),
            "unique_id": record.unique_id[:8],
        }
        for record in shown
    ]
    show(rows, arguments.output, right=["took", "size", "rows"])
    if len(shown) == arguments.most and arguments.output == "table":
        print(f"the newest {len(shown):,}; -n 0 lists all")


def _state(record: Record) -> str:
    return record.state or ("reused" if record.outcome == "reused" else "")


def _list_sums(asked: Artifacts, by: str, output: str) -> None:
    rows = [{by: one.name, **{name: getattr(one, name) for name in _SUMS}} for one in sums(asked, by)]
    if output not in MACHINES:
        if len(rows) > 1:
            total = {name: sum(row[name] for row in rows) for name in _SUMS if name != "newest"}
            rows.append({by: "all", **total, "newest": max(row["newest"] for row in rows)})
        rows = [
            {
                by: row[by],
                "artifacts": row["artifacts"],
                "size": size_text(row["bytes"]),
                "computed_in": in_words(row["seconds"]),
                "hits": row["hits"],
                "saved": in_words(row["seconds_saved"]),
                "newest": row["newest"][:19],
            }
            for row in rows
        ]
    show(rows, output, right=["artifacts", "size", "computed_in", "hits", "saved"])


def facts(record: Record) -> dict[str, Any]:
    """Return what the catalogue knows of an artifact, as JSON."""
    names = ("task_class", "unique_id", "uri", "made_at", "seconds", "bytes", "rows", "outcome", "state", "dag_id", "run_id")
    return {
        **{name: getattr(record, name) for name in names},
        "code_version": record.code_version,
        "fingerprint": record.fingerprint,
        "parameters": dict(record.parameters),
        "upstream": [{"task_class": one.cls, "unique_id": one.unique_id, "uris": one.uris} for one in record.row.upstream],
    }


def show_artifact(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Show the newest artifact of a name."""
    record = newest(workspace, arguments.name)
    if arguments.output in MACHINES:
        show_document(
            {**facts(record), "pinned": record.pinned is not None, "sidecar": dict(record.sidecar.content)}, arguments.output
        )
        return
    rows = [{"": name.replace("_", " "), " ": value} for name, value in _told(record) if value not in (None, "", {})]
    show(rows, arguments.output, heading=str(record))
    _show_head(record)


def newest(workspace: Workspace, name: str, arguments: argparse.Namespace | None = None) -> Record:
    """Return the newest artifact of a name, and of the conditions of a command line, whatever its state.

    Raises:
        MissingArtifactError: there is none.
    """
    asked = found_by(workspace, name, arguments)
    found = asked.newest(1)
    if not found:
        raise asked.none()
    return found[0]


def _told(record: Record) -> Iterator[tuple[str, Any]]:
    sidecar = record.sidecar
    run, source, made = (sidecar.content.get(name) or {} for name in ("run", "source", "airflow"))
    git = source.get("git") or {}
    yield "uri", record.uri
    yield "state", sidecar.damage or record.state or "whole"
    if (pin := record.pinned) is not None:
        words = ["yes", *(["by", pin.by] if pin.by else []), *(["at", pin.at[:19], "UTC"] if pin.at else [])]
        yield "pinned", one_line(" ".join(words))
    yield "unique id", record.unique_id
    for name, part in ((sidecar.content.get("task") or {}).get("parameters") or {}).items():
        yield f"  {name}", "***" if part.get("private") else record.parameters.get(name)
    yield "size", f"{size_text(record.bytes)}, SHA-256 {sidecar.artifact.sha256}"
    yield "object", f"{sidecar.artifact.type} in the format {sidecar.artifact.format}"
    yield "rows", record.rows
    yield "columns", ", ".join(f"{name}: {kind}" for name, kind in (sidecar.artifact.columns or {}).items())
    yield "labels", ", ".join(f"{name}={value}" for name, value in sidecar.artifact.labels.items())
    yield "made at", f"{record.made_at[:19]} UTC, in {in_words(record.seconds)}"
    yield "because", run.get("reason")
    yield "by", f"{made['dag_id']}, {made['run_id']}, {made.get('task_id')}" if made.get("dag_id") else "build()"
    yield "equal run", (sidecar.content.get("reused_from") or {}).get("uri")
    yield "code", f"{source.get('file')}:{source.get('line')}" if source.get("file") else None
    yield "commit", f"{git['commit']}{' (with changes)' if git.get('dirty') else ''}" if git.get("commit") else None
    yield "code version", record.code_version
    yield "seed", (run.get("seed") or {}).get("value")
    for required in record.row.upstream:
        yield "from", f"{required.cls.rpartition('.')[2]} {required.unique_id[:8]}  {', '.join(required.uris)}"
    for name, value in (sidecar.content.get("task_log") or {}).items():
        yield f"log: {name}", value


def _show_head(record: Record) -> None:
    """Print the first rows of a table; no pickle is opened, since that would run code."""
    artifact = record.sidecar.artifact
    if artifact.columns is None or record.bytes > _MOST_FOR_HEAD or artifact.format in _PICKLED:
        return
    with contextlib.suppress(KartError, ImportError):
        table = record.load()
        print()
        print(table.head(_HEAD).to_string() if hasattr(table, "to_string") else table.head(_HEAD))


def draw_tree(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Draw an artifact with everything upstream."""
    with one_look():
        record, lineage = newest(workspace, arguments.name), Lineage(workspace)
    if arguments.output in MACHINES:
        show_document(_nested(lineage, record.unique_id), arguments.output)
        return
    for line in _Drawing(lineage).lines(Required(record.task_class, record.unique_id, (record.uri,), record)):
        print(line)


@dataclass
class _Drawing:
    lineage: Lineage
    seen: set[str] = field(default_factory=set)

    def lines(self, one: Required, first: str = "", others: str = "") -> Iterator[str]:
        known = one.unique_id in self.seen
        self.seen.add(one.unique_id)
        if (record := one.record) is None:
            yield f"{first}{one.task_class.rpartition('.')[2]} {one.unique_id[:8]} {', '.join(one.uris)}  (not here)"
            return
        made = f"{record.made_at[:19]}, {in_words(record.seconds)}, {size_text(record.bytes)}"
        yield f"{first}{record}  {'(as before)' if known else made}"
        required = [] if known else self.lineage.upstream(one.unique_id)
        for number, each in enumerate(required, 1):
            branch, beside = ("└─ ", "   ") if number == len(required) else ("├─ ", "│  ")
            yield from self.lines(each, others + branch, others + beside)


def _nested(lineage: Lineage, unique_id: str) -> dict[str, Any]:
    """Return each task once, with the ids of its upstream, so that shared tasks are not repeated."""
    ids = [unique_id, *lineage.all_upstream(unique_id)]
    found = {one: record for one in ids if (record := lineage.record(one)) is not None}
    return {"root": unique_id, "tasks": [facts(record) for record in found.values()]}


def list_lineage(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """List everything upstream and downstream of an artifact."""
    with one_look():
        record, lineage = newest(workspace, arguments.name), Lineage(workspace)
    ways: Iterable[tuple[str, Any]] = (
        ("upstream", lineage.all_upstream(record.unique_id)),
        ("downstream", lineage.all_downstream(record.unique_id)),
    )
    rows = []
    for way, reached in ways:
        for unique_id, steps in reached.items():
            found = lineage.record(unique_id)
            rows.append(
                {
                    "way": way,
                    "steps": steps,
                    "artifact": str(found) if found else f"{unique_id} (not here)",
                    "made_at": found.made_at[:19] if found else None,
                    "unique_id": unique_id,
                    "uri": found.uri if found else None,
                }
            )
    show(rows, arguments.output, right=["steps"], heading=str(record))
