"""The index of a workspace: artifacts by their content keys.

One small object per artifact in a hidden folder, written after the sidecar. Losing the index loses nothing: a task whose
content is not found runs. An entry is a hint, never believed: the sidecars that it points to must have the content key.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar
from airflow_kart.exceptions import KartError, StorageError
from airflow_kart.storage import INDEX, KeepsFiles, Store, join_uri
from airflow_kart.storage.workspace import Workspace

_OVER = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

logger = logging.getLogger(__name__)


class Equal(NamedTuple):
    """A complete artifact with a content key."""

    uri: str
    sidecar: Sidecar
    store: Store


def record(workspace: Workspace, key: str, uris: Sequence[str]) -> None:
    """Write an entry; a store that refuses only costs a later run.

    Args:
        workspace: the workspace of the artifacts.
        key: their content key.
        uris: all outputs of the task, in order.
    """
    below, store = f"{workspace.directory.rstrip('/')}/", workspace.store
    entry = _entry(workspace.directory, key)
    content = json.dumps([uri.removeprefix(below) for uri in uris]).encode()
    try:
        if isinstance(store, KeepsFiles):
            _write_over(store.path(entry), content)
            return
        upload = store.upload(entry)
        try:
            upload.write(content)
            upload.publish()
        except BaseException:
            upload.discard()
            raise
    except (StorageError, OSError) as error:
        logger.debug("the index of %s was not written: %s", workspace.directory, error)


def _write_over(path: str, content: bytes) -> None:
    """Write a file in place, with fewest calls: a reader of a half written entry finds nothing."""
    try:
        descriptor = os.open(path, _OVER, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, _OVER, 0o666)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def look_up(workspace: Workspace, key: str, *, own: bool = False) -> tuple[Equal, ...]:
    """Return the complete artifacts with a content key, in the order of the task's outputs; none where there are none.

    Artifacts that somebody asked to make again count too: their bytes are as they were.

    Args:
        workspace: where to look: in its directory, then in those that it reads besides.
        key: the content key.
        own: whether to look in the workspace's directory alone.
    """
    for directory in (workspace.directory, *(() if own else workspace.others)):
        store = workspace.store_of(directory)
        with contextlib.suppress(KartError, ValueError):
            found = store.read(_entry(directory, key))
            paths = json.loads(found.data) if found is not None else ()
            if isinstance(paths, list) and paths and all(isinstance(path, str) for path in paths):
                equal = tuple(_complete(store, [join_uri(directory, path) for path in paths], key))
                if len(equal) == len(paths) and len({one.sidecar.publication for one in equal}) == 1:
                    return equal
    return ()


def _complete(store: Store, uris: list[str], key: str) -> Iterator[Equal]:
    for uri in uris:
        sidecar = read_sidecar(store, uri)
        if sidecar is None or sidecar.content.get("content_key") != key or sidecar.damage is not None:
            return
        stat = store.stat(uri)
        untouched = sidecar.replaces is None or sidecar.is_requested
        if stat is None or stat.size != sidecar.artifact.bytes or not untouched:
            return
        yield Equal(uri, sidecar, store)


def _entry(directory: str, key: str) -> str:
    return f"{directory.rstrip('/')}/{INDEX}/{key[:2]}/{key}.json"
