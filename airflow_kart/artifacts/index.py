"""The index of a workspace: artifacts by their content keys, and checksums of external artifacts.

An entry is written after the sidecar: on a disk a line at the end of one of a few files in a hidden folder, elsewhere a small
object. Losing the index loses nothing: a task whose content is not found runs. An entry is a hint, never believed: the sidecars
that it points to must have the content key.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import posixpath
import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar
from airflow_kart.exceptions import KartError, StorageError
from airflow_kart.settings import check_threads
from airflow_kart.storage import INDEX, Store, join_uri, keeps_files
from airflow_kart.storage.regular_file import open_for_reading
from airflow_kart.storage.threads import Threads
from airflow_kart.storage.workspace import Workspace

_AT_END = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FILES = 64
_SHA256 = re.compile("[0-9a-f]{64}")
_KEY_END = 34  # of a line that begins with a bracket, a quotation mark and 32 digits
_MOST_REMEMBERED = 64 << 20  # bytes of index files

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
    below = f"{workspace.directory.rstrip('/')}/"
    add_texts(workspace, key, [uri.removeprefix(below) for uri in uris])


def add_texts(workspace: Workspace, key: str, texts: Sequence[str]) -> None:
    """Write an entry of any texts, as :func:`record` does."""
    store = workspace.store
    try:
        if keeps_files(store):
            _add_line(store.path(_file(workspace.directory, key)), key, texts)
            return
        upload = store.upload(_entry(workspace.directory, key))
        try:
            upload.write(json.dumps(texts).encode())
            upload.publish()
        except BaseException:
            upload.discard()
            raise
    except (StorageError, OSError) as error:
        logger.debug("the index of %s was not written: %s", workspace.directory, error)


def _add_line(path: str, key: str, paths: Sequence[str]) -> None:
    """Add a line in one call, so that the lines of several processes do not mix; a line that is known needs no second one.

    The line begins with its own line break, as a process may have died within the line before.
    """
    line = json.dumps([key, *paths]).encode()
    if (known := _REMEMBERED.get(path)) is not None and known.lines.get(key.encode()) == line:
        return
    try:
        descriptor = os.open(path, _AT_END, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, _AT_END, 0o666)
    try:
        os.write(descriptor, b"\n%b\n" % line)
    finally:
        os.close(descriptor)


@dataclass
class _IndexFile:
    """The lines of an index file, as far as this process has read the file."""

    inode: int
    size: int = 0
    lines: dict[bytes, bytes] = field(default_factory=dict)
    """By content key; the newest counts."""

    @classmethod
    def read(cls, path: str) -> _IndexFile:
        """Read what other processes have added since.

        Raises:
            OSError: there is no file, or no regular one.
        """
        descriptor, found = open_for_reading(path)
        try:
            file = _REMEMBERED.get(path)
            if file is None or file.inode != found.st_ino or file.size > found.st_size:
                if sum(each.size for each in _REMEMBERED.values()) > _MOST_REMEMBERED:
                    _REMEMBERED.clear()
                file = _REMEMBERED[path] = cls(found.st_ino)
            while (left := found.st_size - file.size) and (added := os.pread(descriptor, left, file.size)):
                *lines, rest = added.split(b"\n")
                file.lines.update((line[2:_KEY_END], line) for line in lines if line)
                file.size += len(added) - len(rest)
                if rest and not lines:
                    break  # a line that somebody is writing
        finally:
            os.close(descriptor)
        return file

    def paths_of(self, key: str) -> list[str]:
        """Return the paths of a key; none where there are none.

        Raises:
            ValueError: the line is damaged.
        """
        line = self.lines.get(key.encode())
        return _texts(json.loads(line))[1:] if line is not None else []


_REMEMBERED: dict[str, _IndexFile] = {}
"""By path."""


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
        with contextlib.suppress(KartError, ValueError, OSError, RecursionError):
            paths = texts_of(store, directory, key)
            equal = tuple(_complete(store, [join_uri(directory, path) for path in paths], key))
            if paths and len(equal) == len(paths) and len({one.sidecar.publication for one in equal}) == 1:
                return equal
    return ()


def is_checksum(texts: Sequence[str]) -> bool:
    """Whether the texts of an entry are the uri of an external artifact and its checksum."""
    return len(texts) == 2 and _SHA256.fullmatch(texts[1]) is not None


def texts_of(store: Store, directory: str, key: str) -> list[str]:
    """Return the texts of an entry; none where there is no entry.

    Raises:
        OSError, StorageError, ValueError: the index cannot be read.
    """
    if keeps_files(store):
        return _IndexFile.read(store.path(_file(directory, key))).paths_of(key)
    found = store.read(_entry(directory, key))
    return _texts(json.loads(found.data)) if found is not None else []


def all_texts(workspace: Workspace) -> dict[str, list[str]]:
    """Return the texts of all entries of a workspace's index, by key; damaged entries are left out."""
    found: dict[str, list[str]] = {}
    for key in _keys(workspace):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found[key] = texts_of(workspace.store, workspace.directory, key)
    return found


def stale(workspace: Workspace, used: Container[str]) -> list[str]:
    """Return the keys of a workspace's index that no artifact has, but for those of external artifacts.

    Args:
        workspace: the workspace.
        used: the content keys of its artifacts.
    """

    def is_stale(key: str) -> bool:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            return not is_checksum(texts_of(workspace.store, workspace.directory, key))
        return False

    unknown = [key for key in _keys(workspace) if key not in used]
    return [key for key, is_one in zip(unknown, _each(workspace.store, is_stale, unknown), strict=True) if is_one]


def forget(workspace: Workspace, keys: Collection[str]) -> None:
    """Remove entries from a workspace's index."""
    store, directory, gone = workspace.store, workspace.directory, {key.encode() for key in keys}
    if not keeps_files(store):
        list(_each(store, store.remove, [_entry(directory, key) for key in keys]))
        return
    for uri in {_file(directory, key) for key in keys}:
        with contextlib.suppress(FileNotFoundError):
            lines = _IndexFile.read(store.path(uri)).lines
            upload = store.upload(uri)
            try:
                upload.write(b"".join(b"\n%b\n" % line for key, line in lines.items() if key not in gone))
                upload.publish()
            finally:
                upload.discard()


def _each(store: Store, work: Callable[[str], bool], texts: Sequence[str]) -> Iterator[bool]:
    """Return what a function makes of texts; several at once where that saves time."""
    if keeps_files(store):
        yield from map(work, texts)
        return
    with Threads(check_threads(), "kart-index") as pool:
        yield from pool.map(work, texts)


def _keys(workspace: Workspace) -> Iterator[str]:
    store = workspace.store
    for uri in store.list(f"{workspace.directory.rstrip('/')}/{INDEX}/"):
        if not keeps_files(store):
            yield posixpath.basename(uri).removesuffix(".json")
            continue
        with contextlib.suppress(OSError, ValueError):
            yield from [key.decode() for key in _IndexFile.read(store.path(uri)).lines]


def replace_all(workspace: Workspace, former: Mapping[str, Sequence[str]], entries: Mapping[str, Sequence[str]]) -> None:
    """Write the entries of a workspace's index anew.

    Args:
        workspace: the workspace.
        former: the entries that are there.
        entries: those to be.
    """
    store, directory = workspace.store, workspace.directory
    gone, there = [_entry(directory, key) for key in former.keys() - entries.keys()], former
    if keeps_files(store):
        gone, there = list(store.list(f"{directory.rstrip('/')}/{INDEX}/")), {}
    for uri in gone:
        store.remove(uri)
    _REMEMBERED.clear()
    for key, texts in entries.items():
        if there.get(key) != texts:
            add_texts(workspace, key, texts)


def _texts(found: object) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError("no list of texts")
    return found


def _complete(store: Store, uris: list[str], key: str) -> Iterator[Equal]:
    for uri in uris:
        sidecar = read_sidecar(store, uri)
        if sidecar is None or sidecar.content.get("content_key") != key or not sidecar.describes(store.stat(uri)):
            return
        yield Equal(uri, sidecar, store)


def _file(directory: str, key: str) -> str:
    return f"{directory.rstrip('/')}/{INDEX}/{int(key[:8], 16) % _FILES:02}.ndjson"


def _entry(directory: str, key: str) -> str:
    return f"{directory.rstrip('/')}/{INDEX}/{key[:2]}/{key}.json"
