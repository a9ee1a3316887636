"""The state of one artifact: complete, only readable, or neither, with the reason."""

from __future__ import annotations

import datetime as dt
import posixpath
from typing import NamedTuple

from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar, read_sidecar
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.formats import Format
from airflow_kart.storage import Lookup

NO_ARTIFACT = "no artifact"
"""The reason of a task whose artifact nobody has made, or somebody has removed."""


class Artifact(NamedTuple):
    """A complete artifact. Thousands of whole sidecars would fill the memory."""

    uri: str
    bytes: int | None = None
    sha256: str | None = None
    rows: int | None = None

    @classmethod
    def of(cls, record: ArtifactRecord, uri: str) -> Artifact:
        """Return the artifact of a sidecar's record; a moved workspace has another uri than the record."""
        return cls(uri, record.bytes, record.sha256, record.rows)


class TargetState(NamedTuple):
    """Whether a target's artifact is complete, and if not, why."""

    complete: bool
    reason: str
    sidecar: Sidecar | None = None
    mismatched: bool = False
    """Whether artifact and sidecar disagree. They also do for a moment while a writer replaces the artifact."""
    modified: dt.datetime | None = None
    """When a complete artifact was published, with a time zone."""
    artifact: Artifact | None = None
    """The artifact, where complete: in the target's workspace, or in another one that is read too."""

    @property
    def readable(self) -> bool:
        """Whether the artifact can be loaded.

        An artifact stays readable, though incomplete, while a writer replaces it.
        """
        return self.complete or (self.sidecar is not None and bool(self.sidecar.replaces) and self.sidecar.damage is None)

    @property
    def sha256(self) -> str | None:
        """The artifact's checksum in the sidecar; ``None`` without a sidecar."""
        return self.sidecar.artifact.sha256 if self.sidecar is not None else None


def look_at(lookup: Lookup, uri: str, target_format: Format, unique_id: str | None) -> TargetState:
    """Return the state of an artifact by its sidecar and its size; the bytes are not read.

    Args:
        lookup: reads the sidecar and the artifact's size.
        uri: the artifact.
        target_format: the format that the target expects.
        unique_id: the id of the task that the target belongs to; ``None`` accepts any task's artifact.
    """
    try:
        sidecar = read_sidecar(lookup, uri)
    except CorruptArtifactError as error:
        return TargetState(False, str(error), mismatched=True)  # a pack of sidecars may be damaged, the sidecar itself not
    if sidecar is None:
        return TargetState(False, NO_ARTIFACT)
    if (wrong := mismatch(sidecar, uri, target_format, unique_id)) is not None:
        return TargetState(False, wrong, sidecar)
    if sidecar.damage is not None:
        return TargetState(False, sidecar.damage, sidecar)
    if sidecar.replaces is not None:
        wrong = "it was asked to run again" if sidecar.is_requested else "the publication of the artifact was interrupted"
        return TargetState(False, wrong, sidecar)
    stat = lookup.stat(uri)
    if stat is None:
        wrong = "the artifact is gone, only its sidecar is there"
    elif stat.size != sidecar.artifact.bytes:
        wrong = f"the artifact has {stat.size} bytes, its sidecar says {sidecar.artifact.bytes}"
    else:
        return TargetState(True, "complete", sidecar, modified=stat.modified, artifact=Artifact.of(sidecar.artifact, uri))
    return TargetState(False, wrong, sidecar, mismatched=True)


def mismatch(sidecar: Sidecar, uri: str, target_format: Format, unique_id: str | None) -> str | None:
    """Return why a sidecar describes another target's artifact, or ``None``. A workspace may be moved as a whole."""
    recorded = sidecar.artifact.uri
    if recorded != uri and (named := posixpath.basename(recorded)) != posixpath.basename(uri):
        return f"the sidecar names another artifact, {named}"
    if unique_id is not None and sidecar.unique_id != unique_id:
        return f"the artifact was made by another task id, {sidecar.unique_id}"
    if sidecar.artifact.format != target_format.name:
        return f"the artifact was written in the format {sidecar.artifact.format}, the target is {target_format.name}"
    return None
