"""Listings and packs in place of many requests, over a store that counts them; and packs that are no packs."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.store_conformance import put

from airflow_kart.exceptions import StorageError
from airflow_kart.storage import MemoryStore, ObjectContent, ObjectStat, Snapshot, snapshot

MANY = 120


class Counting(MemoryStore):
    """A store that lists in bulk, and counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.slow = 0.0

    def stat_by_listing(self, uris: Iterable[str]) -> dict[str, ObjectStat | None]:
        self.asked["list"] += 1
        return {uri: MemoryStore.stat(self, uri) for uri in uris}

    def listed(self, prefix: str) -> Iterator[tuple[str, ObjectStat]]:
        self.asked["list"] += 1
        found = ((uri, MemoryStore.stat(self, uri)) for uri in self.list(prefix))
        return iter([(uri, stat) for uri, stat in found if stat is not None])

    def stat(self, uri: str) -> ObjectStat | None:
        self.asked["stat"] += 1
        return super().stat(uri)

    def read(self, uri: str) -> ObjectContent | None:
        self.asked["pack" if uri.endswith(".z") else "read"] += 1
        time.sleep(self.slow)
        return super().read(uri)

    def counted(self) -> dict[str, int]:
        found, self.asked = dict(self.asked), Counter()
        return found


@pytest.fixture
def store() -> Counting:
    return Counting()


def uri_of(number: int, folder: str = "a") -> str:
    return f"memory://ws/{folder}/{number}.json"


def pack_of(folder: str = "a") -> str:
    return f"memory://ws/{folder}/.kart-uploads/sidecars.json.z"


def fill(store: Counting, *folders: str, number: int = MANY) -> list[str]:
    uris = [uri_of(each, folder) for folder in folders or ("a",) for each in range(number)]
    for uri in uris:
        put(store, uri, f"content of {uri}".encode())
    store.counted()
    return uris


def look(store: Counting, uris: list[str], remember: Iterable[str] = ()) -> dict[str, bytes | None]:
    taken = Snapshot((store, uri) for uri in uris)
    lookup = taken.of(store)
    contents = {uri: lookup.read(uri) for uri in uris}
    taken.remember({(store, f"memory://ws/{folder}") for folder in remember})
    return {uri: content.data if content is not None else None for uri, content in contents.items()}


def test_what_was_read_together_is_read_from_a_pack_the_next_time(store: Counting) -> None:
    uris = fill(store)
    first = look(store, uris, ["a"])
    assert store.counted() == {"list": 1, "pack": 1, "read": MANY}
    assert look(store, uris, ["a"]) == first == {uri: f"content of {uri}".encode() for uri in uris}
    assert store.counted() == {"list": 1, "pack": 1}


def test_each_of_two_folders_has_a_pack_of_its_own(store: Counting) -> None:
    uris = fill(store, "a", "b", "c")
    look(store, uris, ["a", "b", "elsewhere"])
    store.counted()
    assert store.stat(pack_of("a")) and store.stat(pack_of("b"))
    assert store.stat(pack_of("c")) is None
    store.counted()
    assert all(look(store, uris).values())
    assert store.counted() == {"list": 1, "pack": 3, "read": MANY}


def test_an_entry_counts_as_long_as_its_object_is_the_same(store: Counting) -> None:
    uris = fill(store)
    look(store, uris, ["a"])
    put(store, uris[7], b"changed")
    store.remove(uris[8])
    put(store, uri_of(MANY), b"new")
    store.counted()
    found = look(store, [*uris, uri_of(MANY)], ["a"])
    assert (found[uris[7]], found[uris[8]], found[uri_of(MANY)]) == (b"changed", None, b"new")
    assert store.counted() == {"list": 1, "pack": 1, "read": 2}


def test_few_new_entries_leave_the_pack_as_it_is(store: Counting) -> None:
    uris = fill(store)
    look(store, uris, ["a"])
    stat = store.stat(pack_of())
    put(store, uris[0], b"changed")
    look(store, uris, ["a"])
    assert store.stat(pack_of()) == stat


def test_old_entries_leave_a_full_pack(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_MOST_PACKED", 150)
    old, new = fill(store, number=2 * MANY)[:MANY], [uri_of(number) for number in range(MANY, 2 * MANY)]
    look(store, old, ["a"])
    look(store, new, ["a"])
    store.counted()
    look(store, [*new, *old])
    assert store.counted()["read"] == 2 * MANY - 150
    look(store, new)
    assert "read" not in store.counted()


def test_a_pack_has_a_limit_of_bytes_too(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = fill(store)
    monkeypatch.setattr(snapshot, "_MOST_BYTES", 3600)
    look(store, uris, ["a"])
    found = store.read(pack_of())
    assert found is not None
    packed = json.loads(zlib.decompress(found.data))
    assert 3000 < sum(len(text) for _, text in packed.values()) <= 3600


def test_bytes_that_are_no_text_are_read_as_they_are(store: Counting) -> None:
    uris = fill(store)
    put(store, uris[3], b"\xff\x00")
    look(store, uris, ["a"])
    store.counted()
    assert look(store, uris)[uris[3]] == b"\xff\x00"
    assert store.counted() == {"list": 1, "pack": 1, "read": 1}


BOMB = zlib.compress(b'{"0.json":["' + b"x" * (snapshot._MOST_BYTES + 1) + b'",""]}', 9)
NO_PACKS = {
    "empty": b"",
    "not compressed": b"no pack",
    "cut off": zlib.compress(b'{"0.json": ["v", "t"]}')[:-3],
    "a list": zlib.compress(b"[1]"),
    "a number": zlib.compress(b"1e999"),
    "deep": zlib.compress(b"[" * 1_000_000),
    "no text": zlib.compress(b"\xff\xff"),
    "a bomb": BOMB,
    "no object": zlib.compress(b"null"),
    "the rest of JSON": zlib.compress(b'{"0.json": ["v", '),
}


@pytest.mark.parametrize("kind", NO_PACKS)
def test_what_is_no_pack_is_passed_over_and_replaced(store: Counting, kind: str) -> None:
    uris = fill(store)
    put(store, pack_of(), NO_PACKS[kind])
    began = time.monotonic()
    assert all(look(store, uris, ["a"]).values())
    assert time.monotonic() - began < 5
    store.counted()
    look(store, uris)
    assert store.counted() == {"list": 1, "pack": 1}


def test_entries_that_are_none_are_passed_over(store: Counting) -> None:
    uris = fill(store)
    look(store, uris, ["a"])
    found = store.read(pack_of())
    assert found is not None
    entries = json.loads(zlib.decompress(found.data))
    version = entries["0.json"][0]
    for number, strange in enumerate([1, None, [], [version], [version, 5], [version, "\ud800"], {"0": version}, "vt"]):
        entries[f"{number}.json"] = strange
    put(store, pack_of(), zlib.compress(json.dumps(entries).encode()))
    store.counted()
    assert look(store, uris) == {uri: f"content of {uri}".encode() for uri in uris}
    assert store.counted() == {"list": 1, "pack": 1, "read": 8}


def test_a_pack_that_cannot_be_read_or_written_is_no_harm(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StorageError("refused")

    uris = fill(store)
    monkeypatch.setattr(store, "upload", refuse)
    assert all(look(store, uris, ["a"]).values())


def test_threads_read_a_pack_once(store: Counting) -> None:
    uris = fill(store)
    look(store, uris, ["a"])
    store.counted()
    store.slow = 0.02
    lookup, start = Snapshot((store, uri) for uri in uris).of(store), threading.Barrier(8)

    def read(number: int) -> bool:
        start.wait(10)
        return lookup.read(uris[number]) is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert store.counted() == {"list": 1, "pack": 1}


def test_few_objects_need_no_pack(store: Counting) -> None:
    uris = fill(store, number=99)
    assert all(look(store, uris, ["a"]).values())
    assert store.counted() == {"list": 1, "read": 99}


def test_all_below_a_prefix_is_known_from_one_listing(store: Counting) -> None:
    uris = fill(store, "a", "b/c")
    look(store, uris, ["a", "b/c"])
    put(store, "memory://ws/a/note.txt", b"not asked for")
    store.counted()
    stats, lookup = snapshot.listed(store, "memory://ws/", ".json")
    assert set(stats) == set(uris)
    assert [lookup.stat(uri) for uri in uris] == [stats[uri] for uri in uris]
    assert all(lookup.read(uri) for uri in uris)
    assert store.counted() == {"list": 1, "pack": 2}


def test_a_store_that_lists_names_only_is_asked_for_each_object() -> None:
    plain = MemoryStore()
    put(plain, "memory://plain/a.json", b"a")
    stats, lookup = snapshot.listed(plain, "memory://plain/")
    assert stats == {"memory://plain/a.json": plain.stat("memory://plain/a.json")}
    assert lookup is plain


def test_what_was_read_ahead_is_not_asked_for_again(store: Counting) -> None:
    uris = fill(store, "a", "b")
    look(store, uris, ["a"])
    put(store, uris[3], b"changed")
    store.counted()
    taken = Snapshot((store, uri) for uri in [*uris, uri_of(MANY)])
    taken.read_ahead((store, uri) for uri in [*uris, uri_of(MANY), "memory://ws/unlisted/0.json"])
    assert store.counted() == {"list": 1, "pack": 2, "read": 1 + MANY}, "one has changed since the pack of a, and b has none"
    lookup = taken.of(store)
    assert {uri: content.data for uri in uris if (content := lookup.read(uri))} == {
        uri: b"changed" if uri == uris[3] else f"content of {uri}".encode() for uri in uris
    }
    assert lookup.read(uri_of(MANY)) is None
    assert store.counted() == {}
    assert lookup.read(uris[3]) is not None
    assert store.counted() == {"read": 1}, "what was read ahead is handed out once"


def test_reading_ahead_ends_with_the_first_refusal(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = fill(store)
    taken, read = Snapshot((store, uri) for uri in uris), store.read

    def refuse(uri: str) -> ObjectContent | None:
        if uri == uris[5]:
            raise StorageError("refused", uri=uri)
        return read(uri)

    monkeypatch.setattr(store, "read", refuse)
    with pytest.raises(StorageError, match="refused"):
        taken.read_ahead((store, uri) for uri in uris)


def test_what_is_read_ahead_and_not_kept_is_no_loss(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_MOST_BYTES", 100)
    uris = fill(store)
    taken = Snapshot((store, uri) for uri in uris)
    taken.read_ahead((store, uri) for uri in uris)
    assert all(taken.of(store).read(uri) for uri in uris)
    taken.remember({(store, "memory://ws/a")})
    assert store.stat(pack_of()) is None
