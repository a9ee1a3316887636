"""What the stores of buckets are made of, without a service: streams of blocks, retries, metadata, parts."""

from __future__ import annotations

import io
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kart.connections import PerProcess, safe_cause, without_passwords
from airflow_kart.exceptions import StorageError
from airflow_kart.storage.buckets.faults import ExpiredFault, RefusedFault, Retries, TransientFault
from airflow_kart.storage.buckets.metadata import UPLOAD_KEY, fitted
from airflow_kart.storage.buckets.parts import PART, Parts, part_size
from airflow_kart.storage.buckets.ranged import BLOCK, Ranged, RangedStream
from airflow_kart.storage.buckets.service import BucketKey, bucket_key_of

MB = 1 << 20
DATA = random.Random(1).randbytes(MB) * 75 + b"the end"


class Source:
    """Bytes that are fetched, and how many of them were, and how many at once."""

    def __init__(self, data: bytes, seconds: float = 0) -> None:
        self.data, self.seconds = data, seconds
        self.fetched: list[tuple[int, int]] = []
        self.at_once: list[int] = []
        self.under_way = 0
        self.ended = False
        self.fails = 0
        self._lock = threading.Lock()

    def fetch(self, start: int, view: memoryview) -> None:
        with self._lock:
            self.under_way += 1
            self.at_once.append(self.under_way)
            self.fetched.append((start, len(view)))
            fails, self.fails = self.fails, max(0, self.fails - 1)
        time.sleep(self.seconds)
        with self._lock:
            self.under_way -= 1
        if fails:
            raise StorageError("could not read")
        assert start + len(view) <= len(self.data)
        view[:] = self.data[start : start + len(view)]

    def end(self) -> None:
        self.ended = True

    def stream(self, at_hand: bool = False) -> RangedStream:
        return RangedStream(Ranged(len(self.data), self.fetch, at_hand, self.end))

    @property
    def bytes_fetched(self) -> int:
        return sum(length for _, length in self.fetched)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, len(DATA) + 10)),
        st.tuples(st.just("back"), st.integers(0, len(DATA))),
        st.tuples(st.just("read"), st.one_of(st.integers(0, 300), st.integers(0, 20 * MB), st.just(BLOCK), st.just(-1))),
        st.tuples(st.just("readinto"), st.integers(0, 10 * MB)),
        st.tuples(st.just("line"), st.just(0)),
        st.tuples(st.just("hash"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(moves=MOVES, length=st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, len(DATA)]))
def test_a_ranged_stream_reads_like_a_file(moves: list[tuple[str, int]], length: int) -> None:
    data = DATA[:length]
    file = io.BytesIO(data)
    with Source(data).stream() as stream:
        for move, number in moves:
            if move == "seek":
                assert stream.seek(number) == file.seek(number)
            elif move == "back":
                offset = min(number, length)
                assert stream.seek(-offset, os.SEEK_END) == file.seek(-offset, os.SEEK_END)
            elif move == "read":
                assert stream.read(number) == file.read(number)
            elif move == "readinto":
                mine, other = bytearray(number), bytearray(number)
                assert stream.readinto(mine) == file.readinto(other)
                assert mine == other
            elif move == "line":
                assert stream.readline(1000) == file.readline(1000)
            else:
                assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(data)
            assert stream.tell() == file.tell()


def test_reading_on_fetches_every_byte_once_and_a_few_blocks_in_advance() -> None:
    source = Source(DATA, seconds=0.02)
    with source.stream() as stream:
        while stream.read(MB):
            pass
        assert source.bytes_fetched == len(DATA)
        assert 2 <= max(source.at_once) <= 4
        assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(DATA)
        assert source.bytes_fetched == len(DATA), "hashing costs no second download"
    assert source.ended


def test_reading_all_at_once_fetches_every_byte_once() -> None:
    source = Source(DATA)
    with source.stream() as stream:
        assert stream.read() == DATA
        assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(DATA)
    assert source.bytes_fetched == len(DATA)


def test_jumping_about_fetches_little() -> None:
    source = Source(DATA)
    with source.stream() as stream:
        for offset in (70 * MB, 10 * MB, 50 * MB, 30 * MB):
            stream.seek(offset)
            assert stream.read(1000) == DATA[offset : offset + 1000]
        assert source.bytes_fetched <= 4 * (256 << 10)
        stream.seek(-8, os.SEEK_END)
        assert stream.read() == DATA[-8:]
        stream.seek(20 * MB)
        assert stream.read(10 * MB) == DATA[20 * MB : 30 * MB]
    assert source.bytes_fetched <= MB + 8 * MB + 3 * BLOCK


def test_few_blocks_are_held() -> None:
    source = Source(DATA, seconds=0.002)
    with source.stream() as stream:
        for _ in range(3):
            stream.seek(0)
            while stream.read(BLOCK):
                held = stream.raw._blocks  # type: ignore[attr-defined]
                assert len(held) <= 6


def test_a_failed_read_can_be_tried_again() -> None:
    source = Source(DATA[: 3 * BLOCK])
    source.fails = 1
    with source.stream() as stream:
        with pytest.raises(StorageError):
            stream.read(10)
        assert stream.read(10) == DATA[:10]
        assert stream.hexdigest() == xxhash.xxh3_128_hexdigest(source.data)


def test_a_closed_stream_is_closed() -> None:
    source = Source(DATA, seconds=0.01)
    stream = source.stream()
    stream.read(20 * MB)
    stream.close()
    stream.close()
    assert source.ended
    for act in (stream.read, stream.tell, stream.hexdigest):
        with pytest.raises(ValueError, match="closed"):
            act()


def test_no_position_is_below_zero() -> None:
    with Source(b"abc").stream() as stream, pytest.raises(ValueError, match="negative seek"):
        stream.seek(-4, os.SEEK_END)


# Retries.


def failing(times: int, fault: Exception) -> tuple[list[int], object]:
    made: list[int] = []

    def request() -> str:
        made.append(1)
        if len(made) <= times:
            raise fault
        return "done"

    return made, request


@pytest.mark.parametrize("times", [0, 1, 3])
def test_what_is_transient_is_tried_again(times: int) -> None:
    made, request = failing(times, TransientFault("slow down"))
    assert Retries(3).call("read x", request) == "done"  # type: ignore[arg-type]
    assert len(made) == times + 1


def test_there_is_an_end_to_trying() -> None:
    made, request = failing(9, TransientFault("slow down"))
    with pytest.raises(TransientFault, match="slow down"):
        Retries(2).call("read x", request)  # type: ignore[arg-type]
    assert len(made) == 3


def test_what_is_refused_is_not_tried_again() -> None:
    made, request = failing(9, RefusedFault("no"))
    with pytest.raises(RefusedFault):
        Retries(5).call("read x", request)  # type: ignore[arg-type]
    assert len(made) == 1


def test_credentials_are_renewed_once() -> None:
    renewed: list[object] = []
    made, request = failing(1, ExpiredFault("old", "client"))
    assert Retries(0).call("read x", request, lambda fault: renewed.append(fault.client)) == "done"  # type: ignore[arg-type]
    assert renewed == ["client"]
    made, request = failing(9, ExpiredFault("old", "client"))
    with pytest.raises(ExpiredFault):
        Retries(5).call("read x", request, renewed.append)  # type: ignore[arg-type]
    assert len(made) == 2


def test_each_pause_is_longer_and_told(caplog: pytest.LogCaptureFixture) -> None:
    _, request = failing(3, TransientFault("slow down"))
    began = time.monotonic()
    Retries(3).call("read s3://b/k", request)  # type: ignore[arg-type]
    assert 0.05 + 0.1 + 0.2 <= time.monotonic() - began < 3
    assert "could not read s3://b/k: slow down; trying again in 0.1 s (1 of 3)" in caplog.messages


@pytest.mark.parametrize(("text", "most"), [("0", 0), ("7", 7)])
def test_retries_are_an_option(monkeypatch: pytest.MonkeyPatch, text: str, most: int) -> None:
    monkeypatch.setenv("AIRFLOW__KART__STORAGE_RETRIES", text)
    assert Retries()._most == most


# Metadata.

TEXT = st.text(max_size=300)


@given(metadata=st.dictionaries(TEXT, TEXT, max_size=12), limit=st.integers(60, 3000))
def test_metadata_always_fits_and_is_plain(metadata: dict[str, str], limit: int) -> None:
    found = fitted(metadata, "0" * 32, limit)
    assert found[UPLOAD_KEY] == "0" * 32
    assert sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) <= limit
    for key, value in found.items():
        assert key.isascii() and key == key.lower()
        assert value.isascii() and (not value or value.isprintable()) and value == value.strip()


def test_nobody_takes_the_tokens_place() -> None:
    assert fitted({"Kart Upload": "x", "a": "b"}, "token", 100) == {UPLOAD_KEY: "token", "a": "b"}


# Parts.


def test_parts_are_few_at_once_and_in_order() -> None:
    lock, under_way, most = threading.Lock(), [], []

    def send(number: int, data: bytes) -> str:
        with lock:
            under_way.append(number)
            most.append(len(under_way))
        time.sleep(0.01)
        with lock:
            under_way.remove(number)
        return f"{number}:{len(data)}"

    parts = Parts(send)
    for length in range(20):
        parts.add(bytes(length))
    assert parts.finish() == [f"{number}:{number - 1}" for number in range(1, 21)]
    assert 2 <= max(most) <= 4


def test_a_part_that_fails_stops_the_rest() -> None:
    def send(number: int, _data: bytes) -> str:
        if number == 2:
            raise StorageError("no")
        return "sent"

    parts = Parts(send)
    with pytest.raises(StorageError, match="no"):
        for _ in range(1000):
            parts.add(b"x")
    with pytest.raises(StorageError, match="no"):
        parts.finish()
    parts.stop()


def test_ten_thousand_parts_are_enough() -> None:
    assert part_size(1) == PART
    assert sum(map(part_size, range(1, 10_001))) > 300 << 30


# The rest.


def test_a_value_is_made_once_in_a_process() -> None:
    made: list[object] = []

    def make() -> object:
        time.sleep(0.01)
        made.append(object())
        return made[-1]

    value = PerProcess(make)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: value.get(), range(8)))
        assert found == set(made)
        assert len(made) == 1
        list(pool.map(lambda _: value.renew(made[0]), range(8)))
    assert len(made) == 2
    assert value.get() is made[1]


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://b/k", BucketKey("b", "k")),
        ("s3://conn@b/k/l", BucketKey("b", "k/l")),
        ("gs://b", BucketKey("b", "")),
        ("s3://b/a@b#c?d%41", BucketKey("b", "a@b#c?d%41")),
    ],
)
def test_a_uri_names_a_bucket_and_a_key(uri: str, place: BucketKey) -> None:
    assert bucket_key_of(uri) == place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at http://user:secret@host:1/b, twice", "at http://***@host:1/b, twice"),
        ("https://token@host and https://a:b@c/d", "https://***@host and https://***@c/d"),
        ('proxy URL: "http://u:p@ss/w@host:8080"', 'proxy URL: "http://***@host:8080"'),
        ("redis://:secret@host/0", "redis://***@host/0"),
        ("s3://conn@bucket/a:b@c", "s3://conn@bucket/a:b@c"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("somebody@example.org: no", "somebody@example.org: no"),
    ],
)
def test_passwords_in_addresses_are_left_out(text: str, expected: str) -> None:
    assert without_passwords(text) == expected
    assert str(TransientFault(text)) == expected


def test_causes_that_tell_a_password_are_left_out() -> None:
    harmless, telling = ValueError("no"), ValueError("http://a:b@c")
    assert safe_cause(harmless) is harmless
    assert safe_cause(telling) is None
    harmless.__context__ = telling
    assert safe_cause(harmless) is None
