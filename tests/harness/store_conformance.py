"""What every store promises, as tests: a level that has stores gives the fixtures ``store``, ``base`` and ``loops``."""

from __future__ import annotations

import datetime as dt
import os
import threading
from typing import Any

import pytest

from airflow_kart.exceptions import ConflictError
from airflow_kart.storage import LOCKS, CopiesFast, Store

__all__ = ["MB", "EveryStore", "get", "put"]

MB = 1 << 20


def put(store: Store, uri: str, data: bytes) -> None:
    upload = store.upload(uri)
    upload.write(data)
    upload.finish()
    upload.publish()


def get(store: Store, uri: str) -> bytes:
    with store.open(uri) as stream:
        return stream.read()


class EveryStore:
    """A test class of a level is a subclass of this one."""

    def test_nothing_is_there_at_first(self, store: Store, base: str) -> None:
        assert store.stat(f"{base}/a/b.bin") is None
        assert list(store.list(f"{base}/")) == []
        assert store.remove(f"{base}/a/b.bin") is False
        with pytest.raises(FileNotFoundError):
            store.open(f"{base}/a/b.bin")

    @pytest.mark.parametrize("data", [b"", b"\0", b"hello", bytes(range(256)) * 4096], ids=len)
    def test_what_was_published_is_there(self, store: Store, base: str, data: bytes) -> None:
        uri = f"{base}/a/b.bin"
        before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=5)
        put(store, uri, data)
        found = store.stat(uri)
        assert found is not None
        assert found.size == len(data)
        assert before < found.modified < dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=5)
        assert get(store, uri) == data

    def test_20_mb_in_pieces(self, store: Store, base: str) -> None:
        upload = store.upload(f"{base}/large")
        piece = os.urandom(MB)
        for number in range(20):
            assert upload.write(memoryview(piece)[number:]) == MB - number
        upload.finish()
        upload.publish()
        assert get(store, f"{base}/large") == b"".join(piece[number:] for number in range(20))

    def test_a_stream_can_seek(self, store: Store, base: str) -> None:
        put(store, f"{base}/x", b"0123456789")
        with store.open(f"{base}/x") as stream:
            assert stream.seekable()
            stream.seek(-3, os.SEEK_END)
            assert stream.read() == b"789"
            stream.seek(2)
            assert stream.read(3) == b"234"

    @pytest.mark.parametrize(
        "name",
        ["a b.txt", "ünïcödé/文件.txt", "a'b\"c.txt", "a+b&c=d.txt", "100%.txt", "%41.txt", "a#b.txt", "a?b.txt", "-.txt"],
    )
    def test_any_name_will_do(self, store: Store, base: str, name: str) -> None:
        uri = f"{base}/{name}"
        put(store, uri, name.encode())
        assert get(store, uri) == name.encode()
        assert list(store.list(f"{base}/")) == [uri]
        assert store.remove(uri)

    def test_an_upload_is_unseen_until_published(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"
        upload = store.upload(uri)
        upload.write(b"data")
        assert store.stat(uri) is None
        upload.finish()
        assert store.stat(uri) is None
        assert list(store.list(f"{base}/")) == []
        upload.publish()
        assert get(store, uri) == b"data"

    def test_a_discarded_upload_leaves_nothing(self, store: Store, base: str) -> None:
        upload = store.upload(f"{base}/a.bin")
        upload.write(b"data" * 1000)
        upload.discard()
        upload.discard()
        assert store.stat(f"{base}/a.bin") is None
        assert list(store.list(f"{base}/")) == []

    def test_a_finished_upload_can_be_discarded(self, store: Store, base: str) -> None:
        put(store, f"{base}/a.bin", b"old")
        upload = store.upload(f"{base}/a.bin")
        upload.write(b"new")
        upload.finish()
        upload.finish()
        upload.discard()
        assert get(store, f"{base}/a.bin") == b"old"

    def test_discarding_after_publishing_is_harmless(self, store: Store, base: str) -> None:
        upload = store.upload(f"{base}/a.bin")
        upload.write(b"data")
        upload.publish()
        upload.discard()
        assert get(store, f"{base}/a.bin") == b"data"

    def test_a_restart_forgets(self, store: Store, base: str) -> None:
        upload = store.upload(f"{base}/a.bin")
        upload.write(b"a long beginning" * 100_000)
        upload.restart()
        upload.write(b"short")
        upload.finish()
        upload.publish()
        assert get(store, f"{base}/a.bin") == b"short"

    def test_publishing_replaces(self, store: Store, base: str) -> None:
        for data in [b"one", b"twenty-two", b""]:
            put(store, f"{base}/a.bin", data)
            assert get(store, f"{base}/a.bin") == data
        assert list(store.list(f"{base}/")) == [f"{base}/a.bin"]

    def test_an_object_is_read_with_its_version(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"
        assert store.read(uri) is None
        put(store, uri, b"one")
        first, stat = store.read(uri), store.stat(uri)
        assert first is not None and stat is not None
        assert (first.data, first.version) == (b"one", stat.version)
        put(store, uri, b"two")
        again = store.read(uri)
        assert again is not None
        assert again.version != first.version

    def test_publishing_may_expect_what_it_replaces(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"

        def try_to_put(data: bytes, expected: Any) -> str:
            upload = store.upload(uri)
            upload.write(data)
            upload.finish()
            try:
                return upload.publish(expected)
            finally:
                upload.discard()

        first = try_to_put(b"one", None)
        with pytest.raises(ConflictError, match="another writer was first"):
            try_to_put(b"two", None)
        assert get(store, uri) == b"one"
        second = try_to_put(b"two", first)
        with pytest.raises(ConflictError):
            try_to_put(b"three", first)
        found = store.read(uri)
        assert found is not None
        assert (found.data, found.version) == (b"two", second)
        store.remove(uri)
        with pytest.raises(ConflictError):
            try_to_put(b"four", second)
        assert store.stat(uri) is None

    def test_after_a_conflict_an_upload_may_be_published_again(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"
        for data in (b"small", b"large" * (4 * MB)):
            store.remove(uri)
            upload = store.upload(uri)
            upload.write(data)
            upload.finish()
            put(store, uri, b"first")
            with pytest.raises(ConflictError):
                upload.publish(None)
            found = store.read(uri)
            assert found is not None
            upload.publish(found.version)
            assert get(store, uri) == data

    def test_one_of_many_that_expect_the_same_publishes(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"
        won: list[int] = []
        start = threading.Barrier(8)

        def write(number: int) -> None:
            upload = store.upload(uri)
            upload.write(bytes([number]) * 100_000)
            upload.finish()
            start.wait()
            try:
                upload.publish(None)
                won.append(number)
            except ConflictError:
                upload.discard()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert get(store, uri) == bytes(won) * 100_000

    def test_who_reads_the_old_object_reads_it_to_the_end(self, store: Store, base: str) -> None:
        put(store, f"{base}/a.bin", b"a" * MB)
        with store.open(f"{base}/a.bin") as stream:
            head = stream.read(10)
            put(store, f"{base}/a.bin", b"b" * MB)
            assert head + stream.read() == b"a" * MB

    def test_readers_see_the_old_object_or_the_new(self, store: Store, base: str, loops: Any) -> None:
        uri = f"{base}/a.bin"
        whole = [bytes([65 + number]) * (MB // 4 + number) for number in range(4)]
        put(store, uri, whole[0])

        def read() -> None:
            assert get(store, uri) in whole
            assert store.stat(uri) is not None

        with loops(read, read, read) as reading:
            for number in range(2000):
                put(store, uri, whole[number % 4])
                if number >= 200 and reading.rounds > 10:  # on a busy machine readers may begin late
                    break
        assert reading.rounds > 10

    def test_one_of_many_writers_wins_whole(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"
        start = threading.Barrier(8)

        def write(letter: int) -> None:
            upload = store.upload(uri)
            start.wait()
            for _ in range(20):
                upload.write(bytes([letter]) * 5000)
            upload.publish()

        threads = [threading.Thread(target=write, args=(letter,)) for letter in b"abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = get(store, uri)
        assert len(found) == 100_000
        assert len(set(found)) == 1
        assert list(store.list(f"{base}/")) == [uri]

    def test_a_copy_is_of_one_version_and_published_like_any_upload(self, store: Store, base: str) -> None:
        if not isinstance(store, CopiesFast):
            pytest.skip("the store copies nothing fast")
        source, uri, data = f"{base}/a/sour ce+%é.bin", f"{base}/b/copy.bin", os.urandom(20 * MB)
        with pytest.raises(FileNotFoundError):
            store.copied(source, uri)
        put(store, source, data)
        upload = store.copied(source, uri, metadata={"unique-id": "1"})
        assert upload is not None
        put(store, source, b"other" * 4 * MB)
        assert store.stat(uri) is None
        assert list(store.list(f"{base}/")) == [source]
        put(store, uri, b"first")
        with pytest.raises(ConflictError):
            upload.publish(None)
        found = store.stat(uri)
        assert found is not None
        assert upload.publish(found.version) == getattr(store.stat(uri), "version", "")
        upload.discard()
        assert get(store, uri) == data
        unwanted = store.copied(source, f"{base}/c")
        assert unwanted is not None
        unwanted.finish()
        unwanted.discard()
        assert sorted(store.list(f"{base}/")) == [source, uri]

    def test_listing_goes_below_a_prefix_only(self, store: Store, base: str) -> None:
        uris = {f"{base}/{name}" for name in ["a/1", "a/b/2", "ab/3", "c"]}
        for uri in uris:
            put(store, uri, b"")
        assert set(store.list(f"{base}/")) == uris
        assert set(store.list(f"{base}/a/")) == {f"{base}/a/1", f"{base}/a/b/2"}

    def test_a_removed_object_is_gone(self, store: Store, base: str) -> None:
        put(store, f"{base}/a", b"x")
        assert store.remove(f"{base}/a") is True
        assert store.remove(f"{base}/a") is False
        assert store.stat(f"{base}/a") is None

    def test_removing_may_expect_what_it_removes(self, store: Store, base: str) -> None:
        uri = f"{base}/a.bin"
        put(store, uri, b"one")
        first = store.stat(uri)
        put(store, uri, b"two")
        second = store.stat(uri)
        assert first is not None and second is not None
        with pytest.raises(ConflictError, match="could not remove"):
            store.remove(uri, first.version)
        assert get(store, uri) == b"two"
        assert store.remove(uri, second.version) is True
        assert store.remove(uri, second.version) is False
        assert store.stat(uri) is None

    def test_no_listing_shows_locks(self, store: Store, base: str) -> None:
        put(store, f"{base}/{LOCKS}/a.json", b"{}")
        put(store, f"{base}/a", b"")
        assert list(store.list(f"{base}/")) == [f"{base}/a"]

    def test_what_lies_around_an_object_is_none(self, store: Store, base: str) -> None:
        put(store, f"{base}/folder/a", b"x")
        assert store.stat(f"{base}/folder/a/b") is None
        assert store.stat(f"{base}/folder/") is None or "local" in type(store).__module__

    def test_a_place_that_can_be_written_to_stays_empty(self, store: Store, base: str) -> None:
        store.check_writable(f"{base}/anywhere")
        assert list(store.list(f"{base}/")) == []
