"""What stores said of many objects at one moment, in few requests.

Which objects there are, and in which versions, a listing tells. The bytes of small ones, such as sidecars, are read one by
one; where they were many, they are also kept together in one object of their folder, a pack. A pack is only a memory: what
it holds counts where the listing names the very version, so that it may be old, lost or overwritten without harm.
"""

from __future__ import annotations

import json
import logging
import threading
import zlib
from collections.abc import Collection, Iterable, Mapping

from airflow_kart.exceptions import StorageError
from airflow_kart.storage.base import ANY, UPLOADS, Found, ListsInBulk, Lookup, ObjectStat, Store

__all__ = ["Snapshot"]

_WORTH_A_PACK = 100
_MOST_PACKED = 20_000
_PACK = "sidecars.json.z"

logger = logging.getLogger(__name__)


class Snapshot:
    """What listings and packs tell of many objects, so that they need not be asked for one by one.

    It is as old as its making. What it does not know is asked of the stores. Threads may share it.

    Args:
        objects: the uris that are going to be looked at, each with its store.
    """

    def __init__(self, objects: Iterable[tuple[Store, str]]) -> None:
        wanted: dict[Store, list[str]] = {}
        for store, uri in objects:
            wanted.setdefault(store, []).append(uri)
        self._listed: dict[Store, _Listed] = {}
        for store, uris in wanted.items():
            stats = store.stat_by_listing(uris) if isinstance(store, ListsInBulk) else {}
            if stats:
                self._listed[store] = _Listed(store, stats)

    def of(self, store: Store) -> Lookup:
        """Return what the objects of a store are to be looked up with."""
        listed = self._listed.get(store)
        return store if listed is None else listed

    def remember(self, folders: Collection[tuple[Store, str]]) -> None:
        """Keep the small objects that were read together in packs, where they were many.

        Args:
            folders: those in which a pack may be written, each with its store.
        """
        for store, folder in folders:
            if store in self._listed:
                self._listed[store].write_pack(folder)


class _Listed:
    """A store's objects, as far as a listing and packs tell of them."""

    def __init__(self, store: Store, stats: Mapping[str, ObjectStat | None]) -> None:
        self._store = store
        self._stats = stats
        self._read: dict[str, Found] = {}
        self._packs: dict[str, _Pack] = {}
        self._loading = threading.Lock()
        self._present: dict[str, int] = {}
        for uri, stat in stats.items():
            self._present[_folder(uri)] = self._present.get(_folder(uri), 0) + (stat is not None)

    def stat(self, uri: str) -> ObjectStat | None:
        return self._stats[uri] if uri in self._stats else self._store.stat(uri)

    def read(self, uri: str) -> Found | None:
        if uri not in self._stats:
            return self._store.read(uri)
        stat = self._stats[uri]
        if stat is None:
            return None
        found = self._pack(_folder(uri)).get(uri, stat.version)
        if found is None:
            found = self._store.read(uri)
            if found is not None:
                self._read[uri] = found
        return found

    def write_pack(self, folder: str) -> None:
        fresh = {uri: found for uri, found in self._read.items() if _folder(uri) == folder}
        if len(fresh) < _WORTH_A_PACK:
            return
        try:
            self._pack(folder).write(self._store, fresh)
        except StorageError as error:
            logger.info("what was looked up is not kept for the next time: %s", error)

    def _pack(self, folder: str) -> _Pack:
        with self._loading:
            if folder not in self._packs:
                worth = self._present.get(folder, 0) >= _WORTH_A_PACK
                self._packs[folder] = _Pack.read(self._store, folder) if worth else _Pack(folder, {})
            return self._packs[folder]


class _Pack:
    """Small objects of one folder, by name with their versions."""

    def __init__(self, folder: str, entries: dict[str, tuple[str, str]]) -> None:
        self._folder = folder
        self._entries = entries

    @classmethod
    def read(cls, store: Store, folder: str) -> _Pack:
        """Read a folder's pack; one that is not there, or that nobody understands, is empty."""
        try:
            found = store.read(f"{folder}/{UPLOADS}/{_PACK}")
            entries = json.loads(zlib.decompress(found.data)) if found is not None else {}
            return cls(folder, {name: (version, text) for name, (version, text) in entries.items()})
        except (StorageError, zlib.error, ValueError, AttributeError, TypeError) as error:
            logger.info("the sidecars of %s are read one by one: %s", folder, error)
            return cls(folder, {})

    def get(self, uri: str, version: str) -> Found | None:
        packed = self._entries.get(uri.rpartition("/")[2])
        return Found(packed[1].encode(), version) if packed is not None and packed[0] == version else None

    def write(self, store: Store, fresh: Mapping[str, Found]) -> None:
        """Write the pack anew, the given objects first; those that no longer fit in are forgotten."""
        entries = {
            uri.rpartition("/")[2]: (found.version, found.data.decode("utf-8", "replace")) for uri, found in fresh.items()
        }
        for name, entry in self._entries.items():
            if len(entries) < _MOST_PACKED:
                entries.setdefault(name, entry)
        upload = store.upload(f"{self._folder}/{UPLOADS}/{_PACK}")
        try:
            upload.write(zlib.compress(json.dumps(entries).encode(), 1))
            upload.finish()
            upload.publish(ANY)
        finally:
            upload.discard()


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]
