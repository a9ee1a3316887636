"""The index of content keys, written anew from the sidecars."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

from airflow_kart.artifacts import index
from airflow_kart.audit.walk import sidecars
from airflow_kart.storage import INDEX
from airflow_kart.storage.workspace import Workspace


class Reindexed(NamedTuple):
    """How many entries of the index are what."""

    right: int
    """Found in the index, and right."""
    written: int
    removed: int
    """Pointed to nothing."""
    incomplete: int
    """Not written, as an output of the run is not there, or the sidecars do not tell the order of the outputs."""


class _Run(NamedTuple):
    moment: str
    of: int
    outputs: dict[int, str]


def reindex() -> Reindexed:
    """Write the index of the current workspace anew; of equal artifacts, the entry names the newest.

    Raises:
        StorageError: a store failed; another call begins anew.
    """
    with Workspace.current() as workspace:
        runs: dict[tuple[str, str, str], _Run] = {}
        for found in sidecars(workspace, "content_key"):
            content = found.sidecar.content
            if "content_key" in content and found.is_whole:
                output = content.get("output") or {}
                of_task = content["content_key"], found.sidecar.unique_id or "", found.sidecar.publication or ""
                moment = found.sidecar.published_at
                run = runs.setdefault(of_task, _Run(moment, output.get("of", 1), {}))
                run.outputs[output.get("number", len(run.outputs))] = found.uri
        entries: dict[str, _Run] = {}
        for (key, _, _), run in runs.items():
            if len(run.outputs) == run.of and (key not in entries or entries[key].moment < run.moment):
                entries[key] = run
        right: set[str] = set()
        removed = 0
        for uri in list(workspace.store.list(f"{workspace.directory.rstrip('/')}/{INDEX}/")):
            key = posixpath.basename(uri).removesuffix(".json")
            if index.look_up(workspace, key, own=True):
                right.add(key)
                entries.pop(key, None)
            elif key not in entries:
                removed += workspace.store.remove(uri)
        for key, run in entries.items():
            index.record(workspace, key, [run.outputs[number] for number in sorted(run.outputs)])
        incomplete = {key for key, _, _ in runs} - right - entries.keys()
        return Reindexed(len(right), len(entries), removed, len(incomplete))
