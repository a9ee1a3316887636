"""The facts of many objects at one moment, in few requests.

A listing names the objects and their versions. A snapshot reads small objects, such as sidecars, one by one, and keeps many
of them together in one object of their folder, a pack. A pack is only a memory: an entry counts where the listing names the
very same version. So a pack may be old, lost, overwritten or damaged without harm.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from airflow_kart import settings
from airflow_kart.exceptions import StorageError
from airflow_kart.storage.base import ANY, UPLOADS, ListsInBulk, Lookup, ObjectContent, ObjectStat, Store
from airflow_kart.storage.threads import Threads

_WORTH_A_PACK = 100
_MOST_PACKED = 20_000
_MOST_BYTES = 64 << 20  # of a pack's text
_PACK = "sidecars.json.z"

logger = logging.getLogger(__name__)


def listed(store: Store, prefix: str, ending: str = "") -> tuple[Mapping[str, ObjectStat], Lookup]:
    """Return the facts of the objects below a prefix, each page of a listing asked for once, and a lookup that knows them.

    Args:
        store: keeps the objects.
        prefix: as for :meth:`Store.list`.
        ending: only objects whose uris end so.
    """
    if isinstance(store, ListsInBulk):
        stats = {uri: stat for uri, stat in store.listed(prefix) if uri.endswith(ending)}
        return stats, _StoreSnapshot(store, stats)
    found = ((uri, store.stat(uri)) for uri in store.list(prefix) if uri.endswith(ending))
    return {uri: stat for uri, stat in found if stat is not None}, store


class Snapshot:
    """Facts of many objects from listings and packs, in place of one request for each object.

    A snapshot shows the moment of its making, and asks the stores for all other objects. Threads may share a snapshot.

    Args:
        objects: the uris of interest, each with its store.
    """

    def __init__(self, objects: Iterable[tuple[Store, str]]) -> None:
        wanted: dict[Store, list[str]] = {}
        for store, uri in objects:
            wanted.setdefault(store, []).append(uri)
        self._listed: dict[Store, _StoreSnapshot] = {}
        for store, uris in wanted.items():
            stats = store.stat_by_listing(uris) if isinstance(store, ListsInBulk) else {}
            if stats:
                self._listed[store] = _StoreSnapshot(store, stats)

    def of(self, store: Store) -> Lookup:
        """Return the lookup for the objects of a store."""
        listed = self._listed.get(store)
        return store if listed is None else listed

    def names(self, store: Store, uri: str) -> bool:
        """Whether a listing has named an object."""
        listed = self._listed.get(store)
        return listed is not None and listed.names(uri)

    def knows(self, store: Store, uri: str) -> bool:
        """Whether listings have told if there is an object."""
        listed = self._listed.get(store)
        return listed is not None and listed.knows(uri)

    def read_ahead(self, objects: Iterable[tuple[Store, str]]) -> None:
        """Read objects that a listing has named, several at once, for the next read of each.

        Threads that do no more than this hardly hinder each other: they wait for the network.

        Args:
            objects: the uris, each with its store.

        Raises:
            StorageError: a store refuses.
        """
        wanted = [self._listed[store].entry(uri) for store, uri in objects if self.names(store, uri)]
        with Threads(settings.check_threads(), "kart-check") as pool:
            pool.each(_FolderSnapshot.load_pack, list({entry.folder for entry in wanted}))
            pool.each(_Entry.read_ahead, [entry for entry in wanted if not entry.is_packed])

    def remember(self, folders: Collection[tuple[Store, str]]) -> None:
        """Write the small objects of folders with many of them into packs.

        Args:
            folders: the folders in which a pack may be written, each with its store.
        """
        for store, folder in folders:
            listed = self._listed.get(store)
            if listed is not None and folder in listed.folders:
                listed.folders[folder].write_pack()


class _StoreSnapshot:
    """A store's objects, as listings and packs show them."""

    def __init__(self, store: Store, stats: Mapping[str, ObjectStat | None]) -> None:
        self._store = store
        self._stats = stats
        present = Counter(_folder_and_name(uri)[0] for uri, stat in stats.items() if stat is not None)
        self.folders = {folder: _FolderSnapshot(store, folder, count) for folder, count in present.items()}

    def stat(self, uri: str) -> ObjectStat | None:
        return self._stats[uri] if uri in self._stats else self._store.stat(uri)

    def knows(self, uri: str) -> bool:
        return uri in self._stats

    def names(self, uri: str) -> bool:
        return self._stats.get(uri) is not None

    def read(self, uri: str) -> ObjectContent | None:
        if uri not in self._stats:
            return self._store.read(uri)
        return self.entry(uri).read() if self.names(uri) else None

    def entry(self, uri: str) -> _Entry:
        """Return an object that a listing has named."""
        stat = self._stats[uri]
        assert stat is not None
        folder, name = _folder_and_name(uri)
        return _Entry(self.folders[folder], name, stat.version)


class _Entry(NamedTuple):
    """An object of a folder, in the version that a listing has named."""

    folder: _FolderSnapshot
    name: str
    version: str

    @property
    def is_packed(self) -> bool:
        packed = self.folder.load_pack().get(self.name)
        return packed is not None and packed[0] == self.version

    def read(self) -> ObjectContent | None:
        if self.is_packed:
            return ObjectContent(self.folder.load_pack()[self.name][1], self.version)
        return self.folder.read(self.name)

    def read_ahead(self) -> None:
        self.folder.read_ahead(self.name)


class _FolderSnapshot:
    """The small objects of one folder: the entries of its pack, by name with versions, and the objects read besides."""

    def __init__(self, store: Store, folder: str, present: int) -> None:
        self._store = store
        self._folder = folder
        self._pack = f"{folder}/{UPLOADS}/{_PACK}"
        self._packed: dict[str, tuple[str, bytes]] | None = None if present >= _WORTH_A_PACK else {}
        self._ahead: dict[str, ObjectContent] = {}
        self._read: dict[str, ObjectContent] = {}
        self._room = _MOST_BYTES
        self._loading = threading.Lock()

    def read_ahead(self, name: str) -> None:
        if (found := self._store.read(f"{self._folder}/{name}")) is not None:
            self._ahead[name] = found

    def read(self, name: str) -> ObjectContent | None:
        found = self._ahead.pop(name, None) or self._store.read(f"{self._folder}/{name}")
        if found is not None and self._room > 0:
            self._room -= len(found.data)
            self._read[name] = found
        return found

    def write_pack(self) -> None:
        """Write the pack anew, recently read objects first; the pack drops old entries beyond its limit."""
        if len(self._read) < _WORTH_A_PACK:
            return
        entries: dict[str, tuple[str, str]] = {}
        left = _MOST_BYTES
        just_read = [(name, found.version, found.data) for name, found in self._read.items()]
        packed_before = [(name, version, data) for name, (version, data) in self.load_pack().items()]
        for name, version, data in just_read + packed_before:
            text = _text_of(data)
            left -= len(data)
            if text is None or name in entries or left < 0 or len(entries) >= _MOST_PACKED:
                continue
            entries[name] = version, text
        try:
            upload = self._store.upload(self._pack)
            try:
                upload.write(zlib.compress(json.dumps(entries).encode(), 1))
                upload.finish()
                upload.publish(ANY)
            finally:
                upload.discard()
        except StorageError as error:
            logger.info("could not write a pack of sidecars for the next time: %s", error)

    def load_pack(self) -> dict[str, tuple[str, bytes]]:
        """Return the entries of the pack; a missing or strange pack has none."""
        with self._loading:
            if self._packed is None:
                self._packed = {}
                try:
                    found = self._store.read(self._pack)
                    self._packed = _unpacked(found.data) if found is not None else {}
                except (StorageError, zlib.error, ValueError, RecursionError, MemoryError) as error:
                    logger.info("reading the sidecars of %s one by one, as their pack is no use: %r", self._folder, error)
            return self._packed


def _unpacked(data: bytes) -> dict[str, tuple[str, bytes]]:
    """Return version and bytes by name, without the entries that are none.

    Raises:
        ValueError: the bytes are no pack, or one of more than 64 MB.
        zlib.error: the bytes are not compressed.
    """
    inflating = zlib.decompressobj()
    text = inflating.decompress(data, _MOST_BYTES)
    if not inflating.eof:
        raise ValueError("too large, or cut off")
    found: object = json.loads(text)
    entries: dict[str, tuple[str, bytes]] = {}
    for name, entry in found.items() if isinstance(found, dict) else ():
        if isinstance(entry, list) and len(entry) == 2 and all(isinstance(each, str) for each in entry):
            with contextlib.suppress(UnicodeEncodeError):
                entries[name] = entry[0], entry[1].encode()
    return entries


def _text_of(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _folder_and_name(uri: str) -> tuple[str, str]:
    folder, _, name = uri.rpartition("/")
    return folder, name
