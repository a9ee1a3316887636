"""Targets whose artifacts come from elsewhere, without a sidecar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_kart.artifacts.target import Target, TargetState
from airflow_kart.exceptions import TargetError
from airflow_kart.storage import Lookup

__all__ = ["ExternalTarget"]


@dataclass(frozen=True)
class ExternalTarget(Target):
    """Where somebody else puts an artifact: complete as soon as it is there, and never written here.

    What was loaded from it is known by its checksum in the sidecars of the tasks that loaded it.
    """

    def _looked_at(self) -> list[str]:
        return [self.uri]

    def _state(self, lookup: Lookup) -> TargetState:
        stat = lookup.stat(self.uri)
        if stat is None:
            return TargetState(False, "it is made elsewhere, and not there yet")
        return TargetState(True, f"put there {stat.modified:%Y-%m-%d %H:%M:%S} UTC", modified=stat.modified)

    def _load(self, columns: Sequence[str] | None = None) -> Any:
        return self._loaded(self._reading.unverified(columns), columns)

    def _load_parts(self) -> Iterator[Any]:
        with self._reading.unverified_parts() as (sha256, parts):
            yield from self._loaded_parts(parts, sha256)

    def dump(self, obj: Any, custom_labels: Mapping[str, str] | None = None) -> None:
        """Refuse: the artifact is somebody else's. Only in a workspace in memory, which a test has to fill, it is not.

        Raises:
            TargetError: it is not in memory.
        """
        if self.store.shared:
            raise TargetError(
                f"{self.uri} is made elsewhere; a {type(obj).__name__} cannot be dumped to an ExternalTask's target"
            )
        super().dump(obj, custom_labels)

    def begin_replacement(self) -> None:
        """Do nothing: nobody here can make it again."""
