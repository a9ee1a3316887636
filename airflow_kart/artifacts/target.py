"""Targets: where one output of a task goes, and whether a good artifact is there."""

from __future__ import annotations

import datetime as dt
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.reading import Read, Reading
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, sidecar_uri
from airflow_kart.artifacts.staged import begin_replacement
from airflow_kart.exceptions import (
    CorruptArtifactError,
    FormatError,
    KartError,
    MissingArtifactError,
    ObjectChangedError,
    TargetError,
)
from airflow_kart.formats import Format, ReadsInParts
from airflow_kart.storage import Lookup, Snapshot, Store

__all__ = ["Owner", "Target", "TargetState"]


class Owner(Protocol):
    """The task a target belongs to, as far as the target knows it."""

    @property
    def unique_id(self) -> str:
        """The id of what the task produces."""
        ...

    def describe(self, input_checksums: Mapping[str, str]) -> dict[str, Any]:
        """Return the parts of a sidecar that describe the task."""
        ...

    def object_metadata(self) -> dict[str, str]:
        """Return what an artifact of the task says about itself in a bucket."""
        ...


@dataclass(frozen=True)
class TargetState:
    """Whether a target's artifact is complete, and if not, why."""

    complete: bool
    reason: str
    sidecar: Sidecar | None = field(default=None, repr=False)
    mismatched: bool = field(default=False, repr=False)
    """Whether artifact and sidecar do not fit, which is also so for a moment while one is replaced."""
    modified: dt.datetime | None = field(default=None, repr=False)
    """When a complete artifact was put here, with a time zone."""

    @property
    def readable(self) -> bool:
        """Whether the artifact can be loaded.

        One that is being replaced can be all the time, though it is not complete until the new one is there.
        """
        return self.complete or (self.sidecar is not None and bool(self.sidecar.replaces))

    @property
    def sha256(self) -> str | None:
        """The checksum of the artifact, where a sidecar tells it."""
        return self.sidecar.artifact.sha256 if self.sidecar is not None else None


@dataclass(frozen=True)
class Target:
    """Where one output of a task goes: a uri, in a format, in a store.

    An artifact counts as complete when its sidecar is there, names it and fits it. Looking never changes anything.
    """

    uri: str
    format: Format = field(compare=False)
    store: Store = field(compare=False, repr=False)
    owner: Owner | None = field(default=None, compare=False, repr=False)
    checks: Checks = field(default=Checks(), compare=False, repr=False)
    others: tuple[Target, ...] = field(default=(), compare=False, repr=False)
    """The same target in other workspaces, which are only read."""

    def state(self, snapshot: Snapshot | None = None) -> TargetState:
        """Look whether a complete artifact is here, or else in another workspace that is read too.

        Asked are sidecar, size and unique id, not the checksum.

        Args:
            snapshot: of the objects that are :meth:`looked_at`, where many targets are looked at together.
        """
        own = self._own_state(snapshot)
        if not own.readable:
            for other in self.others:
                state = other.state(snapshot)
                if state.complete:
                    return replace(state, reason=f"in {posixpath.dirname(other.uri)}")
        return own

    def located(self) -> Target:
        """Return the target to load from: this one, unless only another workspace has a complete artifact."""
        if not self.others or self._own_state().readable:
            return self
        return next((other for other in self.others if other.state().complete), self)

    def looked_at(self) -> Iterator[tuple[Store, str]]:
        """Return the objects that :meth:`state` may look at, each with its store."""
        for target in (self, *self.others):
            yield from ((target.store, uri) for uri in target._looked_at())  # noqa: SLF001 - a target too

    def _looked_at(self) -> list[str]:
        return [self.uri, sidecar_uri(self.uri)]

    def _own_state(self, snapshot: Snapshot | None = None) -> TargetState:
        state = self._state(self.store if snapshot is None else snapshot.of(self.store))
        while state.mismatched:  # an artifact that is replaced between two looks is not the one of the first
            again = self._state(self.store)
            if again == state:
                break
            state = again
        return state

    def _state(self, lookup: Lookup) -> TargetState:
        try:
            sidecar = read_sidecar(lookup, self.uri)
        except CorruptArtifactError as error:
            return TargetState(False, str(error))
        if sidecar is None:
            return TargetState(False, "no artifact")
        if (wrong := self._mismatch(sidecar)) is not None:
            return TargetState(False, wrong, sidecar)
        if sidecar.replaces is not None:
            asked = sidecar.replaces == (sidecar.artifact.sha256,)
            wrong = "it was asked to run again" if asked else "the publication of the artifact was interrupted"
            return TargetState(False, wrong, sidecar)
        stat = lookup.stat(self.uri)
        if stat is None:
            wrong = "the artifact is gone, only its sidecar is there"
        elif stat.size != sidecar.artifact.bytes:
            wrong = f"the artifact has {stat.size} bytes, its sidecar says {sidecar.artifact.bytes}"
        else:
            return TargetState(True, "complete", sidecar, modified=stat.modified)
        return TargetState(False, wrong, sidecar, mismatched=True)

    def exists(self) -> bool:
        """Whether a complete artifact is here."""
        return self.state().complete

    def sidecar(self) -> Sidecar | None:
        """Read the artifact's sidecar.

        Raises:
            CorruptArtifactError: it is there but cannot be read.
        """
        return read_sidecar(self.store, self.uri)

    def load(self, columns: Sequence[str] | None = None) -> Any:
        """Load the artifact, verified against its sidecar's checksum.

        Args:
            columns: the names of the columns of a table to load, in this order; by default all, or an object that is no
                table. Where the format verifies columns by themselves, no more is read than they take up.

        Raises:
            MissingArtifactError: there is none.
            CorruptArtifactError: the bytes are not those the sidecar names, or the sidecar cannot be read.
            FormatError: the bytes are right, but cannot be read in this format or process, or have no such columns.
            ArtifactError: what was loaded does not pass the target's checks.
            TargetError: ``columns`` is no list of different names.
        """
        return self.located()._load(_checked_names(columns))  # noqa: SLF001 - a target too

    def load_parts(self) -> Iterator[Any]:
        """Load the artifact part by part, where its format can, without holding the rest; else as one part.

        The whole is verified before the first part is handed out.

        Raises:
            ArtifactError: as :meth:`load`.
        """
        located = self.located()
        if isinstance(self.format, ReadsInParts):
            yield from located._load_parts()  # noqa: SLF001 - a target too
        else:
            yield located._load()  # noqa: SLF001 - a target too

    def _load(self, columns: Sequence[str] | None = None) -> Any:
        reading, sidecar = self._reading, self._sidecar_to_load()
        if columns is not None:
            reading.require_columns(sidecar.artifact, columns)
            alone = reading.columns_alone(sidecar, columns)
            if alone is not None and self._is_as_before(sidecar):
                return self._loaded(alone, columns)
        while True:
            try:
                read = reading.whole(sidecar, columns)
            except ObjectChangedError:
                read = Read(None, "another than when it was opened")
            if read.sha256 in sidecar.accepted_checksums:
                return self._loaded(read, columns)
            sidecar = self._newer_sidecar(sidecar, read.sha256)

    def _is_as_before(self, sidecar: Sidecar) -> bool:
        """Whether an artifact was not replaced since its sidecar was read: its replacement would have begun with that."""
        try:
            now = self._sidecar_to_load()
        except MissingArtifactError:
            return False
        return (now.version, now.content) == (sidecar.version, sidecar.content)

    def _load_parts(self) -> Iterator[Any]:
        sidecar = self._sidecar_to_load()
        while True:
            with self._reading.parts(sidecar) as (sha256, parts):
                if sha256 in sidecar.accepted_checksums:
                    yield from self._loaded_parts(parts, sha256)
                    return
            sidecar = self._newer_sidecar(sidecar, sha256)

    def dump(self, obj: Any, custom_labels: Mapping[str, str] | None = None) -> None:
        """Write an object to this target.

        Inside a task's run the artifact becomes visible when the run has ended well; elsewhere at once.

        Args:
            obj: what to write.
            custom_labels: texts by name, for the sidecar and, in buckets, for the object's metadata.

        Raises:
            FormatError: the format cannot write the object.
            ArtifactError: the object does not pass the target's checks.
            StorageError: the store refused.
        """
        labels = dict(custom_labels or {})
        own = self.owner.object_metadata() if self.owner is not None else {}
        said: dict[str, Any] = {"checks": self.checks, "labels": labels, "metadata": {**own, **labels}}
        publication = Publication.expecting(self.uri)
        if publication is not None:
            publication.stage(self.uri, self.store, self.format, obj, **said)
            return
        with Publication({self.uri: self.store}) as publication:
            publication.stage(self.uri, self.store, self.format, obj, **said)
            publication.publish(self.owner.describe({}) if self.owner is not None else {})

    def begin_replacement(self) -> None:
        """Let the artifact, where there is a complete one, count as incomplete until it is made again.

        It stays readable. So what was asked to run again does so, even if the run that asked for it fails.
        """
        with self.store.publishing([self.uri]):
            state = self._own_state()
            if state.complete and state.sidecar is not None:
                begin_replacement(self.store, state.sidecar)

    def remove(self) -> bool:
        """Remove sidecar and artifact, in this order; return whether there was one."""
        removed = self.store.remove(sidecar_uri(self.uri))
        return self.store.remove(self.uri) or removed

    def _sidecar_to_load(self) -> Sidecar:
        sidecar = read_sidecar(self.store, self.uri)
        if sidecar is None:
            there = self.store.stat(self.uri) is not None
            raise MissingArtifactError(
                f"there is no complete artifact at {self.uri}"
                + (" (a file is there, but its sidecar is not: its publication was interrupted)" if there else "")
                + "; run the task that makes it"
            )
        wrong = self._mismatch(sidecar)
        if wrong is None and sidecar.replaces == ():
            wrong = "the publication of the artifact was interrupted"
        if wrong is not None:
            raise MissingArtifactError(f"{self.uri} cannot be used: {wrong}; run the task that makes it")
        return sidecar

    def _newer_sidecar(self, sidecar: Sidecar, sha256: str) -> Sidecar:
        """Return the sidecar of an artifact that was replaced while it was read.

        Raises:
            CorruptArtifactError: it was not: the artifact is not what its sidecar says.
        """
        newer = self._sidecar_to_load()
        if newer.content == sidecar.content:
            raise CorruptArtifactError(
                f"{self.uri} was changed after it was published: its SHA-256 is {sha256}, its sidecar says "
                f"{sidecar.artifact.sha256}; run the task that makes it again (kart_rerun), or remove the file first"
            )
        return newer

    @property
    def _reading(self) -> Reading:
        return Reading(self.uri, self.format, self.store)

    def _loaded(self, read: Read, columns: Sequence[str] | None = None) -> Any:
        """Return what was read, noted and checked, or raise what went wrong in reading right bytes."""
        error = read.error
        if isinstance(error, KartError) and not isinstance(error, FormatError):
            raise error
        if isinstance(error, MemoryError):
            raise error
        if error is not None:
            words = error if isinstance(error, FormatError) else f"{type(error).__name__}: {error}"
            raise FormatError(f"could not load {self.uri}: {words}") from error
        self._note_input(read.sha256)
        return self.checks.after_load(read.found, columns)

    def _loaded_parts(self, parts: Iterator[Any], sha256: str) -> Iterator[Any]:
        self._note_input(sha256)
        try:
            yield from map(self.checks.after_load, parts)
        except FormatError as error:
            raise FormatError(f"could not load {self.uri}: {error}") from error

    def _note_input(self, sha256: str) -> None:
        """Let the sidecar of the task that loads this name its checksum."""
        publication = Publication.current()
        if publication is not None:
            publication.input_checksums[self.uri] = sha256

    def _mismatch(self, sidecar: Sidecar) -> str | None:
        """Return why a sidecar is not that of this target, or ``None``. A workspace may be moved as a whole."""
        named = posixpath.basename(sidecar.artifact.uri)
        if named != posixpath.basename(self.uri):
            return f"the sidecar names another artifact, {named}"
        if self.owner is not None and sidecar.unique_id != self.owner.unique_id:
            return f"the artifact was made by another task id, {sidecar.unique_id}"
        if sidecar.artifact.format != self.format.name:
            return f"the artifact was written in the format {sidecar.artifact.format}, the target is {self.format.name}"
        return None


def _checked_names(columns: object) -> tuple[str, ...] | None:
    """Return the names of columns to load.

    Raises:
        TargetError: they are no list of different names.
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
