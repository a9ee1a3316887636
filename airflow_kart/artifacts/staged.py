"""One staged output, written but invisible, and the steps that publish the upload.

A first publication writes the artifact, then the sidecar: an artifact without a sidecar does not count. A replacement
writes an interim sidecar first, with the checksums of both the new artifact and the one it replaces, so that readers
accept either; then the artifact; then the final sidecar. Several outputs of one run take each step together: while any of
them is not the final one, at least one sidecar says so. Each step expects exactly the version that the writer found, or
left in the step before: of two writers one goes on, and the other gets a
:class:`~airflow_kart.exceptions.ConflictError`. No step removes anything.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from airflow_kart.artifacts.sidecar import ArtifactRecord, Publications, Sidecar, read_sidecar, sidecar_uri, write_sidecar
from airflow_kart.exceptions import ConflictError, CorruptArtifactError
from airflow_kart.storage import Expected, ObjectStat, Store, Upload


class Occupant(NamedTuple):
    """The artifact and sidecar that a writer found at the uri of its output."""

    sidecar: Sidecar | None
    """The sidecar, unless there is none, or none that can be read."""
    sidecar_version: str | None
    artifact: ObjectStat | None
    done: bool = False
    """Whether another run has published a complete artifact since this run began."""
    begun: dt.datetime | None = None
    """When another run began a publication that is not finished."""


class Unmoved(NamedTuple):
    """In place of an upload: the artifact that is there stays, and gets another sidecar.

    Args:
        version: of the artifact.
    """

    version: str

    def publish(self, expected: Expected) -> str:
        """Return the version; a ConflictError where the artifact to replace is another one."""
        if expected != self.version:
            raise ConflictError("another writer has replaced the artifact")
        return self.version

    def discard(self) -> None:
        """Do nothing: there is no upload."""


class StagedOutput:
    """An upload, with the record for its sidecar; published in three steps."""

    def __init__(self, store: Store, upload: Upload | Unmoved, record: ArtifactRecord) -> None:
        self.store = store
        self.upload = upload
        self.record = record
        self.finished = False
        """Whether the artifact and its final sidecar are published."""
        self._artifact: str | None = None  # the versions of the objects that this writer published
        self._sidecar: str | None = None
        self._to_replace: tuple[Expected, Expected] = (None, None)

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
            others = artifact is not None and artifact.version != self._artifact
            return occupant._replace(begun=artifact.modified) if artifact is not None and others else occupant
        if version in (seen, self._sidecar) or sidecar is None:
            return occupant
        if sidecar.replaces is None and artifact is not None and artifact.size == sidecar.artifact.bytes:
            return occupant._replace(done=sidecar.damage is None)
        stat = self.store.stat(sidecar_uri(self.uri))
        return occupant._replace(begun=stat.modified) if stat is not None else occupant

    def announce(self, final: Sidecar, occupant: Occupant, *, alone: bool) -> None:
        """Write the interim sidecar, if the artifact replaces another one.

        Args:
            final: the final sidecar.
            occupant: as :meth:`look` returned it.
            alone: whether this is the run's only output.

        Raises:
            ConflictError: another writer has changed the sidecar, or replaced the artifact of this writer.
            StorageError: the store refused.
        """
        there = occupant.artifact.version if occupant.artifact is not None else None
        if self._artifact not in (None, there):
            raise ConflictError(f"another run replaced {self.uri} before its sidecar was written", uri=self.uri)
        expected = occupant.sidecar_version
        if self._artifact is None and (expected is None or expected != self._sidecar):
            before = self._before(final, occupant)
            if before and alone:  # the bytes of a single output may stay the same; of several, not all do
                before = tuple(older for older in before if older[0] != self.record.sha256) or None
            if before is not None:
                expected = self._sidecar = write_sidecar(self.store, final.replacing(before), expected)
        self._to_replace = (there, expected)

    def publish(self) -> None:
        """Make the artifact visible, unless an earlier call did.

        Raises:
            ConflictError: another writer has published an artifact since :meth:`announce`.
            StorageError: the store refused.
        """
        if self._artifact is None:
            self._artifact = self.upload.publish(self._to_replace[0])

    def finish(self, final: Sidecar) -> None:
        """Write the final sidecar.

        Raises:
            ConflictError: another writer has written a sidecar since :meth:`announce`.
            StorageError: the store refused.
        """
        self._sidecar = write_sidecar(self.store, final, self._to_replace[1])
        self.finished = True

    def _before(self, final: Sidecar, occupant: Occupant) -> Publications | None:
        """Return the artifacts that readers may still find under the new sidecar.

        An empty tuple hides the old artifact from readers: another task made it, its bytes are decoded in another way, or
        its sidecar cannot be read. ``None`` makes the interim sidecar unnecessary: there is no sidecar yet.
        """
        if occupant.sidecar_version is None:
            return None
        old = occupant.sidecar
        readable = old is not None and old.replaces != () and old.unique_id == final.unique_id
        if old is None or not readable or not _read_alike(old.artifact, self.record):
            return ()
        return old.publications


def mark_for_replacement(store: Store, uri: str, sidecar: Sidecar, *, named: bool = False) -> None:
    """Mark a complete artifact for recomputation: it stays readable, but is no longer complete.

    Args:
        store: keeps the artifact.
        uri: the artifact; a moved workspace has other uris than its sidecars record.
        sidecar: the artifact's.
        named: whether somebody asked for this very task, so that no equal run stands in for it, whichever run makes it again.

    A conflict is ignored: the other writer has begun, or even finished, a replacement.
    """
    _rewrite(store, uri, sidecar, sidecar.replacing(sidecar.publications, named=named))


def mark_as_damaged(store: Store, uri: str, sidecar: Sidecar, sha256: str) -> None:
    """Mark an artifact as incomplete because its bytes have another SHA-256 than the recorded one.

    A conflict is ignored, as another writer has begun a replacement.
    """
    _rewrite(store, uri, sidecar, sidecar.found_damaged(sha256))


def sidecar_version(store: Store, uri: str) -> str | None:
    """Return the version of an artifact's sidecar, or ``None`` where there is none."""
    found = store.stat(sidecar_uri(uri))
    return found.version if found is not None else None


def sidecar_versions(outputs: Mapping[str, Store]) -> dict[str, str | None]:
    """Return the version of the sidecar of each output of a run, by uri: another version later is another run's."""
    return {uri: sidecar_version(store, uri) for uri, store in outputs.items()}


def _rewrite(store: Store, uri: str, sidecar: Sidecar, changed: Sidecar) -> None:
    record = replace(changed.artifact, uri=uri)
    with contextlib.suppress(ConflictError):
        new = replace(changed, artifact=record, content={**changed.content, "artifact": dict(vars(record))})
        write_sidecar(store, new, sidecar.version)


def _read_alike(one: ArtifactRecord, other: ArtifactRecord) -> bool:
    """Whether both artifacts are decoded in the same way."""
    return (one.format, one.options, one.type, one.columns) == (other.format, other.options, other.type, other.columns)
