"""Early cut-off: the artifact of an equal run stands in for a run."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from airflow_kart.artifacts import index
from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.sidecar import Sidecar, upstream_code
from airflow_kart.artifacts.staged import sidecar_version
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.locks import Hold
from airflow_kart.runtime.inputs import Inputs
from airflow_kart.runtime.session import Session
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.content import content_key, content_of
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.tasks.outputs import read_targets
from airflow_kart.tasks.provenance import object_metadata, task_parts, upstream_part
from airflow_kart.tasks.redaction import Redaction

logger = logging.getLogger(__name__)


class Making(NamedTuple):
    """One task about to be made, under its lock.

    Args:
        task: the task.
        words: the task in words.
        targets: what the task writes itself, with their keys.
        session: the run's circumstances.
        hold: the lock.
        redaction: takes secrets out.
        inputs: the artifacts that the task reads.
        seen: the versions of the outputs' sidecars, of before somebody last looked whether the task is complete. A run that
            slept through its lock's time to live later than that leaves in place what another run has published.
    """

    task: Task
    words: str
    targets: tuple[tuple[KeyPath, Target], ...]
    session: Session
    hold: Hold
    redaction: Redaction
    inputs: Inputs
    seen: Mapping[str, str | None]

    def publication(self) -> Publication:
        """Return the publication of the task's outputs, to be entered."""
        publication = Publication({target.uri: target.store for _, target in self.targets}, self.seen)
        publication.input_checksums.update(self.inputs.checksums)
        publication.input_sidecars = self.inputs.single
        publication.redact = self.redaction.text
        return publication

    def content(self) -> bytes | None:
        """Return the digest of the task's content."""
        given = self.session.contents.get(self.task.unique_id)
        return given or content_of(self.task, self.inputs.contents)

    def key(self, content: bytes | None) -> str | None:
        """Return the content key; ``None`` for a task that is neither found by its content nor takes an equal run's artifact."""
        if content is None or not self.task.reuse_equal_inputs or not self.session.reuses():
            return None
        return content_key(self.task, content, self.targets)

    def described(self, publication: Publication, asked: Sequence[tuple[KeyPath, Task]] = ()) -> dict[str, Any]:
        """Return the parts of a sidecar that describe the task and its surroundings.

        Args:
            publication: knows the checksums of what was read.
            asked: the tasks that ``run()`` asked for, with their keys.
        """
        parts = task_parts(self.task, publication.input_checksums, self.redaction)
        parts["upstream"] += [
            upstream_part(path, required, publication.input_checksums, dynamic=True) for path, required in asked
        ]
        found = (target.state().sidecar for _, required in asked for target in read_targets(required))
        parts["upstream_code"] = upstream_code([*self.inputs.sidecars, *(one for one in found if one is not None)])
        parts["airflow"] = dict(self.session.coordinates) if self.session.coordinates else None
        return parts

    def remember(self, key: str) -> None:
        """Let later tasks of equal content find the artifacts that were just published."""
        index.record(Workspace.current(), key, [target.uri for _, target in self.targets])

    def reuse(self, key: str) -> tuple[str, list[Sidecar], bool] | None:
        """Publish copies of the artifacts of an equal run.

        Returns:
            The reason, the sidecars, and whether other bytes or none were there before; ``None`` without such a run.

        Raises:
            LockLostError: the lock was lost.
            StorageError: a store refused.
        """
        equal = index.look_up(Workspace.current(), key)
        if len(equal) != len(self.targets):
            return None
        there = [found for found in (target.state().sidecar for _, target in self.targets) if found is not None]
        if any(found.damage or found.content.get("named") for found in there):
            return None
        first = equal[0].sidecar
        reason = f"its inputs are equal to those of {first.class_name} {str(first.unique_id)[:8]}, made {_moment(first)}"
        metadata = object_metadata(self.task)
        with self.publication() as publication:
            try:
                for (_, target), one in zip(self.targets, equal, strict=True):
                    made = replace(one.sidecar.artifact, uri=one.uri)
                    publication.stage_copy(target.uri, target.store, one.store, made, metadata)
                if any(sidecar_version(one.store, one.uri) != one.sidecar.version for one in equal):
                    raise CorruptArtifactError("another run replaces the artifact")  # perhaps before the copy
            except (FileNotFoundError, CorruptArtifactError) as error:
                logger.info("%r runs, as an equal run's artifact cannot be used: %s", self.task, error)
                return None
            parts = self.described(publication)
            now = dt.datetime.now(dt.timezone.utc).isoformat()
            made_from = {
                "uri": equal[0].uri,
                "unique_id": first.unique_id,
                "sha256": first.artifact.sha256,
                "made_at": first.published_at,
                "airflow": first.content.get("airflow"),
            }
            self.hold.check()
            published = publication.publish(
                {
                    **parts,
                    "task_log": first.content.get("task_log") or {},
                    "log_tail": first.content.get("log_tail") or [],
                    "run": {**(first.content.get("run") or {}), "started_at": now, "finished_at": now, "reason": reason},
                    "content_key": key,
                    "reused_from": first.content.get("reused_from") or made_from,
                    # Who takes an adoption back takes back what stands in for runs because of it, too.
                    **({"adopted": first.content["adopted"]} if "adopted" in first.content else {}),
                }
            )
        self.remember(key)
        return reason, published, [one.artifact.sha256 for one in there] != [one.artifact.sha256 for one in published]


def _moment(sidecar: Sidecar) -> str:
    return f"{sidecar.published_at[:19].replace('T', ' ')} UTC"
