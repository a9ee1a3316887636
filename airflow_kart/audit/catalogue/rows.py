"""The catalogue: a row for each artifact of a workspace, kept beside the artifacts and brought up to date by each reader.

The file of a folder's rows is only a memory, like a pack: a row counts where the folder has the very same version of the sidecar.
So a catalogue may be old, lost or damaged without harm. On a disk, a folder whose time of change is the recorded one need not be
listed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, cast

import msgspec
from xxhash import xxh3_64_hexdigest

from airflow_kart.artifacts.sidecar import SIDECAR_SUFFIX, sidecar_uri
from airflow_kart.audit.catalogue.row import Brief, Row, row_of
from airflow_kart.exceptions import KartError, StorageError
from airflow_kart.settings import check_threads
from airflow_kart.storage import CATALOGUE, HIDDEN, KeepsFiles, Lookup, Store, join_uri
from airflow_kart.storage.snapshot import listed
from airflow_kart.storage.threads import Threads
from airflow_kart.storage.workspace import Workspace

_FORM = 4
_SETTLED = 10 * 10**9
"""Nanoseconds after which a change of a folder has another time than the change before, also with clocks that differ."""
_WORTH_WRITING = 32
"""New rows of a folder in a bucket."""
_BETWEEN = 1000
"""Sidecars read between two words of progress."""

logger = logging.getLogger(__name__)

Mention: TypeAlias = "str | re.Pattern[bytes]"

Tell = Callable[[int], object]
"""Is told how many sidecars were read that the catalogue did not know."""


class _Header(msgspec.Struct, array_like=True, gc=False):
    form: int
    folder: str
    listed_at: int
    """Nanoseconds."""
    changed_at: int
    """When the folder changed last, as its disk says, in nanoseconds; 0 elsewhere. A copy cannot take this time along."""
    inode: int
    """Of the folder; 0 elsewhere."""
    folders: list[str]
    """The names of the folders inside."""
    checksum: str
    """The XXH3 of the lines after the header."""


class _Known(msgspec.Struct, array_like=True, gc=False):
    """The beginning of a row."""

    name: str
    version: str


encode = msgspec.json.Encoder().encode
"""Returns JSON as rows have it."""
_HEADER = msgspec.json.Decoder(_Header).decode
_KNOWN = msgspec.json.Decoder(_Known).decode

decoded = msgspec.json.Decoder(Row).decode
"""Returns the row of a line of :meth:`Catalogue.lines`."""
decoded_briefly = msgspec.json.Decoder(Brief).decode
"""Returns the beginning of the row of a line, in a fifth of the time."""


class _Disk(KeepsFiles, Store, Protocol):
    """A store on a disk."""


class Place(NamedTuple):
    """A folder of artifacts: one of the workspace's directory, or of another that the workspace reads besides."""

    directory: str
    folder: str
    """Relative to the directory; empty for the directory itself."""

    def __str__(self) -> str:
        return f"{self.directory}/{self.folder}"

    def uri(self, name: str) -> str:
        """Return the uri of an artifact in the folder."""
        return join_uri(self.directory, f"{self.folder}/{name}" if self.folder else name)


@dataclass
class _File:
    """The rows of a folder as its file has them."""

    header: _Header | None = None
    lines: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, store: Store, place: Place) -> _File:
        try:
            found = store.read(file_of(place))
            if found is None:
                return cls()
            first, _, rest = found.data.partition(b"\n")
            header, lines = _HEADER(first), rest.split(b"\n") if rest else []
        except (KartError, OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.info("the catalogue of %s is no use: %s", place, error)
            return cls()
        is_right = header.form == _FORM and header.folder == place.folder and header.checksum == xxh3_64_hexdigest(rest)
        return cls(header, tuple(lines)) if is_right else cls()

    def by_name(self) -> dict[str, tuple[str, bytes]]:
        """Return version and line by the artifact's name."""
        return {found.name: (found.version, line) for line in self.lines for found in [_KNOWN(line)]}


class _Folder(NamedTuple):
    """A folder as it is now."""

    place: Place
    versions: Mapping[str, str]
    """Of the sidecars, by the artifacts' names."""
    lookup: Lookup
    changed_at: int
    inode: int
    folders: list[str]


_KEPT: ContextVar[dict[tuple[Workspace, bool], list[tuple[Place, Sequence[bytes]]]] | None] = ContextVar(
    "airflow_kart_catalogue", default=None
)


@contextmanager
def one_look() -> Iterator[None]:
    """Read each catalogue once in this block, for several questions about one moment; a block inside of another shares its look."""
    kept = _KEPT.get()
    token = _KEPT.set({} if kept is None else kept)
    try:
        yield
    finally:
        _KEPT.reset(token)


class Catalogue:
    """The rows of a workspace.

    Args:
        workspace: the workspace.
        fresh: list each folder, also one that seems unchanged.
        tell: is told of the sidecars that the catalogue did not know.
    """

    def __init__(self, workspace: Workspace, *, fresh: bool = False, tell: Tell = lambda _: None) -> None:
        self.workspace = workspace
        self._fresh = fresh
        self._tell = tell
        self._read = 0

    def rows(self, *mentioned: Mention, own: bool = False) -> Iterator[tuple[Place, Row]]:
        """Return the rows, folder after folder, each when it is asked for.

        Args:
            mentioned: texts that a row must hold somewhere, or patterns that its JSON must match; rows without are not decoded.
            own: whether to leave out the directories that the workspace only reads.

        Raises:
            StorageError: the store refused.
        """
        for place, line in self.lines(*mentioned, own=own):
            yield place, decoded(line)

    def lines(self, *mentioned: Mention, own: bool = False) -> Iterator[tuple[Place, bytes]]:
        """Return the rows as :meth:`rows` does, each still as JSON: many take a third of the memory."""
        for place, lines in self.folders(*mentioned, own=own):
            for line in lines:
                yield place, line

    def folders(self, *mentioned: Mention, own: bool = False) -> Iterator[tuple[Place, Sequence[bytes]]]:
        """Return the lines of each folder together."""
        patterns = [one.search for one in mentioned if isinstance(one, re.Pattern)]
        texts = [encode(text)[1:-1] for text in mentioned if isinstance(text, str)]
        for place, found in self._lines(own=own):
            lines = found
            for search in patterns:  # first, as each leaves but few lines
                lines = [line for line in lines if search(line)]
            for text in texts:
                lines = [line for line in lines if text in line]
            yield place, lines

    def _lines(self, *, own: bool) -> Iterator[tuple[Place, Sequence[bytes]]]:
        kept = _KEPT.get()
        if kept is None or self._fresh:
            yield from self._read_lines(own=own)
            return
        if (self.workspace, own) not in kept:
            kept[self.workspace, own] = list(self._read_lines(own=own))
        yield from kept[self.workspace, own]

    def _read_lines(self, *, own: bool) -> Iterator[tuple[Place, Sequence[bytes]]]:
        others = () if own else self.workspace.others
        for directory in (self.workspace.directory, *others):
            store, mine = self.workspace.store_of(directory), directory == self.workspace.directory
            try:
                if isinstance(store, KeepsFiles):
                    yield from self._of_disk(cast(_Disk, store), store.path(directory), directory, "", mine=mine)
                else:
                    for folder in _listed(store, directory):
                        yield folder.place, self._updated(store, folder, _File.read(store, folder.place), mine=mine)
            except StorageError as error:
                if mine:
                    raise
                logger.warning("the artifacts of %s are left out: %s", directory, error)

    def _of_disk(
        self, store: _Disk, path: str, directory: str, folder: str, *, mine: bool
    ) -> Iterator[tuple[Place, Sequence[bytes]]]:
        place, here = Place(directory, folder), os.path.join(path, folder)
        try:
            found = os.stat(here)
            changed_at, inode = found.st_ctime_ns, found.st_ino
            file = _File.read(store, place)
            header = file.header
            same = header is not None and (changed_at, inode) == (header.changed_at, header.inode)
            settled = same and header is not None and header.listed_at - changed_at > _SETTLED
            if header is not None and settled and not self._fresh:
                folders, lines = header.folders, file.lines
            else:
                versions, folders = _scanned(here, store)
                lines = self._updated(store, _Folder(place, versions, store, changed_at, inode, folders), file, mine=mine)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"could not list {here}: {error.strerror or error}", uri=here) from error
        if lines:
            yield place, lines
        for name in folders:
            yield from self._of_disk(store, path, directory, f"{folder}/{name}" if folder else name, mine=mine)

    def _updated(self, store: Store, folder: _Folder, file: _File, *, mine: bool) -> tuple[bytes, ...]:
        """Return the lines of a folder as it is now; write them, if that saves the next reader something."""
        began, known = time.time_ns(), file.by_name()
        kept = {name: known[name][1] for name, version in folder.versions.items() if known.get(name, ("",))[0] == version}
        added = self._added(folder, [name for name in folder.versions if name not in kept])
        lines = (*kept.values(), *added)
        old = file.header
        unknown = len(added) + len(known) - len(kept)
        worth = unknown >= (1 if folder.changed_at else _WORTH_WRITING)
        if mine and (
            worth
            or (
                lines
                and folder.changed_at
                and (old is None or (old.changed_at, old.inode) != (folder.changed_at, folder.inode))
            )
        ):
            body = b"\n".join(lines)
            header = _Header(
                _FORM, folder.place.folder, began, folder.changed_at, folder.inode, folder.folders, xxh3_64_hexdigest(body)
            )
            _write(store, folder.place, b"%b\n%b" % (encode(header), body))
        return lines

    def _added(self, folder: _Folder, names: list[str]) -> list[bytes]:
        def line_of(name: str) -> bytes | None:
            uri = sidecar_uri(folder.place.uri(name))
            try:
                found = folder.lookup.read(uri)
                return None if found is None else encode(row_of(uri, name, found))
            except UnicodeEncodeError:  # a name that no text holds is no artifact's
                return None
            except StorageError as error:
                if not isinstance(folder.lookup, KeepsFiles):
                    raise
                logger.warning("an artifact is left out: %s", error)
                return None

        if not isinstance(folder.lookup, KeepsFiles) and len(names) > 1:
            with Threads(check_threads(), "kart-catalogue") as pool:
                return list(filter(None, self._told(pool.map(line_of, names))))
        return list(filter(None, self._told(map(line_of, names))))

    def _told(self, lines: Iterable[bytes | None]) -> Iterator[bytes | None]:
        for line in lines:
            self._read += 1
            if self._read % _BETWEEN == 0:
                self._tell(self._read)
            yield line


def is_text(name: str) -> bool:
    """Whether a name is UTF-8: others are of no artifact, and no JSON holds them."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _scanned(path: str, store: _Disk) -> tuple[dict[str, str], list[str]]:
    """Return the versions of the sidecars in a folder of a disk, by the artifacts' names, and the folders inside."""
    versions, folders = {}, []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.endswith(SIDECAR_SUFFIX) and entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    found = entry.stat()
                    versions[entry.name[: -len(SIDECAR_SUFFIX)]] = store.version_of(found)
            elif entry.name not in HIDDEN and is_text(entry.name) and entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
    return versions, sorted(folders)


def _listed(store: Store, directory: str) -> Iterator[_Folder]:
    """Return the folders of a workspace that is not on a disk, from listings."""
    prefix = f"{directory.rstrip('/')}/"
    stats, lookup = listed(store, prefix, SIDECAR_SUFFIX)
    versions: dict[str, dict[str, str]] = {}
    for uri, stat in stats.items():
        folder, _, name = uri[len(prefix) : -len(SIDECAR_SUFFIX)].rpartition("/")
        versions.setdefault(folder, {})[name] = stat.version
    for folder, inside in sorted(versions.items()):
        yield _Folder(Place(directory, folder), inside, lookup, 0, 0, [])


def _write(store: Store, place: Place, data: bytes) -> None:
    """Write the file of a folder; a store that refuses costs the next reader some time."""
    try:
        upload = store.upload(file_of(place))
        try:
            upload.write(data)
            upload.finish()
            upload.publish()
        finally:
            upload.discard()
    except (StorageError, OSError) as error:
        logger.info("the catalogue of %s was not written: %s", place, error)


def file_of(place: Place) -> str:
    """Return the uri of the file with a folder's rows."""
    name = hashlib.blake2b(place.folder.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{place.directory.rstrip('/')}/{CATALOGUE}/{name}.ndjson"
