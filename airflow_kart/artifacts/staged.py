"""One staged output, written but invisible, and the steps that publish the upload.

A first publication writes the artifact, then the sidecar: an artifact without a sidecar does not count. A replacement
writes the new sidecar first, with the checksums of both the new artifact and the one it replaces, so that readers accept
either; then the artifact; then the final sidecar. Each step expects exactly the version that the writer found, or left in
the step before: of two writers one goes on, and the other gets a :class:`~airflow_kart.exceptions.ConflictError`. No step
removes anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar, read_sidecar, sidecar_uri
from airflow_kart.exceptions import ConflictError, CorruptArtifactError
from airflow_kart.storage import Expected, ObjectStat, Store, Upload

__all__ = ["Occupant", "StagedOutput", "begin_replacement", "sidecar_version"]


@dataclass(frozen=True)
class Occupant:
    """The artifact and sidecar that a writer found at the uri of its output."""

    sidecar: Sidecar | None
    """The sidecar, unless there is none, or none that can be read."""
    sidecar_version: str | None
    artifact: ObjectStat | None
    done: bool = False
    """Whether another run has published a complete artifact since this run began."""
    begun: dt.datetime | None = None
    """When another run began a publication that is not finished."""


class StagedOutput:
    """An upload, with the record for its sidecar."""

    def __init__(self, store: Store, upload: Upload, record: ArtifactRecord) -> None:
        self.store = store
        self.upload = upload
        self.record = record
        self._published: str | None = None  # the artifact's version, after publication

    @property
    def uri(self) -> str:
        """The uri to publish at."""
        return self.record.uri

    def look(self, seen: str | None) -> Occupant:
        """Return the artifact and sidecar at the output's uri.

        Args:
            seen: the version of the sidecar when this run began.
        """
        try:
            sidecar = read_sidecar(self.store, self.uri)
            version = sidecar.version if sidecar is not None else None
        except CorruptArtifactError:
            sidecar, version = None, sidecar_version(self.store, self.uri)
        artifact = self.store.stat(self.uri)
        occupant = Occupant(sidecar, version, artifact)
        if version is None:
            others = artifact is not None and artifact.version != self._published
            return replace(occupant, begun=artifact.modified) if artifact is not None and others else occupant
        if version == seen or sidecar is None:
            return occupant
        if sidecar.replaces is None and artifact is not None and artifact.size == sidecar.artifact.bytes:
            return replace(occupant, done=True)
        stat = self.store.stat(sidecar_uri(self.uri))
        return replace(occupant, begun=stat.modified) if stat is not None else occupant

    def publish(self, parts: Mapping[str, object], occupant: Occupant) -> Sidecar:
        """Publish the artifact, with a sidecar of its record and the given parts.

        Args:
            parts: the other parts of the sidecar.
            occupant: as :meth:`look` returned it.

        Raises:
            ConflictError: another writer has changed artifact or sidecar since; look, and publish again.
            StorageError: the store refused.
        """
        final = Sidecar.of(self.record, parts)
        there = occupant.artifact.version if occupant.artifact is not None else None
        expected = occupant.sidecar_version
        if self._published is None:
            before = self._before(final, occupant)
            if before is not None:
                expected = _write_sidecar(self.store, _with_replaces(final, before), expected)
            self._published = self.upload.publish(there)
        elif self._published != there:
            raise ConflictError(f"another run replaced {self.uri} before its sidecar was written", uri=self.uri)
        _write_sidecar(self.store, final, expected)
        return final

    def _before(self, final: Sidecar, occupant: Occupant) -> tuple[str, ...] | None:
        """Return the checksums of the artifacts that readers may still find under the new sidecar.

        An empty tuple hides the old artifact from readers: another task made it, its bytes are decoded in another way, or
        its sidecar cannot be read. ``None`` makes the interim sidecar unnecessary: there is no sidecar yet, or the bytes
        stay the same.
        """
        if occupant.sidecar_version is None:
            return None
        old = occupant.sidecar
        readable = old is not None and old.replaces != () and old.unique_id == final.unique_id
        if old is None or not readable or not _read_alike(old.artifact, self.record):
            return ()
        return tuple(sha256 for sha256 in old.accepted_checksums if sha256 != self.record.sha256) or None


def begin_replacement(store: Store, sidecar: Sidecar) -> None:
    """Mark a complete artifact for recomputation: it stays readable, but is no longer complete.

    A conflict is ignored: the other writer has begun, or even finished, a replacement.
    """
    try:
        _write_sidecar(store, _with_replaces(sidecar, sidecar.accepted_checksums), sidecar.version)
    except ConflictError:
        return


def sidecar_version(store: Store, uri: str) -> str | None:
    """Return the version of an artifact's sidecar, or ``None`` where there is none."""
    found = store.stat(sidecar_uri(uri))
    return found.version if found is not None else None


def _with_replaces(sidecar: Sidecar, before: tuple[str, ...]) -> Sidecar:
    """Return the interim sidecar, under which readers also accept the artifacts before."""
    return replace(sidecar, content={**sidecar.content, "replaces": list(before)}, replaces=before)


def _read_alike(one: ArtifactRecord, other: ArtifactRecord) -> bool:
    """Whether both artifacts are decoded in the same way."""
    return (one.format, one.options, one.type, one.columns) == (other.format, other.options, other.type, other.columns)


def _write_sidecar(store: Store, sidecar: Sidecar, expected: Expected) -> str:
    upload = store.upload(sidecar_uri(sidecar.artifact.uri))
    try:
        upload.write(sidecar.to_bytes())
        return upload.publish(expected)
    except BaseException:
        upload.discard()
        raise
