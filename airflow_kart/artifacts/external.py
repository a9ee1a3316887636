"""Targets whose artifacts come from elsewhere, without a sidecar."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from airflow_kart.artifacts.checksum import sha256_of
from airflow_kart.artifacts.index import add_texts, is_checksum, texts_of
from airflow_kart.artifacts.loading import Loaded, Loading
from airflow_kart.artifacts.state import Artifact, TargetState
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import KartError, StorageError, TargetError
from airflow_kart.storage import KeepsFiles, Lookup
from airflow_kart.storage.workspace import Workspace
from airflow_kart.streams import HashedStream

_UNSETTLED = 2.0  # seconds after a change in which another one may leave the time of the file as it is

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExternalTarget(Target):
    """Where somebody else puts an artifact: complete as soon as the file is there, and never written here.

    The checksum of the artifact is in the sidecars of the tasks that require the artifact.
    """

    def _looked_at(self) -> list[str]:
        return [self.uri]

    def _state(self, lookup: Lookup) -> TargetState:
        stat = lookup.stat(self.uri)
        if stat is None:
            return TargetState(False, "it is made elsewhere, and not there yet")
        found = Artifact(self.uri, stat.size)
        return TargetState(True, f"put there {stat.modified:%Y-%m-%d %H:%M:%S} UTC", modified=stat.modified, artifact=found)

    def checksum(self, *, hashed: bool = True) -> str | None:
        """Return the SHA-256 of the artifact's bytes, ``None`` where the bytes change meanwhile or cannot be read.

        The workspace's index keeps the checksum of each version, so that a large file is hashed once.

        Args:
            hashed: whether to read and hash an artifact whose checksum the workspace does not have.
        """
        workspace = Workspace.current()
        with contextlib.suppress(OSError, StorageError):
            asked = time.time()
            facts, changed = self._facts()
            key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
            for directory in (workspace.directory, *workspace.others):
                with contextlib.suppress(KartError, ValueError, OSError):
                    texts = texts_of(workspace.store_of(directory), directory, key)
                    if is_checksum(texts) and texts[0] == self.uri:
                        return texts[1]
            if not hashed:
                return None
            logger.info("reading %s (%d bytes) for its checksum", self.uri, facts[1])
            with self.store.open(self.uri) as stream:
                if isinstance(stream, HashedStream):
                    stream.hash_with("sha256")
                sha256 = sha256_of(stream)
            if self._facts()[0] == facts:
                if asked - changed > _UNSETTLED:
                    add_texts(workspace, key, [self.uri, sha256])
                return sha256
        return None

    def facts(self) -> object:
        """Return what changes with the artifact, to be compared; ``None`` where the artifact is gone."""
        try:
            return self._facts()[0]
        except FileNotFoundError:
            return None

    def _facts(self) -> tuple[tuple[str, int, str, str], float]:
        """Return what changes with the artifact, and the time of the last change.

        Raises:
            FileNotFoundError: there is no artifact.
            StorageError: the store refused.
        """
        stat = self.store.stat(self.uri)
        if stat is None:
            raise FileNotFoundError(self.uri)
        changed = stat.modified.timestamp()
        if isinstance(self.store, KeepsFiles):  # others write a file in place, and set its time of modification as they like
            changed = os.stat(self.store.path(self.uri)).st_ctime
        return (self.uri, stat.size, stat.version, str(changed)), changed

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
