"""The checksum of an artifact, made while it is written and while it is read."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from test_formats import Memory

from airflow_kart.artifacts import reading
from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import CorruptArtifactError, FormatError
from airflow_kart.formats import format_for, trusts_bytes
from airflow_kart.formats.large_frame import LargeFrameFormat
from airflow_kart.storage import LocalStore, MemoryStore

SIZES = st.sampled_from([0, 1, 100, 127 << 10, 128 << 10, 300_000, 4 << 20, (4 << 20) + 1])


@given(st.lists(SIZES, max_size=30), st.sampled_from([bytes, bytearray, memoryview, np.frombuffer]))
def test_whatever_is_written_is_hashed_in_order(sizes: list[int], kind: Any) -> None:
    memory: Any = Memory()
    stream = ChecksumStream(memory)
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        if kind is np.frombuffer and size:
            assert stream.write(np.frombuffer(data, dtype=np.uint8)) == size
        else:
            assert stream.write(data if kind is np.frombuffer else kind(data)) == size
    assert stream.hexdigest == hashlib.sha256(memory.buffer.getvalue()).hexdigest()
    assert stream.size == sum(sizes)
    stream.close()


def test_a_chunk_is_its_writers_again_when_it_is_written() -> None:
    memory: Any = Memory()
    stream = ChecksumStream(memory)
    chunk = bytearray(1 << 20)
    for number in range(40):
        chunk[:] = bytes([number]) * len(chunk)
        stream.write(chunk)
    assert stream.hexdigest == hashlib.sha256(memory.buffer.getvalue()).hexdigest()
    stream.close()


def test_a_stream_that_starts_again_forgets_what_it_hashed() -> None:
    memory: Any = Memory()
    stream = ChecksumStream(memory)
    for _ in range(20):
        stream.write(b"x" * (1 << 20))
    stream.restart()
    stream.write(b"y" * (1 << 20))
    assert stream.size == 1 << 20
    assert stream.hexdigest == hashlib.sha256(b"y" * (1 << 20)).hexdigest()
    stream.close()


def hashing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("kart-sha256")]


@pytest.mark.parametrize("good", [True, False])
def test_no_thread_outlives_a_dump(tmp_path: Path, good: bool) -> None:
    target = Target(str(tmp_path / "a.pkl"), format_for("a.pkl"), LocalStore())
    large = [np.arange(1 << 20), np.arange(100_000)]
    if good:
        target.dump(large)
        target.load()
    else:
        with pytest.raises(FormatError):
            target.dump([*large, (letter for letter in "ab")])
        assert not list(tmp_path.glob("*.pkl"))
    assert hashing_threads() == []


class Watched:
    """A format that counts how often it decodes."""

    name = "watched"

    def __init__(self, *, trusts: bool | None) -> None:
        self.decoded: list[bytes] = []
        if trusts is not None:
            self.trusts_bytes = trusts

    def dump(self, obj: Any, stream: Any) -> None:
        stream.write(obj)

    def load(self, stream: Any) -> bytes:
        self.decoded.append(stream.read())
        return self.decoded[-1]


@pytest.mark.parametrize("trusts", [True, False, None])
@pytest.mark.parametrize("place", ["disk", "memory", "network"])
def test_bytes_are_verified_before_a_decoder_that_trusts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusts: bool | None, place: str
) -> None:
    monkeypatch.setattr("airflow_kart.artifacts.reading._SMALL", 0)
    store: Any = MemoryStore() if place == "memory" else LocalStore()
    if place == "network":
        monkeypatch.setattr(LocalStore, "open", lambda self, uri: Unseekable(Path(uri).read_bytes()))
    target = Target("memory://watched/a.bin" if place == "memory" else f"{tmp_path}/a.bin", Watched(trusts=trusts), store)
    target.dump(b"x" * 1000)
    assert target.load() == b"x" * 1000
    damaged = b"x" * 999 + b"y"
    if place == "memory":
        monkeypatch.setattr(store, "open", lambda uri: io.BytesIO(damaged))
    else:
        Path(target.uri).write_bytes(damaged)
    with pytest.raises(CorruptArtifactError):
        target.load()
    assert (damaged in target.format.decoded) == (trusts is False)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("size", "decoded"), [(8 << 20, 0), ((8 << 20) + 1, 1)], ids=["small", "large"])
def test_up_to_8_mib_are_verified_before_any_decoder_and_more_beside_it(tmp_path: Path, size: int, decoded: int) -> None:
    target = Target(f"{tmp_path}/a.bin", Watched(trusts=False), LocalStore())
    target.dump(b"x" * size)
    Path(target.uri).write_bytes(b"x" * (size - 1) + b"y")
    with pytest.raises(CorruptArtifactError):
        target.load()
    assert len(target.format.decoded) == decoded * 2  # type: ignore[attr-defined]  # a garbled transfer is read once more


def test_bytes_that_can_be_read_again_are_not_copied(tmp_path: Path) -> None:
    data = b"some bytes" * 1000
    (tmp_path / "a").write_bytes(data)
    expected = xxhash.xxh3_128(data).hexdigest()
    with (tmp_path / "a").open("rb") as stream, reading._in_a_file(stream) as (file, checksum):
        assert file is stream
        assert (file.tell(), file.read(), checksum) == (0, data, expected)
    memory = io.BytesIO(data)
    with reading._in_a_file(memory) as (file, checksum):
        assert file is memory
        assert (file.tell(), file.read(), checksum) == (0, data, expected)
    with reading._in_a_file(io.BufferedReader(OverANetwork(data))) as (file, checksum):
        assert file.fileno() >= 0
        assert (file.tell(), file.read(), checksum) == (0, data, expected)


class OverANetwork(io.RawIOBase):
    """A stream that is read in order, once."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(buffer)


class Unseekable(io.BytesIO):
    """A stream over a network, which is read in order, once; only what it is rewound to may be read again."""

    def fileno(self) -> int:
        raise OSError


def test_formats_say_whether_their_decoders_are_safe() -> None:
    safe = {"a.csv", "a.tsv", "a.json", "a.ndjson", "a.txt", "a.ini", "a.xml", "a.csv.gz", "a.gz", "a.json.gz"}
    trusting = {"a.feather", "a.parquet", "a.pkl", "a.pkl.gz", "a.npz", "a.zip", "a.png", "a.jpg"}
    assert {name for name in safe | trusting if trusts_bytes(format_for(name))} == trusting
    assert trusts_bytes(LargeFrameFormat())
