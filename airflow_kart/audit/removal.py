"""The removal of a task's artifacts, all or none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.artifacts.staged import sidecar_version
from airflow_kart.audit.pins import pin_of
from airflow_kart.audit.records import REPLACED, held
from airflow_kart.exceptions import ConflictError
from airflow_kart.locks import Locks
from airflow_kart.storage import ANY, Removable, Store

PINNED = "it is pinned"
NEEDED = "a pinned artifact needs it"
Outputs = Sequence[tuple[str, str | None]]
"""The uri of each artifact of a task, and the version of its sidecar; ``None`` for a file without a sidecar."""


def take_away(
    store: Store,
    locks: Locks,
    directory: str,
    unique_id: str,
    outputs: Outputs,
    *,
    needed: Callable[[], bool] = lambda: False,
) -> None:
    """Remove the artifacts of a task under the task's lock; a file that is gone already does not matter.

    Args:
        store: keeps the artifacts.
        locks: of the workspace.
        directory: of the workspace.
        unique_id: of the task; empty for files of no task.
        outputs: the artifacts.
        needed: whether a pinned artifact was made from them.

    Raises:
        ConflictError: a run is making the artifacts, or has replaced one since, or they or what needs them are pinned; nothing is
            removed.
        StorageError: the store refused.
    """
    first = outputs[0][0]
    name = unique_id or hashlib.blake2b(first.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    with held(locks, name, f"the removal of {first}", ConflictError):
        if pin_of(store, directory, unique_id) is not None:
            raise ConflictError(PINNED, uri=first)
        if needed():
            raise ConflictError(NEEDED, uri=first)
        remove_outputs(store, outputs)


def remove_outputs(store: Store, outputs: Outputs) -> None:
    """Remove artifacts, then their sidecars; arguments and errors as of :func:`take_away`, whose lock the caller holds.

    A killed process leaves sidecars without artifacts at most. These make nothing complete, and everybody recognises them;
    a file without a sidecar could be anybody's.
    """
    with store.publishing([each for uri, _ in outputs for each in (uri, sidecar_uri(uri))]):
        found = {uri: sidecar_version(store, uri) for uri, _ in outputs}
        present = [(uri, version) for uri, version in outputs if version is None or found[uri] is not None]
        for uri, version in present:
            if found[uri] != version:
                raise ConflictError(REPLACED, uri=uri)
        for uri, stat in [(uri, store.stat(uri)) for uri, _ in present]:
            if stat is not None:
                store.remove(uri, _expected(store, stat.version))
        for uri, version in present:
            if version is not None:
                store.remove(sidecar_uri(uri), _expected(store, version))


def _expected(store: Store, version: str) -> Removable:
    return version if store.conditional else ANY
