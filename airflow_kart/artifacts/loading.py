"""Loading: an artifact read, verified against its sidecar, recorded as an input, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.reading import Decoded, Reading
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar
from airflow_kart.artifacts.state import mismatch
from airflow_kart.exceptions import (
    CorruptArtifactError,
    FormatError,
    KartError,
    MissingArtifactError,
    TargetError,
)
from airflow_kart.formats import Format
from airflow_kart.storage import Store
from airflow_kart.storage.regular_file import refused_temporary_files

__all__ = ["Loading", "column_names"]


@dataclass(frozen=True)
class Loading:
    """Loads one artifact.

    Args:
        uri: the artifact.
        format: decodes the bytes, with the options that the sidecar records.
        store: keeps the artifact.
        checks: are asked of the loaded object.
        unique_id: the id of the task that must have made the artifact; ``None`` accepts any task's.
    """

    uri: str
    format: Format
    store: Store
    checks: Checks
    unique_id: str | None

    def whole(self, columns: Sequence[str] | None = None) -> object:
        """Load the artifact, or some columns of a table; raises as :meth:`airflow_kart.Target.load`."""
        sidecar = self._sidecar()
        if columns is not None:
            self._reading.require_columns(sidecar.artifact, columns)
            alone = self._reading.columns_alone(sidecar, columns)
            if alone is not None and self._is_as_before(sidecar):
                return self._checked(alone, columns)
        while True:
            decoded = self._reading.whole(sidecar, columns)
            if decoded.sha256 in sidecar.accepted_checksums:
                return self._checked(decoded, columns)
            sidecar = self._newer_sidecar(sidecar, decoded.sha256)

    def parts(self) -> Iterator[object]:
        """Load the artifact part by part, after the whole was verified."""
        sidecar = self._sidecar()
        while True:
            with self._reading.parts(sidecar) as (sha256, parts):
                if sha256 in sidecar.accepted_checksums:
                    yield from self._checked_parts(parts, sha256)
                    return
            sidecar = self._newer_sidecar(sidecar, sha256)

    def unverified(self, columns: Sequence[str] | None = None) -> object:
        """Load an artifact that has no sidecar."""
        return self._checked(self._reading.unverified(columns), columns)

    def unverified_parts(self) -> Iterator[object]:
        """Load an artifact that has no sidecar, part by part."""
        with self._reading.unverified_parts() as (sha256, parts):
            yield from self._checked_parts(parts, sha256)

    @property
    def _reading(self) -> Reading:
        return Reading(self.uri, self.format, self.store)

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

    def _newer_sidecar(self, sidecar: Sidecar, sha256: str | None) -> Sidecar:
        """Return the sidecar of an artifact that was replaced while it was read.

        Args:
            sidecar: as read before the artifact.
            sha256: the checksum of the bytes; ``None`` where they changed in the midst of reading.

        Raises:
            CorruptArtifactError: nobody replaced the artifact: its bytes disagree with its sidecar.
        """
        newer = self._sidecar()
        if newer.content == sidecar.content:
            found = f"its SHA-256 is {sha256}" if sha256 is not None else "its bytes changed while they were read"
            raise CorruptArtifactError(
                f"{self.uri} was changed after it was published: {found}, its sidecar says {sidecar.artifact.sha256}; "
                "run the task that makes it again (kart_rerun), or remove the file first",
                uri=self.uri,
            )
        return newer

    def _checked(self, decoded: Decoded, columns: Sequence[str] | None) -> object:
        """Record the artifact as an input and check the object, or raise why the right bytes could not be decoded."""
        error = decoded.error
        if isinstance(error, KartError) and not isinstance(error, FormatError):
            raise error
        if isinstance(error, MemoryError):
            raise error
        if isinstance(error, OSError):
            refused_temporary_files("load", self.uri, error)
        if error is not None:
            words = error if isinstance(error, FormatError) else f"{type(error).__name__}: {error}"
            raise FormatError(f"could not load {self.uri}: {words}", uri=self.uri) from error
        self._record_input(decoded.sha256)
        try:
            return self.checks.after_load(decoded.value, columns)
        except KartError as failed:
            failed.uri = failed.uri or self.uri
            raise

    def _checked_parts(self, parts: Iterator[object], sha256: str) -> Iterator[object]:
        self._record_input(sha256)
        try:
            yield from map(self.checks.after_load, parts)
        except FormatError as error:
            error.add_context(f"could not load {self.uri}", uri=self.uri)
            raise
        except OSError as error:
            refused_temporary_files("load", self.uri, error)
            raise

    def _record_input(self, sha256: str | None) -> None:
        """Record the checksum for the sidecars of the task that loads the artifact."""
        publication = Publication.current()
        if publication is not None and sha256 is not None:
            publication.input_checksums[self.uri] = sha256


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
