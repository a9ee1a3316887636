"""What every store promises, kept by S3 and Google Cloud Storage; and what only stores of buckets do."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xxhash
from harness import racing
from harness.bucket_kind import Kind
from harness.counting_proxy import bytes_sent, counting
from harness.http_proxy import Rule, started
from harness.store_conformance import MB, EveryStore, get, put

from airflow_kart.artifacts.checksum import sha256_of
from airflow_kart.exceptions import ConflictError, ObjectChangedError
from airflow_kart.storage import ANY, UPLOADS, BucketStore, Snapshot, Store, store_for
from airflow_kart.storage.buckets.faults import ConflictFault
from airflow_kart.storage.buckets.service import bucket_key_of
from airflow_kart.streams import HashedStream


@pytest.fixture
def store(kind: Kind) -> BucketStore:
    return kind.store()


@pytest.fixture
def base(kind: Kind) -> str:
    return kind.base


class TestBuckets(EveryStore):
    """What every store promises."""


def test_the_service_itself_refuses_to_remove_another_version(store: BucketStore, base: str) -> None:
    uri = f"{base}/a"
    put(store, uri, b"one")
    old = store.stat(uri)
    put(store, uri, b"two")
    assert old is not None
    with pytest.raises(ConflictFault):
        store.service.remove(bucket_key_of(uri), old.version)
    new = store.stat(uri)
    assert new is not None
    store.service.remove(bucket_key_of(uri), new.version)
    store.service.remove(bucket_key_of(uri), new.version)
    assert store.stat(uri) is None


def random_bytes(length: int) -> bytes:
    return os.urandom(MB) * (length // MB) + os.urandom(length % MB)


def test_a_stream_hashes_the_whole_object(store: BucketStore, base: str) -> None:
    for length in (0, 1, 100_000, 8 * MB, 20 * MB + 7):
        data = random_bytes(length)
        put(store, f"{base}/a", data)
        expected = xxhash.xxh3_128_hexdigest(data)
        with store.open(f"{base}/a") as stream:
            assert isinstance(stream, HashedStream)
            assert stream.read(10) == data[:10]
            assert stream.hexdigest() == expected
            assert stream.read() == data[10:]
            assert stream.hexdigest() == expected
        with store.open(f"{base}/a") as stream:
            assert stream.read() == data
            assert stream.hexdigest() == expected  # type: ignore[attr-defined]
        with store.open(f"{base}/a") as stream:
            assert isinstance(stream, HashedStream)
            stream.hash_with("sha256")
            assert stream.read(10) == data[:10]
            assert stream.hexdigest() == sha256_of(stream) == hashlib.sha256(data).hexdigest()
            if length:
                with pytest.raises(ValueError, match="has been read"):
                    stream.hash_with("xxh3")


def test_formats_that_jump_about_can_read(store: BucketStore, base: str) -> None:
    frame = pd.DataFrame({"a": range(100_000), "b": [str(number) for number in range(100_000)]})
    table, archive = io.BytesIO(), io.BytesIO()
    frame.to_parquet(table)
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(50):
            zipped.writestr(f"{number}.bin", bytes([number]) * 300_000)
    put(store, f"{base}/a.parquet", table.getvalue())
    put(store, f"{base}/a.zip", archive.getvalue())
    with store.open(f"{base}/a.parquet") as stream:
        pd.testing.assert_frame_equal(pd.read_parquet(stream), frame)
    with store.open(f"{base}/a.zip") as stream, zipfile.ZipFile(stream) as zipped:
        for number in (49, 0, 25):
            assert zipped.read(f"{number}.bin") == bytes([number]) * 300_000


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_object_that_changes_while_it_is_read_is_not_mixed(store: BucketStore, base: str, change: str) -> None:
    put(store, f"{base}/a", random_bytes(30 * MB))
    with store.open(f"{base}/a") as stream:
        stream.read(10)
        if change == "replaced":
            put(store, f"{base}/a", random_bytes(30 * MB))
        else:
            store.remove(f"{base}/a")
        stream.seek(20 * MB)
        with pytest.raises(ObjectChangedError, match=f"could not read {base}/a: another writer replaced or removed"):
            stream.read()
        with pytest.raises(ObjectChangedError):
            stream.hexdigest()  # type: ignore[attr-defined]


def test_metadata_goes_with_an_object_as_far_as_it_fits(store: BucketStore, base: str) -> None:
    words = {"Unique Id": "abc", "label": "größe 100%", "lines": "a\r\nb\0", "": "x", "long": "é" * 20_000, "late": "x"}
    for name, data in {"small": b"x", "large": random_bytes(9 * MB)}.items():
        upload = store.upload(f"{base}/{name}", metadata=words)
        upload.write(data)
        upload.publish()
        assert get(store, f"{base}/{name}") == data
        kept = metadata_of(store, f"{base}/{name}")
        assert kept["unique-id"] == "abc"
        assert kept["label"] == "gr%C3%B6%C3%9Fe 100%25"
        assert kept["lines"] == "a%0D%0Ab%00"
        assert kept["long"].startswith("%C3%A9")
        assert sum(len(key) + len(value) for key, value in kept.items()) <= store.service.metadata_limit


def metadata_of(store: Any, uri: str) -> dict[str, str]:
    place = bucket_key_of(uri)
    if uri.startswith("s3"):
        found: dict[str, str] = store.service._client.head_object(Bucket=place.bucket, Key=place.key)["Metadata"]
        return found
    from airflow_kart.storage.buckets.gcs import _object

    return dict(store.service._json("GET", _object(place), place)["metadata"])


def test_looking_many_up_by_listing(store: BucketStore, base: str) -> None:
    there = {f"{base}/{folder}/{number}": number for folder in "ab" for number in range(30)}
    for uri, length in there.items():
        put(store, uri, b"x" * length)
    put(store, f"{base}/a/deeper/1", b"")
    listed = [*there, f"{base}/a/missing", f"{base}/b/3/"]
    alone = [f"{base}/c/missing", f"{base}/a/deeper/1"]
    found = store.stat_by_listing([*listed, *alone])
    assert found == {uri: store.stat(uri) for uri in found}
    assert {uri: stat.size for uri, stat in found.items() if stat} == there
    assert f"{base}/a/missing" in found
    assert not found.keys() & set(alone)  # a request for each is cheaper
    snapshot = Snapshot((store, uri) for uri in [*listed, *alone]).of(store)
    assert {uri: snapshot.stat(uri) for uri in [*listed, *alone]} == {uri: store.stat(uri) for uri in [*listed, *alone]}
    assert snapshot.read(f"{base}/a/missing") is None
    assert snapshot.read(f"{base}/a/7") == store.read(f"{base}/a/7")
    store.remove(f"{base}/a/7")
    assert snapshot.stat(f"{base}/a/7") is not None  # as it was
    assert snapshot.read(f"{base}/a/7") is None  # bytes are always asked for


def data_of(store: Any, uri: str) -> bytes:
    return bytes(store.read(uri).data)


def test_many_small_objects_are_remembered_together(store: BucketStore, base: str) -> None:
    bytes_of = {f"{base}/{number}.json": f"ä {number}".encode() for number in range(120)}
    for uri, data in bytes_of.items():
        put(store, uri, data)

    def snapshot() -> Snapshot:
        return Snapshot((store, uri) for uri in bytes_of)

    first = snapshot()
    assert {uri: data_of(first.of(store), uri) for uri in bytes_of} == bytes_of
    first.remember({(store, base)})
    assert sorted(store.list(f"{base}/")) == sorted(bytes_of)  # a pack is not seen

    removed, replaced = f"{base}/7.json", f"{base}/8.json"
    second = snapshot()
    store.remove(removed)
    assert data_of(second.of(store), removed) == bytes_of[removed]  # as it was, and not asked for again
    put(store, replaced, b"new")
    third = snapshot()
    assert third.of(store).read(removed) is None
    assert data_of(third.of(store), replaced) == b"new"

    pack = f"{base}/{UPLOADS}/sidecars.json.z"
    assert store.stat(pack) is not None
    for spoilt in (b"", b"no pack", zlib.compress(b"[1]"), zlib.compress(b'{"9.json": 1}')):
        put(store, pack, spoilt)
        assert data_of(snapshot().of(store), f"{base}/9.json") == bytes_of[f"{base}/9.json"]


def test_what_is_only_read_is_not_remembered_there(store: BucketStore, base: str) -> None:
    for number in range(120):
        put(store, f"{base}/{number}.json", b"x")
    snapshot = Snapshot((store, f"{base}/{number}.json") for number in range(120))
    for number in range(120):
        snapshot.of(store).read(f"{base}/{number}.json")
    snapshot.remember({(store, f"{base}/elsewhere")})
    assert store.stat(f"{base}/{UPLOADS}/sidecars.json.z") is None


def test_a_long_listing_has_many_pages(store: BucketStore, base: str) -> None:
    uris = [f"{base}/{number:04}" for number in range(1050)]
    for uri in uris:
        store.service.put(bucket_key_of(uri), b"", ANY, {})
    assert sorted(store.list(f"{base}/")) == uris
    found = store.stat_by_listing([*uris, f"{base}/x"])
    assert [uri for uri, stat in found.items() if stat is None] == [f"{base}/x"]


def test_a_listing_begins_anywhere(store: BucketStore, base: str) -> None:
    names = ["a", "b", "b c", "b%2Fc", "c+d", "ä", "日"]
    for name in names:
        put(store, f"{base}/{name}", b"x")
    put(store, f"{base}/b/inside", b"x")
    for number, name in enumerate(names):
        place = bucket_key_of(f"{base}/")
        listed = store.service.list(place, None, deep=False, after=place.key + name).entries
        assert [entry.key.removeprefix(place.key) for entry in listed if entry.key > place.key + name] == names[number + 1 :]
        assert len(listed) <= len(names) - number


def test_stores_travel_by_pickle(store: BucketStore, base: str) -> None:
    put(store, f"{base}/a", b"x")
    assert get(pickle.loads(pickle.dumps(store)), f"{base}/a") == b"x"


def test_a_store_crosses_a_fork(store: BucketStore, base: str) -> None:
    put(store, f"{base}/a", b"x")
    child = os.fork()
    if not child:  # no test may go on here, whatever happens
        try:
            put(store, f"{base}/b", get(store, f"{base}/a"))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert get(store, f"{base}/b") == b"x"


def test_a_uri_may_name_the_connection(kind: Kind) -> None:
    made = kind.store()
    conn_id = made.aws_conn_id if kind.name == "s3" else made.gcp_conn_id  # type: ignore[attr-defined]
    uri = f"{kind.base.replace('://', f'://{conn_id}@')}/a"
    put(store_for(uri), uri, b"x")
    assert get(made, f"{kind.base}/a") == b"x"
    assert list(store_for(uri).list(uri[:-1])) == [uri]
    assert store_for(uri) is store_for(uri)
    named: Any = {"aws_conn_id" if kind.name == "s3" else "gcp_conn_id": conn_id}
    assert store_for(kind.base, **named) is store_for(uri)


# Uploads.


def test_an_upload_publishes_once(store: BucketStore, base: str) -> None:
    upload = store.upload(f"{base}/a")
    upload.write(b"x")
    version = upload.publish(None)
    assert upload.publish(None) == version
    assert get(store, f"{base}/a") == b"x"


def test_a_large_upload_leaves_nothing_but_its_object(store: BucketStore, base: str) -> None:
    data = random_bytes(40 * MB + 5)
    uri = f"{base}/folder/large"
    put(store, uri, data)
    assert get(store, uri) == data
    restarted = store.upload(uri)
    restarted.write(data)
    restarted.restart()
    restarted.write(data[: 17 * MB])
    restarted.publish()
    assert get(store, uri) == data[: 17 * MB]
    discarded = store.upload(uri)
    discarded.write(data)
    discarded.discard()
    with pytest.raises(ValueError, match="discarded"):
        discarded.publish()
    assert list(store.abandoned_uploads(f"{base}/")) == []
    assert everything_below(store, base) == [uri]


def everything_below(store: BucketStore, base: str) -> list[str]:
    """Everything that the service lists, hidden things too."""
    place = bucket_key_of(f"{base}/")
    listed = store.service.list(place, None).entries
    return [f"{base.partition('://')[0]}://{place.bucket}/{entry.key}" for entry in listed]


@pytest.mark.parametrize("kind", ["gcs"], indirect=True)
def test_more_parts_than_one_request_composes(store: BucketStore, base: str) -> None:
    data = random_bytes(8 * MB) * 34
    put(store, f"{base}/a", data)
    with store.open(f"{base}/a") as stream:
        assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(data)  # type: ignore[attr-defined]
    assert everything_below(store, base) == [f"{base}/a"]


@pytest.mark.parametrize("size", [8 * MB + 1, 16 * MB, 33 * MB + 7])
def test_a_copy_inside_the_service_moves_no_bytes_here(kind: Kind, size: int) -> None:
    data = random_bytes(size)
    put(kind.store(), f"{kind.base}/a", data)
    with counting(kind.address) as proxy:
        store = kind.store(proxy)
        if kind.name == "s3":
            store.service.copied_at_once = 8 * MB  # in parts, of which the last one is short
        upload = store.copied(f"{kind.base}/a", f"{kind.base}/b", metadata={"unique-id": "1"})
        assert upload is not None
        upload.publish(None)
        assert bytes_sent(proxy) < 100_000
    store = kind.store()
    assert get(store, f"{kind.base}/b") == data
    assert metadata_of(store, f"{kind.base}/b")["unique-id"] == "1"
    assert everything_below(store, kind.base) == [f"{kind.base}/a", f"{kind.base}/b"]
    assert list(store.abandoned_uploads(f"{kind.base}/")) == []


COPYING = {
    "s3": {"method": "PUT", "path": ".*partNumber=.*", "body": "<Error><Code>NotImplemented</Code></Error>"},
    "gcs": {"method": "POST", "path": ".*/rewriteTo/.*"},
}


def test_who_refuses_to_copy_lets_the_bytes_be_read(kind: Kind) -> None:
    data = random_bytes(9 * MB)
    put(kind.store(), f"{kind.base}/a", data)
    status = 501 if kind.name == "s3" else 403
    rules: Any = COPYING[kind.name]
    with started(kind.address, Rule("answer", status=status, **rules)) as proxy:
        store = kind.store(proxy)
        assert store.copied(f"{kind.base}/a", f"{kind.base}/b") is None
    with started(kind.address, Rule("answer", status=503, times=2, **{**rules, "body": ""})) as proxy:
        upload = kind.store(proxy).copied(f"{kind.base}/a", f"{kind.base}/b")
        assert upload is not None
        upload.discard()
    store = kind.store()
    assert store.copied(f"{kind.base}/a", f"{kind.base}/b") is not None  # and never published
    put(store, f"{kind.base}/small", b"x")
    assert store.copied(f"{kind.base}/small", f"{kind.base}/b") is None
    assert [upload.uri for upload in store.abandoned_uploads(f"{kind.base}/")] == [f"{kind.base}/b"]
    assert store.stat(f"{kind.base}/b") is None


def test_an_object_that_is_replaced_before_it_is_copied_is_not_copied(kind: Kind) -> None:
    store: Any = kind.store()
    put(store, f"{kind.base}/a", random_bytes(9 * MB))
    begin = store.service.begin

    def replaced_first(*given: Any) -> str:
        del store.service.begin
        put(store, f"{kind.base}/a", random_bytes(9 * MB))
        return str(begin(*given))

    store.service.begin = replaced_first
    assert store.copied(f"{kind.base}/a", f"{kind.base}/b") is None
    assert everything_below(store, kind.base) == [f"{kind.base}/a"]
    assert list(store.abandoned_uploads(f"{kind.base}/")) == []


KILLED = """
import os, signal, sys, time
from airflow_kart.storage import store_for, Snapshot
store = store_for(sys.argv[1])
if sys.argv[2] == "copied":
    upload = store.copied(sys.argv[1] + ".source", sys.argv[1])
else:
    upload = store.upload(sys.argv[1])
    for _ in range(20):
        upload.write(bytes(1 << 20))
upload.finish()
print("written", flush=True)
time.sleep(60)
"""


def test_a_killed_writer_leaves_nothing_to_see_and_can_be_tidied_up_after(kind: Kind) -> None:
    store = kind.store()
    conn_id = store.aws_conn_id if kind.name == "s3" else store.gcp_conn_id  # type: ignore[attr-defined]
    uri = f"{kind.base}/folder/large.bin"
    put(store, uri, b"old")
    put(store, f"{uri}.source", random_bytes(9 * MB))
    before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=5)
    for how in ("written", "copied"):
        command = [sys.executable, "-c", KILLED, uri.replace("://", f"://{conn_id}@"), how]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert "written\n" in writer.stdout
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert get(store, uri) == b"old"
    assert sorted(store.list(f"{kind.base}/")) == [uri, f"{uri}.source"]
    left = list(store.abandoned_uploads(f"{kind.base}/"))
    assert [upload.uri for upload in left] == [uri, uri]
    assert all(before < upload.begun < before + dt.timedelta(minutes=2) for upload in left)
    assert list(store.abandoned_uploads(f"{kind.base}/elsewhere/")) == []
    assert store.abort_abandoned(f"{kind.base}/", dt.timedelta(hours=1)) == 0
    assert len(list(store.abandoned_uploads(f"{kind.base}/"))) == 2
    time.sleep(0.1)
    assert store.abort_abandoned(f"{kind.base}/", dt.timedelta()) == 2
    assert list(store.abandoned_uploads(f"{kind.base}/")) == []
    assert everything_below(store, kind.base) == [uri, f"{uri}.source"]


def test_a_lost_upload_is_named(store: BucketStore, base: str) -> None:
    upload = store.upload(f"{base}/a")
    upload.write(random_bytes(9 * MB))
    upload.finish()
    assert store.abort_abandoned(f"{base}/", dt.timedelta(seconds=-5)) == 1
    with pytest.raises(Exception, match=f"could not publish {base}/a: its parts are gone.*run the task again"):
        upload.publish()
    assert store.stat(f"{base}/a") is None


@pytest.mark.parametrize(("rounds", "length"), [(100, 1000), (6, 9 * MB)], ids=["small", "large"])
def test_of_two_processes_that_expect_the_same_one_publishes(kind: Kind, rounds: int, length: int) -> None:
    store = kind.store()
    uri = f"{kind.base}/contested"
    context = multiprocessing.get_context("spawn")
    barrier, outcomes = context.Barrier(2), context.Queue()
    writers = [
        context.Process(target=racing.race, args=(store, uri, number, rounds, length, barrier, outcomes))
        for number in range(2)
    ]
    for writer in writers:
        writer.start()
    found = [outcomes.get(timeout=300) for _ in range(2 * rounds)]
    for writer in writers:
        writer.join(60)
    winners = {round_: [number for r, number, won in found if won and r == round_] for round_ in range(rounds)}
    assert all(len(won) == 1 for won in winners.values()), winners
    # What each winner left was read whole by both in the round after; the last one's is looked at here.
    assert get(store, uri) == racing.content(rounds - 1, winners[rounds - 1][0], length)
    assert {number for (number,) in winners.values()} == {0, 1} or rounds < 20


def test_a_probe_leaves_no_trace(store: BucketStore, base: str) -> None:
    store.check_writable(base)
    assert everything_below(store, base) == []
    put(store, f"{base}/{UPLOADS}/x", b"")
    assert list(store.list(f"{base}/")) == []


def test_a_conflict_says_what_to_expect(store: BucketStore, base: str) -> None:
    put(store, f"{base}/a", b"x")
    upload = store.upload(f"{base}/a")
    upload.write(b"y")
    with pytest.raises(ConflictError, match=f"could not publish {base}/a: another writer was first"):
        upload.publish(None)
    upload.discard()


def test_threads_share_a_store(store: Store, base: str, loops: Any, tmp_path: Path) -> None:
    data = random_bytes(3 * MB)
    put(store, f"{base}/a", data)

    def read() -> None:
        assert get(store, f"{base}/a") == data

    with loops(*[read] * 8) as reading:
        deadline = time.monotonic() + 30
        while reading.rounds < 40 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert reading.rounds >= 40
