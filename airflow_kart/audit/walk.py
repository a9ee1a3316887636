"""A walk over the sidecars of a workspace, or over all its files."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from airflow_kart.artifacts.sidecar import SIDECAR_SUFFIX, Sidecar, read_sidecar
from airflow_kart.exceptions import ConfigurationError, CorruptArtifactError
from airflow_kart.settings import check_threads
from airflow_kart.storage import (
    CATALOGUE,
    HIDDEN,
    INDEX,
    LOCKS,
    PINS,
    RUNS,
    Lookup,
    ObjectContent,
    ObjectStat,
    keeps_files,
)
from airflow_kart.storage.base import ListsInBulk
from airflow_kart.storage.snapshot import listed
from airflow_kart.storage.threads import Threads
from airflow_kart.storage.workspace import Workspace

_OF_A_WORKSPACE = {INDEX, LOCKS, CATALOGUE, RUNS, PINS}
"""Folders that a workspace has at its top."""

logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """A sidecar, and where its artifact is: a moved workspace has other uris than its sidecars record."""

    uri: str
    sidecar: Sidecar
    lookup: Lookup

    @property
    def is_whole(self) -> bool:
        """Whether the artifact is there, in the recorded size, not known to be damaged, and not about to be replaced."""
        return self.sidecar.describes(self.lookup.stat(self.uri))


def sidecars(workspace: Workspace, mentioning: str | None = None) -> Iterator[Found]:
    """Return the sidecars of a workspace, one after the other, without keeping them; those that cannot be read are left out.

    A disk is read as the walk goes on. Of a bucket, folder after folder is listed, and read by several threads and from packs.

    Args:
        workspace: the workspace.
        mentioning: only sidecars that hold this text, such as the logical name of a class; the others are not decoded.
    """
    store = workspace.store
    prefix = f"{workspace.directory.rstrip('/')}/"
    text = None if mentioning is None else json.dumps(mentioning, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
    if not isinstance(store, ListsInBulk):
        yield from filter(None, map(partial(_found, _Mentioning(store, text)), _with_sidecars(store.list(prefix))))
        return
    stats, lookup = listed(store, prefix)
    with Threads(check_threads(), "kart-walk") as pool:
        yield from filter(None, pool.map(partial(_found, _Mentioning(lookup, text)), _with_sidecars(stats)))


def _with_sidecars(uris: Iterable[str]) -> Iterator[str]:
    """Return the uris of the artifacts whose sidecars are among the uris."""
    return (uri[: -len(SIDECAR_SUFFIX)] for uri in uris if uri.endswith(SIDECAR_SUFFIX))


def files(workspace: Workspace) -> dict[str, dict[str, tuple[int, float]]]:
    """Return size and time of change (in seconds) of each file of a workspace, by folder and name, but for hidden folders."""
    store, found = workspace.store, dict[str, dict[str, tuple[int, float]]]()
    if keeps_files(store):
        root = store.path(workspace.directory)
        for path, folders, names in os.walk(root):
            folders[:] = [name for name in folders if name not in HIDDEN]
            below = os.path.relpath(path, root)
            inside = found["" if below == "." else below] = dict.fromkeys(names, (0, 0.0))
            for name in names:
                try:
                    there = os.stat(f"{path}/{name}")
                    inside[name] = there.st_size, there.st_mtime
                except FileNotFoundError:
                    del inside[name]
        return found
    prefix = f"{workspace.directory.rstrip('/')}/"
    for uri, stat in listed(store, prefix)[0].items():
        folder, _, name = uri[len(prefix) :].rpartition("/")
        found.setdefault(folder, {})[name] = stat.size, stat.modified.timestamp()
    return found


def nested(workspace: Workspace) -> list[str]:
    """Return the folders inside of a workspace that are workspaces of their own, or that this one only reads.

    Raises:
        ConfigurationError: a folder is a symbolic link: nobody lists what is there, nor what that needs.
    """
    store, below = workspace.store, f"{workspace.directory.rstrip('/')}/"
    found = [other[len(below) :].rstrip("/") for other in workspace.others if other.startswith(below)]
    if not keeps_files(store):
        return found
    root = store.path(workspace.directory)
    for path, folders, _ in os.walk(root):
        if path != root and _OF_A_WORKSPACE.intersection(folders):
            found.append(os.path.relpath(path, root))
        folders[:] = [name for name in folders if name not in HIDDEN]
        linked = next((name for name in folders if os.path.islink(f"{path}/{name}")), None)
        if linked is not None:
            raise ConfigurationError(
                f"{path}/{linked} is a symbolic link to a folder: its artifacts are not seen, nor what they need; mount the folder "
                "there, or make it a workspace of its own",
                uri=f"{path}/{linked}",
            )
    return found


class _Mentioning(NamedTuple):
    """A lookup to which objects without a text are not there."""

    lookup: Lookup
    text: bytes | None

    def stat(self, uri: str) -> ObjectStat | None:
        return self.lookup.stat(uri)

    def read(self, uri: str) -> ObjectContent | None:
        found = self.lookup.read(uri)
        return found if found is not None and (self.text is None or self.text in found.data) else None


def _found(lookup: _Mentioning, uri: str) -> Found | None:
    try:
        sidecar = read_sidecar(lookup, uri)
    except CorruptArtifactError as error:
        logger.warning("%s", error)
        return None
    return Found(uri, sidecar, lookup.lookup) if sidecar is not None else None
