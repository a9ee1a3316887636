"""``gc``: list what nothing keeps in a workspace, or remove it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_kart.audit.garbage import Conditions, Garbage
from airflow_kart.cli.graphs import graphs_of_class, graphs_of_dag, is_class
from airflow_kart.cli.output import progress, show
from airflow_kart.cli.pipelines import shown
from airflow_kart.runtime.tally import size_text
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph


def collect(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """List what goes and what stays, by task; with ``--delete``, remove what goes.

    Returns:
        1 if something was to go and could not be removed.

    Raises:
        KartError: the command failed, and removed nothing.
    """
    kept: dict[str, list[str]] = {}
    with contextlib.redirect_stdout(sys.stderr):  # of files that define DAGs and classes, and of Airflow's log
        for text, graph in _graphs(workspace, arguments):
            kept.setdefault(text, []).extend(graph.roots if arguments.without_upstream else graph.nodes)
    conditions = Conditions(
        only=arguments.names,
        keep=[name for name in arguments.keep if not is_class(name)],
        keep_ids=kept,
        keep_last=arguments.keep_last,
        younger_than=arguments.older_than,
        labels=arguments.keep_label,
        grace=arguments.grace,
        upstream=not arguments.without_upstream,
    )
    garbage = Garbage(workspace, conditions, progress("sidecars read for the catalogue"))
    if not arguments.delete:
        _show(garbage, arguments.output, done=False)
        print("a dry run: nothing was removed; --delete removes what goes", file=sys.stderr)
        return 0
    try:
        garbage.remove(progress("removed"))
    except KeyboardInterrupt:
        done = sum(piece.gone for piece in garbage.pieces)
        print(f"interrupted after {done:,} removals; the same command goes on", file=sys.stderr)
        raise
    _show(garbage, arguments.output, done=True)
    return int(any(piece.left for piece in garbage.pieces))


def _graphs(workspace: Workspace, arguments: argparse.Namespace) -> Iterator[tuple[str, Graph]]:
    for text in filter(is_class, arguments.keep):
        for graph in graphs_of_class(workspace, text):
            yield shown(text), graph
    for text in arguments.keep_dag:
        for graph in graphs_of_dag(workspace, text):
            yield f"DAG {text}", graph


def _show(garbage: Garbage, output: str, *, done: bool) -> None:
    goes = "gone" if done else "goes"
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for piece in garbage.pieces:
        fate = "stays" if piece.stays else "left" if piece.left else goes
        why = piece.stays or piece.left or piece.fault or "nothing keeps it"
        of = groups.setdefault((fate, piece.task or "(files)", why), [0, 0, piece.made_at, piece.made_at])
        of[0] += len(piece.outputs)
        of[1] += sum(each.bytes for each in piece.outputs)
        of[2], of[3] = min(of[2], piece.made_at), max(of[3], piece.made_at)
    if garbage.uploads:
        begun = [upload.begun.isoformat() for upload in garbage.uploads]
        groups[goes, "(uploads)", "their processes were killed"] = [len(begun), None, min(begun), max(begun)]
    if garbage.entries:
        groups[goes, "(index)", "no artifact has its content"] = [len(garbage.entries), None, "", ""]
    rows = [
        {"fate": fate, "task": task, "count": count, "bytes": size, "oldest": oldest[:19], "newest": newest[:19], "why": why}
        for (fate, task, why), (count, size, oldest, newest) in sorted(groups.items(), key=lambda each: _order(*each))
    ]
    sums = [
        (fate, [row for row in rows if row["fate"] == fate and row["bytes"] is not None]) for fate in (goes, "left", "stays")
    ]
    if output not in ("json", "yaml"):
        rows = [_with_size(row) for row in rows]
    show(rows, output, right=["count", "size"])
    if output == "table" and rows:
        print("; ".join(_sum(fate, found) for fate, found in sums if found or fate == goes))


def _order(key: tuple[str, str, str], of: Sequence[Any]) -> tuple[object, ...]:
    return key[0] == "stays", key[0] != "left", -(of[1] or 0), key


def _with_size(row: Mapping[str, Any]) -> dict[str, Any]:
    size = "" if row["bytes"] is None else size_text(row["bytes"])
    return {("size" if name == "bytes" else name): size if name == "bytes" else value for name, value in row.items()}


def _sum(fate: str, rows: Sequence[Mapping[str, Any]]) -> str:
    fate = {"goes": "go", "stays": "stay"}.get(fate, fate)
    return f"{sum(row['count'] for row in rows):,} {fate} ({size_text(sum(row['bytes'] for row in rows))})"
