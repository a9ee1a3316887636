"""Targets whose artifacts come from elsewhere, without a sidecar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from airflow_kart.artifacts.loading import Loaded, Loading
from airflow_kart.artifacts.state import Artifact, TargetState
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import TargetError
from airflow_kart.storage import Lookup


@dataclass(frozen=True)
class ExternalTarget(Target):
    """Where somebody else puts an artifact: complete as soon as the file is there, and never written here.

    The sidecars of the tasks that load the artifact record its checksum.
    """

    def _looked_at(self) -> list[str]:
        return [self.uri]

    def _state(self, lookup: Lookup) -> TargetState:
        stat = lookup.stat(self.uri)
        if stat is None:
            return TargetState(False, "it is made elsewhere, and not there yet")
        found = Artifact(self.uri, stat.size)
        return TargetState(True, f"put there {stat.modified:%Y-%m-%d %H:%M:%S} UTC", modified=stat.modified, artifact=found)

    def _load(self, loading: Loading, columns: Sequence[str] | None) -> Loaded:
        return loading.unverified(columns)

    def _load_parts(self, loading: Loading) -> AbstractContextManager[Loaded]:
        return loading.unverified_parts()

    def dump(self, obj: object, custom_labels: Mapping[str, str] | None = None) -> None:
        """Refuse, as somebody else writes the artifact. A workspace in memory accepts the dump: tests have to fill it.

        Raises:
            TargetError: the target is not in memory.
        """
        if self.store.shared:
            raise TargetError(
                f"{self.uri} is made elsewhere; a {type(obj).__name__} cannot be dumped to an ExternalTask's target",
                uri=self.uri,
            )
        super().dump(obj, custom_labels)

    def begin_replacement(self, *, named: bool = False) -> None:
        """Do nothing: no task here can make the artifact again."""
