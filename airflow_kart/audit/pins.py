"""Pins: artifacts that stay, whatever garbage collection is asked for.

A pin is an object with the unique id of a task for its name, in a folder of the workspace. The name is all that counts: a pin with
damaged words keeps too. Pins are set and looked at under the lock of the task, so that none comes between a decision and its end.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import stat
from typing import NamedTuple

from airflow_kart.audit.records import held
from airflow_kart.exceptions import ConfigurationError, ConflictError, MissingArtifactError, StorageError
from airflow_kart.locks import locks_for
from airflow_kart.storage import PINS, Store, keeps_files
from airflow_kart.storage.workspace import Workspace

_ID = re.compile("[0-9a-f]{32}")
_MOST = 4096
"""Bytes of a pin."""
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Pin(NamedTuple):
    """Who pinned an artifact, and when (ISO 8601, UTC); empty where nobody can tell."""

    by: str = ""
    at: str = ""


def uri_of_pin(directory: str, unique_id: str) -> str:
    """Return the uri of a task's pin in a workspace's directory."""
    return f"{directory.rstrip('/')}/{PINS}/{unique_id}"


def pinned_in(workspace: Workspace) -> frozenset[str]:
    """Return the unique ids of the pinned tasks of a workspace, and of those that it reads.

    Raises:
        StorageError: the store refused.
    """
    found = set[str]()
    for directory in (workspace.directory, *workspace.others):
        store, folder = workspace.store_of(directory), uri_of_pin(directory, "")
        if keeps_files(store):  # whose listing leaves out a folder that cannot be read
            try:
                found.update(os.listdir(store.path(folder)))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"could not list the pins in {folder}: {error.strerror or error}", uri=folder) from error
        else:
            found.update(uri.rpartition("/")[2] for uri in store.list(folder))
    return frozenset(filter(_ID.fullmatch, found))


def pin_of(store: Store, directory: str, unique_id: str) -> Pin | None:
    """Return a task's pin; ``None`` for a task that is not pinned.

    Raises:
        StorageError: the store refused.
    """
    uri = uri_of_pin(directory, unique_id)
    if not _ID.fullmatch(unique_id):
        return None
    try:
        words = _words_on_disk(store.path(uri)) if keeps_files(store) else _words(store, uri)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"could not look up the pin {uri}: {error.strerror or error}", uri=uri) from error
    try:
        said = json.loads(words)
        return Pin(str(said["by"])[:200], str(said["at"])[:40])
    except (ValueError, TypeError, KeyError, RecursionError):
        return Pin()


def _words(store: Store, uri: str) -> bytes:
    there = store.stat(uri)
    if there is None:
        raise FileNotFoundError(uri)
    with contextlib.suppress(StorageError):
        found = store.read(uri) if there.size <= _MOST else None
        return b"" if found is None else found.data
    return b""


def _words_on_disk(path: str) -> bytes:
    """Read a pin, empty for one that is no plain file: links lead out of the workspace, and a pipe waits for ever."""
    if not stat.S_ISREG(os.lstat(path).st_mode) or os.path.islink(os.path.dirname(path)):
        return b""
    with contextlib.suppress(OSError), open(os.open(path, _PLAIN), "rb") as file:
        return file.read(_MOST)
    return b""


def pin(workspace: Workspace, directory: str, unique_id: str, uri: str, by: str) -> None:
    """Pin the task of an artifact: see :meth:`airflow_kart.audit.catalogue.record.Record.pin`."""
    store, place = workspace.store, _place(workspace, directory, unique_id, uri)
    said = {"by": by, "at": dt.datetime.now(dt.timezone.utc).isoformat(), "artifact": uri}
    with held(locks_for(workspace), unique_id, f"the pin of {uri}", ConflictError):
        if store.stat(uri) is None:
            raise MissingArtifactError(f"there is no artifact at {uri} any more", uri=uri)
        upload = store.upload(place)
        try:
            upload.write(json.dumps(said).encode())
            upload.finish()
            upload.publish()
        finally:
            upload.discard()


def unpin(workspace: Workspace, directory: str, unique_id: str, uri: str) -> None:
    """Take the pin of an artifact's task away, if there is one."""
    workspace.store.remove(_place(workspace, directory, unique_id, uri))


def _place(workspace: Workspace, directory: str, unique_id: str, uri: str) -> str:
    if directory != workspace.directory:
        raise ConfigurationError(f"{workspace.directory} only reads {directory}: pin the artifact there", uri=uri)
    if not _ID.fullmatch(unique_id):
        raise ConfigurationError(f"{uri} is of no task, so that nothing names its pin", uri=uri)
    return uri_of_pin(directory, unique_id)
