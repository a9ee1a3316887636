"""One output that is written but not visible, and how it takes its place.

A new artifact is published before its sidecar: without a sidecar it does not count. To replace an artifact, the new
sidecar goes first and names the checksum of both the new artifact and the one it replaces, so that readers accept
whichever they find; then the artifact; then the sidecar as it stays. Each step expects exactly what was found, or left
by the step before: of two writers one goes on, and the other finds out with a
:class:`~airflow_kart.exceptions.ConflictError`. Nothing is ever removed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_kart.artifacts.sidecar import ArtifactRecord, Sidecar, read_sidecar, sidecar_uri
from airflow_kart.exceptions import ConflictError, CorruptArtifactError
from airflow_kart.storage import Expected, ObjectStat, Store, Upload

__all__ = ["Place", "StagedOutput", "begin_replacement", "sidecar_version"]


@dataclass(frozen=True)
class Place:
    """What was found where an output goes."""

    sidecar: Sidecar | None
    """Its sidecar, where there is one that can be read."""
    sidecar_version: str | None
    artifact: ObjectStat | None
    done: bool = False
    """Whether another run has published a complete artifact here since this run began."""
    begun: dt.datetime | None = None
    """When another run began to publish here that has not ended it."""


class StagedOutput:
    """An upload, and what a sidecar will say of it."""

    def __init__(self, store: Store, upload: Upload, record: ArtifactRecord) -> None:
        self.store = store
        self.upload = upload
        self.record = record
        self._published: str | None = None  # the version of the artifact, where it has taken its place

    @property
    def uri(self) -> str:
        """Where it goes."""
        return self.record.uri

    def look(self, seen: str | None) -> Place:
        """Look what is there.

        Args:
            seen: the version of the sidecar when this run began.
        """
        try:
            sidecar = read_sidecar(self.store, self.uri)
            version = sidecar.version if sidecar is not None else None
        except CorruptArtifactError:
            sidecar, version = None, sidecar_version(self.store, self.uri)
        artifact = self.store.stat(self.uri)
        place = Place(sidecar, version, artifact)
        if version is None:
            others = artifact is not None and artifact.version != self._published
            return replace(place, begun=artifact.modified) if artifact is not None and others else place
        if version == seen or sidecar is None:
            return place
        if sidecar.replaces is None and artifact is not None and artifact.size == sidecar.artifact.bytes:
            return replace(place, done=True)
        stat = self.store.stat(sidecar_uri(self.uri))
        return replace(place, begun=stat.modified) if stat is not None else place

    def publish(self, parts: Mapping[str, Any], place: Place) -> Sidecar:
        """Take its place, with a sidecar of its record and the given parts.

        Args:
            parts: of the sidecar.
            place: what is there, as far as this writer knows.

        Raises:
            ConflictError: something else is there by now; look again, and call this again.
            StorageError: the store refused.
        """
        final = Sidecar.of(self.record, parts)
        there = place.artifact.version if place.artifact is not None else None
        expected = place.sidecar_version
        if self._published is None:
            before = self._before(final, place)
            if before is not None:
                expected = _write_sidecar(self.store, _with_replaces(final, before), expected)
            self._published = self.upload.publish(there)
        elif self._published != there:
            raise ConflictError(f"{self.uri} was replaced by another run before its sidecar was there")
        _write_sidecar(self.store, final, expected)
        return final

    def _before(self, final: Sidecar, place: Place) -> tuple[str, ...] | None:
        """Return the checksums by which readers may recognise the artifact that is to be replaced.

        None of them where they must not find it under the new sidecar: it is another task's, its bytes are read in
        another way, or its sidecar cannot be read. ``None`` where nothing has to be said, since no sidecar is there,
        or the bytes are the same.
        """
        if place.sidecar_version is None:
            return None
        old = place.sidecar
        readable = old is not None and old.replaces != () and old.unique_id == final.unique_id
        if old is None or not readable or not _read_alike(old.artifact, self.record):
            return ()
        return tuple(sha256 for sha256 in old.accepted_checksums if sha256 != self.record.sha256) or None


def begin_replacement(store: Store, sidecar: Sidecar) -> None:
    """Say of an artifact that it is to be made again: it stays readable, but does not count as complete any more.

    Where another writer is at it already, that is said, or done, by them.
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
    """Return a sidecar as it is while the artifact may still be one of those before."""
    return replace(sidecar, content={**sidecar.content, "replaces": list(before)}, replaces=before)


def _read_alike(one: ArtifactRecord, other: ArtifactRecord) -> bool:
    """Whether the bytes of both are read in the same way."""
    return (one.format, one.options, one.type, one.columns) == (other.format, other.options, other.type, other.columns)


def _write_sidecar(store: Store, sidecar: Sidecar, expected: Expected) -> str:
    upload = store.upload(sidecar_uri(sidecar.artifact.uri))
    try:
        upload.write(sidecar.to_bytes())
        return upload.publish(expected)
    except BaseException:
        upload.discard()
        raise
