"""Targets: where one output of a task goes, and whether a complete artifact is there."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.loading import Loaded, Loading, column_names
from airflow_kart.artifacts.publication import Publication
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, sidecar_uri
from airflow_kart.artifacts.staged import mark_for_replacement
from airflow_kart.artifacts.state import TargetState, look_at
from airflow_kart.exceptions import MissingArtifactError, TargetError
from airflow_kart.formats import Format, ReadsInParts, format_named
from airflow_kart.storage import Lookup, Snapshot, Store, keeps_files
from airflow_kart.storage.workspace import Workspace

__all__ = ["Owner", "Target", "TargetState"]


class Owner(Protocol):
    """The task that a target belongs to, as far as the target knows it."""

    @property
    def unique_id(self) -> str:
        """The id that names the task's result."""
        ...

    def describe(self, input_checksums: Mapping[str, str]) -> dict[str, Any]:
        """Return the parts of a sidecar that describe the task."""
        ...

    def object_metadata(self) -> dict[str, str]:
        """Return the metadata of the task's objects in a bucket."""
        ...

    def redact(self, text: str) -> str:
        """Return a text without the task's secrets."""
        ...


@dataclass(frozen=True)
class Target:
    """Where one output of a task goes: a uri, in a format, in a store.

    An artifact is complete when its sidecar is there, names the artifact and agrees with its size. Looking changes nothing.
    """

    uri: str
    format: Format = field(compare=False)
    store: Store = field(compare=False, repr=False)
    owner: Owner | None = field(default=None, compare=False, repr=False)
    checks: Checks = field(default=Checks(), compare=False, repr=False)
    others: tuple[Target, ...] = field(default=(), compare=False, repr=False)
    """The same target in other workspaces, which are only read."""

    @classmethod
    def from_uri(cls, uri: str, workspace: Workspace | None = None) -> Target:
        """Return the target of an artifact in the format that its sidecar records: neither class nor task are needed.

        Args:
            uri: of the artifact.
            workspace: its connections lead to the store; by default the current workspace.

        Raises:
            MissingArtifactError: there is no sidecar.
            CorruptArtifactError: the sidecar cannot be read.
            UnknownFormatError: no registered format has the recorded name.
        """
        uri = uri if "://" in uri else os.path.abspath(uri)
        store = (workspace or Workspace.current()).store_of(uri)
        sidecar = read_sidecar(store, uri)
        if sidecar is None:
            raise MissingArtifactError(f"there is no artifact with a sidecar at {uri}", uri=uri)
        return cls(uri, format_named(sidecar.artifact.format, uri), store)

    def state(self, snapshot: Snapshot | None = None) -> TargetState:
        """Look whether a complete artifact is here, or else in another workspace that is read too.

        Sidecar, size and unique id decide, not the checksum.

        Args:
            snapshot: of the objects that :meth:`looked_at` names, for looking at many targets together.
        """
        own = self._own_state(snapshot)
        if not own.readable:
            for other in self.others:
                state = other.state(snapshot)
                if state.complete:
                    return state._replace(reason=f"in {posixpath.dirname(other.uri)}")
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
        while state.mismatched:  # a writer may have replaced the artifact between the looks at sidecar and artifact
            again = self._state(self.store)
            if again == state:
                break
            state = again
        return state

    def _state(self, lookup: Lookup) -> TargetState:
        return look_at(lookup, self.uri, self.format, self._unique_id)

    @property
    def _unique_id(self) -> str | None:
        return self.owner.unique_id if self.owner is not None else None

    def exists(self) -> bool:
        """Whether a complete artifact is here."""
        return self.state().complete

    def sidecar(self) -> Sidecar | None:
        """Read the artifact's sidecar.

        Raises:
            CorruptArtifactError: the sidecar is there but cannot be read.
        """
        return read_sidecar(self.store, self.uri)

    def load(self, columns: Sequence[str] | None = None) -> Any:
        """Load the artifact, verified against its sidecar's checksum.

        Args:
            columns: the names of a table's columns to load, in this order; by default the whole object. A format that
                verifies columns by themselves reads little more than these columns.

        Raises:
            MissingArtifactError: there is no complete artifact.
            CorruptArtifactError: the bytes disagree with the sidecar, or the sidecar cannot be read.
            FormatError: the bytes are right, but this format or process cannot decode them, or the columns are missing.
            ArtifactError: the loaded object does not pass the target's checks.
            TargetError: ``columns`` is not a list of different names.
        """
        loaded = self.retrieve(column_names(columns))
        loaded.record()
        return loaded.value

    def load_parts(self) -> Iterator[Any]:
        """Load the artifact part by part, without holding the rest; in a format without parts, as one part.

        The whole is verified before the first part is handed out.

        Raises:
            ArtifactError: as :meth:`load`.
        """
        with self.retrieve_parts() as loaded:
            loaded.record()
            yield from loaded.value

    def retrieve(self, columns: Sequence[str] | None = None) -> Loaded:
        """Load the artifact with its version, without recording it as an input.

        Raises:
            KartError: as :meth:`load`.
        """
        located = self.located()
        return located._load(located._loading(is_own=located is self), columns)  # noqa: SLF001 - a target too

    @contextmanager
    def retrieve_parts(self) -> Iterator[Loaded]:
        """Load the artifact with its version part by part, without recording it as an input; the value is an iterator.

        Raises:
            KartError: as :meth:`load`.
        """
        if not isinstance(self.format, ReadsInParts):
            loaded = self.retrieve()
            yield loaded._replace(value=iter([loaded.value]))
            return
        located = self.located()
        loading = located._loading(is_own=located is self)  # noqa: SLF001 - a target too
        with located._load_parts(loading) as loaded:  # noqa: SLF001
            yield loaded

    def _load(self, loading: Loading, columns: Sequence[str] | None) -> Loaded:
        return loading.whole(columns)

    def _load_parts(self, loading: Loading) -> AbstractContextManager[Loaded]:
        return loading.parts()

    def _loading(self, *, is_own: bool) -> Loading:
        return Loading(self.uri, self.format, self.store, self.checks, self._unique_id, is_own)

    def dump(self, obj: object, custom_labels: Mapping[str, str] | None = None) -> None:
        """Write an object to this target.

        Inside a task's run the artifact becomes visible when the run has succeeded; elsewhere at once.

        Args:
            obj: the object.
            custom_labels: texts by name, for the sidecar and, in buckets, for the object's metadata. Other values become
                their ``str()``, and stars replace the task's secrets.

        Raises:
            FormatError: the format cannot write the object.
            ArtifactError: the object does not pass the target's checks.
            StorageError: the store refused.
            TargetError: the labels are no mapping.
        """
        if custom_labels is not None and not isinstance(custom_labels, Mapping):
            raise TargetError(
                f"the custom_labels of {self.uri} are a {type(custom_labels).__name__}; give a dict of texts by name",
                uri=self.uri,
            )
        # Text, since a label that some store or reader cannot take would cost the work that has just been done.
        owner, publication = self.owner, Publication.expecting(self.uri)
        redact = (publication and publication.redact) or (str if owner is None else owner.redact)
        labels = {redact(str(name)): redact(str(value)) for name, value in (custom_labels or {}).items()}
        metadata = labels if owner is None or keeps_files(self.store) else {**owner.object_metadata(), **labels}
        if publication is not None:
            publication.stage(self.uri, self.store, self.format, obj, checks=self.checks, labels=labels, metadata=metadata)
            return
        with Publication({self.uri: self.store}) as publication:
            publication.stage(self.uri, self.store, self.format, obj, checks=self.checks, labels=labels, metadata=metadata)
            publication.publish(owner.describe({}) if owner is not None else {}, of_run=False)

    def begin_replacement(self, *, named: bool = False) -> None:
        """Mark a complete artifact for recomputation. The artifact stays readable.

        A task that a run was asked to make again thus runs again, even if that run fails.

        Args:
            named: whether somebody asked for this very task, so that no equal run stands in for it.
        """
        with self.store.publishing([self.uri, sidecar_uri(self.uri)]):
            state = self._own_state()
            if state.complete and state.sidecar is not None:
                mark_for_replacement(self.store, self.uri, state.sidecar, named=named)

    def remove(self) -> bool:
        """Remove sidecar and artifact, in this order; return whether there was one."""
        removed = self.store.remove(sidecar_uri(self.uri))
        return self.store.remove(self.uri) or removed
