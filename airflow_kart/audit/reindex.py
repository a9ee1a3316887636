"""The index of content keys, written anew from the sidecars."""

from __future__ import annotations

from typing import NamedTuple

from airflow_kart.artifacts import index
from airflow_kart.audit.walk import sidecars
from airflow_kart.storage.workspace import Workspace


class Reindexed(NamedTuple):
    """How many entries of the index are what."""

    right: int
    """Found in the index, and right; the checksums of external artifacts among them."""
    written: int
    removed: int
    """Pointed to nothing."""


class _Run(NamedTuple):
    moment: str
    of: int
    outputs: dict[int, str]


def reindex() -> Reindexed:
    """Write the index of the current workspace anew; of equal artifacts, the entry names the newest.

    A run whose outputs are not all there gets no entry, nor does one of several outputs whose order no sidecar tells.

    Raises:
        StorageError: a store failed; another call begins anew.
    """
    with Workspace.current() as workspace:
        below = f"{workspace.directory.rstrip('/')}/"
        runs: dict[tuple[str, str | None, str | None], _Run] = {}
        for found in sidecars(workspace, "content_key"):
            content = found.sidecar.content
            if "content_key" in content and found.is_whole:
                output, moment = content.get("output") or {}, found.sidecar.published_at
                one = content["content_key"], found.sidecar.unique_id, found.sidecar.publication
                outputs = runs.setdefault(one, _Run(moment, output.get("of", 1), {})).outputs
                outputs[output.get("number", len(outputs))] = found.uri.removeprefix(below)
        former = index.all_texts(workspace)
        # Kept: an entry that points to something, perhaps from a run of this moment, and the checksum of an external artifact.
        entries = {
            key: texts
            for key, texts in former.items()
            if index.is_checksum(texts) or index.look_up(workspace, key, own=True)
        }
        right = len(entries)
        for (key, _, _), run in sorted(runs.items(), key=lambda each: each[1].moment, reverse=True):
            if len(run.outputs) == run.of:
                entries.setdefault(key, [run.outputs[number] for number in sorted(run.outputs)])
        index.replace_all(workspace, former, entries)
        return Reindexed(right, len(entries) - right, len(former.keys() - entries.keys()))
