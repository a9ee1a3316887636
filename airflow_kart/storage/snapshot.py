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

from airflow_kart.exceptions import StorageError
from airflow_kart.storage.base import ANY, UPLOADS, ListsInBulk, Lookup, ObjectContent, ObjectStat, Store

__all__ = ["Snapshot"]

_WORTH_A_PACK = 100
_MOST_PACKED = 20_000
_PACK = "sidecars.json.z"
_LARGEST = 1 << 30  # bytes, unpacked

logger = logging.getLogger(__name__)


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

    def read(self, uri: str) -> ObjectContent | None:
        if uri not in self._stats:
            return self._store.read(uri)
        stat = self._stats[uri]
        if stat is None:
            return None
        folder, name = _folder_and_name(uri)
        return self.folders[folder].read(name, stat.version)


class _FolderSnapshot:
    """The small objects of one folder: the entries of its pack, by name with versions, and the objects read besides."""

    def __init__(self, store: Store, folder: str, present: int) -> None:
        self._store = store
        self._folder = folder
        self._pack = f"{folder}/{UPLOADS}/{_PACK}"
        self._packed: dict[str, tuple[str, str]] | None = None if present >= _WORTH_A_PACK else {}
        self._read: dict[str, ObjectContent] = {}
        self._loading = threading.Lock()

    def read(self, name: str, version: str) -> ObjectContent | None:
        packed = self._from_pack().get(name)
        if packed is not None and packed[0] == version:
            return ObjectContent(packed[1].encode(), version)
        found = self._store.read(f"{self._folder}/{name}")
        if found is not None:
            self._read[name] = found
        return found

    def write_pack(self) -> None:
        """Write the pack anew, recently read objects first; the pack drops old entries beyond its limit."""
        if len(self._read) < _WORTH_A_PACK:
            return
        entries: dict[str, tuple[str, str]] = {}
        for name, found in self._read.items():
            with contextlib.suppress(UnicodeDecodeError):  # no JSON then, and too strange to be remembered
                entries[name] = (found.version, found.data.decode())
        for name, entry in self._from_pack().items():
            if len(entries) < _MOST_PACKED:
                entries.setdefault(name, entry)
        try:
            upload = self._store.upload(self._pack)
            try:
                upload.write(zlib.compress(json.dumps(entries).encode(), 1))
                upload.finish()
                upload.publish(ANY)
            finally:
                upload.discard()
        except StorageError as error:
            logger.info("what was looked up is not kept for the next time: %s", error)

    def _from_pack(self) -> dict[str, tuple[str, str]]:
        """Return the entries of the pack; a missing or strange pack has none."""
        with self._loading:
            if self._packed is None:
                self._packed = {}
                try:
                    found = self._store.read(self._pack)
                    self._packed = {} if found is None else _unpacked(found.data)
                except (StorageError, zlib.error, ValueError, RecursionError) as error:
                    logger.info("the sidecars of %s are read one by one: %s", self._folder, error)
            return self._packed


def _unpacked(data: bytes) -> dict[str, tuple[str, str]]:
    """Return the entries of a pack.

    Raises:
        zlib.error: the bytes are not compressed.
        ValueError: the content is not a pack, or is too large for one.
    """
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, _LARGEST)
    if not decompressor.eof:
        raise ValueError("the pack is cut off, or too large")
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise ValueError("the pack is not a JSON object")
    found: dict[str, tuple[str, str]] = {}
    for name, entry in entries.items():
        if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(part, str) for part in entry):
            raise ValueError("the pack has an entry that is not a version and a text")
        entry[1].encode()  # raises for lone surrogates
        found[name] = (entry[0], entry[1])
    return found


def _folder_and_name(uri: str) -> tuple[str, str]:
    folder, _, name = uri.rpartition("/")
    return folder, name
