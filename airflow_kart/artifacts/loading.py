"""Loading: an artifact read, verified against its sidecar, checked, and recorded as an input."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.reading import Decoded, Reading
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, sidecar_uri
from airflow_kart.artifacts.staged import mark_as_damaged
from airflow_kart.artifacts.state import mismatch
from airflow_kart.exceptions import CorruptArtifactError, FormatError, KartError, MissingArtifactError, TargetError
from airflow_kart.formats import Format
from airflow_kart.storage import Store
from airflow_kart.storage.regular_file import refused_temporary_files

_READS = 2  # a garbled transfer heals by the second

logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A loaded object, with the version of the artifact."""

    uri: str
    value: Any
    sha256: str
    sidecar: Sidecar | None
    """The sidecar that the bytes agree with; ``None`` for an artifact without one."""

    @property
    def publications(self) -> frozenset[str | None]:
        """The publications that published these very bytes."""
        pairs = self.sidecar.publications if self.sidecar is not None else ()
        return frozenset(publication for sha256, publication in pairs if sha256 == self.sha256)

    def record(self) -> None:
        """Record the artifact as an input of the task that runs at this moment."""
        publication = Publication.current()
        if publication is not None:
            made_by = self.sidecar.unique_id if self.sidecar is not None else None
            publication.record_input(self.uri, self.sha256, made_by, self.publications)


class Loading(NamedTuple):
    """Loads one artifact.

    Args:
        uri: the artifact.
        format: decodes the bytes, with the options that the sidecar records.
        store: keeps the artifact.
        checks: are asked of the loaded object.
        unique_id: the id of the task that must have made the artifact; ``None`` accepts any task's.
        is_own: whether this process may write to the artifact's workspace.
    """

    uri: str
    format: Format
    store: Store
    checks: Checks
    unique_id: str | None
    is_own: bool = True

    def whole(self, columns: Sequence[str] | None = None) -> Loaded:
        """Load the artifact, or some columns of a table; raises as :meth:`airflow_kart.Target.load`."""
        sidecar = self._known_sidecar() or self._sidecar()
        if columns is not None:
            self._reading.require_columns(sidecar.artifact, columns)
            alone = self._reading.columns_alone(sidecar, columns)
            if alone is not None and self._is_as_before(sidecar):
                return self._loaded(alone, columns, sidecar)
        wrong: list[str | None] = []
        while True:
            decoded = self._reading.whole(sidecar, columns)
            if decoded.sha256 in sidecar.accepted_checksums:
                return self._loaded(decoded, columns, sidecar)
            sidecar = self._next_sidecar(sidecar, decoded.sha256, wrong)

    @contextmanager
    def parts(self) -> Iterator[Loaded]:
        """Load the artifact part by part, after the whole was verified; the value is an iterator."""
        sidecar = self._sidecar()
        wrong: list[str | None] = []
        while True:
            with self._reading.parts(sidecar) as (sha256, parts):
                if sha256 in sidecar.accepted_checksums:
                    yield Loaded(self.uri, self._checked_parts(parts), sha256, sidecar)
                    return
            sidecar = self._next_sidecar(sidecar, sha256, wrong)

    def unverified(self, columns: Sequence[str] | None = None) -> Loaded:
        """Load an artifact that has no sidecar."""
        return self._loaded(self._reading.unverified(columns), columns, None)

    @contextmanager
    def unverified_parts(self) -> Iterator[Loaded]:
        """Load an artifact that has no sidecar, part by part."""
        with self._reading.unverified_parts() as (sha256, parts):
            yield Loaded(self.uri, self._checked_parts(parts), sha256, None)

    @property
    def _reading(self) -> Reading:
        return Reading(self.uri, self.format, self.store)

    def _known_sidecar(self) -> Sidecar | None:
        """Return the sidecar that the current run has read before."""
        publication = Publication.current()
        sidecar = publication.input_sidecars.get(self.uri) if publication is not None else None
        fits = sidecar is not None and mismatch(sidecar, self.uri, self.format, self.unique_id) is None
        return sidecar if fits else None

    def _sidecar(self) -> Sidecar:
        """Read the sidecar of an artifact that can be loaded.

        Raises:
            MissingArtifactError: there is none, or the sidecar describes another artifact.
            CorruptArtifactError: the sidecar cannot be read.
        """
        sidecar = read_sidecar(self.store, self.uri)
        if sidecar is None:
            there = self.store.stat(self.uri) is not None
            raise MissingArtifactError(
                f"there is no complete artifact at {self.uri}"
                + (" (a file is there, but its sidecar is not: its publication was interrupted)" if there else "")
                + "; run the task that makes it",
                uri=self.uri,
            )
        wrong = mismatch(sidecar, self.uri, self.format, self.unique_id)
        if wrong is None and sidecar.replaces == ():
            wrong = "the publication of the artifact was interrupted"
        if wrong is not None:
            raise MissingArtifactError(f"{self.uri} cannot be used: {wrong}; run the task that makes it", uri=self.uri)
        return sidecar

    def _is_as_before(self, sidecar: Sidecar) -> bool:
        """Whether nobody has replaced the artifact since its sidecar was read; a replacement writes the sidecar first."""
        try:
            now = self._sidecar()
        except MissingArtifactError:
            return False
        return (now.version, now.content) == (sidecar.version, sidecar.content)

    def _next_sidecar(self, sidecar: Sidecar, sha256: str | None, wrong: list[str | None]) -> Sidecar:
        """Return the sidecar for another read, after a read whose checksum disagrees with the sidecar.

        A writer may have replaced the artifact, or the transfer garbled the bytes: one more read tells. Bytes that are wrong
        in the same way twice are damaged, and the next build makes the artifact again.

        Args:
            sidecar: as read before the artifact.
            sha256: the checksum of the bytes; ``None`` where they changed in the midst of reading.
            wrong: the checksums of the reads under this sidecar, to which this one is added.

        Raises:
            CorruptArtifactError: nobody replaced the artifact: its bytes disagree with its sidecar.
        """
        newer = self._sidecar()
        if newer.content != sidecar.content:
            wrong.clear()
            return newer
        wrong.append(sha256)
        if len(wrong) < _READS:
            return newer
        if sha256 is not None and len(set(wrong)) == 1:
            self._mark_as_damaged(newer, sha256)
        found = f"its SHA-256 is {sha256}" if sha256 is not None else "its bytes changed while they were read"
        raise CorruptArtifactError(
            f"{self.uri} was changed after it was published: {found}, its sidecar says {sidecar.artifact.sha256}; "
            "run the task that makes it again (kart_rerun), or remove the file first",
            uri=self.uri,
        )

    def _mark_as_damaged(self, sidecar: Sidecar, sha256: str) -> None:
        """Let the next build make the artifact again; in a workspace that cannot be written to, change nothing."""
        if not self.is_own or sidecar.damage is not None:
            return
        try:
            with self.store.publishing([self.uri, sidecar_uri(self.uri)]):
                mark_as_damaged(self.store, self.uri, sidecar, sha256)
        except (KartError, OSError) as error:
            logger.warning(
                "the damaged artifact %s still counts as complete, as its sidecar is read-only: %s", self.uri, error
            )
        else:
            logger.warning("the artifact %s is damaged; the next build makes it again", self.uri)

    def _loaded(self, decoded: Decoded, columns: Sequence[str] | None, sidecar: Sidecar | None) -> Loaded:
        """Return the checked object, or raise why the right bytes could not be decoded."""
        error = decoded.error
        if isinstance(error, KartError) and not isinstance(error, FormatError):
            raise error
        if isinstance(error, MemoryError):
            raise error
        if isinstance(error, OSError):
            refused_temporary_files("load", self.uri, error)
        if error is not None or decoded.sha256 is None:
            words = error if isinstance(error, FormatError) else f"{type(error).__name__}: {error}"
            raise FormatError(f"could not load {self.uri}: {words}", uri=self.uri) from error
        try:
            value = self.checks.after_load(decoded.value, columns)
        except KartError as failed:
            failed.uri = failed.uri or self.uri
            raise
        return Loaded(self.uri, value, decoded.sha256, sidecar)

    def _checked_parts(self, parts: Iterator[object]) -> Iterator[object]:
        try:
            yield from map(self.checks.after_load, parts)
        except FormatError as error:
            error.add_context(f"could not load {self.uri}", uri=self.uri)
            raise
        except OSError as error:
            refused_temporary_files("load", self.uri, error)
            raise


def column_names(columns: object) -> tuple[str, ...] | None:
    """Return the names of columns to load.

    Raises:
        TargetError: the argument is not a list of different names.
    """
    if columns is None:
        return None
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not all(isinstance(name, str) for name in columns):
        raise TargetError(f"columns={columns!r:.200}: give a list of the columns' names")
    if not columns:
        raise TargetError("columns is empty; name the columns to load, or ask the sidecar for the number of rows")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise TargetError(f"columns={columns!r:.200}: {twice!r} is named twice")
    return tuple(columns)
