"""Mutated sidecars, packs and records of locks: never a raw exception, never other data, never a hang.

``KART_MUTATIONS`` says how many of each kind; the figure in the docs is of 20,000.
"""

from __future__ import annotations

import json
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from harness.lock_words import Words
from harness.mutations import mutated, mutated_bytes, mutated_json

from airflow_kart import IntParameter, Target, TaskInstanceParameter, TaskOnKart, build
from airflow_kart.artifacts.state import look_at
from airflow_kart.exceptions import KartError
from airflow_kart.locks.base import Holder, Taken
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import LocalStore
from airflow_kart.storage.snapshot import _StoreSnapshot
from airflow_kart.tasks.completeness import is_complete
from airflow_kart.views import table, tree

COUNT = int(os.environ.get("KART_MUTATIONS", "60"))
FRAME = pd.DataFrame({"number": [1, 2, 3], "text": ["1", "2", "003"]})


class Source(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)


class Fuzzed(TaskOnKart[Any]):
    n: int = IntParameter(default=3)
    source: TaskOnKart[int] = TaskInstanceParameter(default=Source())
    modification_time_check = True

    def requires(self) -> TaskOnKart[int]:
        return self.source

    def output(self) -> list[Target]:
        return [self.make_target("x.csv"), self.make_large_data_frame_target("l.zip")]

    def run(self) -> None:
        self.task_log["words"] = ["any", {"thing": None}]
        self.dump(FRAME, 0)
        self.dump(FRAME, 1)


@pytest.fixture
def fuzzed(workspace: Path) -> list[Target]:
    build(Fuzzed())
    return Fuzzed().output()


def sidecar_file(target: Target) -> Path:
    return Path(f"{target.uri}.kart.json")


def attempts(count: int = COUNT) -> Iterator[random.Random]:
    """Give a generator for each mutation, and fail when one of them takes long."""
    for number in range(count):
        started = time.perf_counter()
        yield random.Random(number)
        assert time.perf_counter() - started < 20, number


def outcome(use: Callable[[], Any]) -> Any:
    """Return what a use returns, or the error of this package; anything else fails the test."""
    try:
        return use()
    except KartError as error:
        return error


def uses(target: Target, numbers: random.Random) -> list[Callable[[], Any]]:
    cheap: list[Callable[[], Any]] = [
        target.state,
        lambda: is_complete(Fuzzed()).reason,
        Fuzzed().complete,
        target.sidecar,
    ]
    dear: list[Callable[[], Any]] = [
        lambda: Fuzzed.restore(Fuzzed().unique_id),
        lambda: tree(Fuzzed(), details=True),
        lambda: table(Fuzzed()),
        lambda: list(target.load_parts()),
        lambda: target.load(["number"]),
    ]
    return [*cheap, numbers.choice(dear)]


@pytest.mark.parametrize("index", [0, 1], ids=["csv", "large frame"])
def test_sidecars(fuzzed: list[Target], index: int, caplog: pytest.LogCaptureFixture) -> None:
    target = fuzzed[index]
    artifact = Path(target.uri).read_bytes()
    file, good = sidecar_file(target), sidecar_file(target).read_bytes()
    before = json.loads(good)
    seen: Counter[str] = Counter()
    for numbers in attempts():
        caplog.clear()
        data = mutated(good, numbers)
        file.write_bytes(data)
        loaded = outcome(target.load)
        if not isinstance(loaded, KartError):
            assert loaded.equals(FRAME), data
            assert data == good or json.loads(data) == before or target.exists() is False
        seen[type(loaded).__name__] += 1
        for use in uses(target, numbers):
            outcome(use)
        assert Path(target.uri).read_bytes() == artifact
    assert seen["CorruptArtifactError"] > 0.9 * COUNT


@pytest.mark.parametrize("index", [0, 1], ids=["csv", "large frame"])
def test_sidecars_from_before_there_were_digests(fuzzed: list[Target], index: int) -> None:
    """Nothing tells whether their values are the ones that were written, but nothing breaks."""
    target = fuzzed[index]
    file = sidecar_file(target)
    content = {**json.loads(file.read_text()), "schema_version": 1}
    del content["digest"]
    good = json.dumps(content).encode()
    for numbers in attempts():
        data = mutated(good, numbers)
        file.write_bytes(data)
        outcome(target.load)
        for use in uses(target, numbers):
            outcome(use)
    file.write_bytes(good)
    assert target.load().equals(FRAME)


def test_packs(fuzzed: list[Target], tmp_path: Path) -> None:
    """A pack is only a memory: with any pack the state is the true one, or that of an incomplete artifact."""
    store, target = LocalStore(), fuzzed[0]
    folder, name = os.path.split(target.uri)
    stats = {uri: store.stat(uri) for uri in (target.uri, f"{target.uri}.kart.json")}
    version = stats[f"{target.uri}.kart.json"].version  # type: ignore[union-attr]
    text = sidecar_file(target).read_text()
    entries = {f"{name}.kart.json": (version, text), **{f"other{n}.kart.json": ("v", "{}") for n in range(5)}}
    pack = Path(folder, ".kart-uploads", "sidecars.json.z")
    for numbers in attempts():
        plain = json.dumps(entries).encode()
        kind = numbers.randrange(3)
        if kind == 0:
            data = mutated_bytes(zlib.compress(plain, 1), numbers)
        elif kind == 1:
            data = zlib.compress(mutated_bytes(plain, numbers), 1)
        else:
            data = zlib.compress(json.dumps(mutated_json(json.loads(plain), numbers)).encode("utf-8", "replace"), 1)
        pack.write_bytes(data)
        lookup = _StoreSnapshot(store, {**stats, **{f"{folder}/{n}": stats[target.uri] for n in range(100)}})
        state = look_at(lookup, target.uri, target.format, Fuzzed().unique_id)
        assert state.sidecar is None or state.sidecar.to_bytes() == text.encode()
        assert state.complete or "sidecar" in state.reason


def test_a_pack_that_unpacks_without_end_is_not_believed(fuzzed: list[Target], monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_kart.storage import snapshot

    monkeypatch.setattr(snapshot, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="too large, or cut off"):
        snapshot._unpacked(zlib.compress(b" " * 10_000_000))


def check_taken(taken: Taken | None) -> None:
    if taken is not None:
        assert taken.time_to_live is None or 0 < taken.time_to_live <= 3600
        assert taken.holder is None or (str(taken.holder) and taken.holder.whereabouts)


def test_records_of_leases(tmp_path: Path) -> None:
    locks = LeaseLocks(LocalStore(), str(tmp_path), 5.0)
    lease = locks.acquire("name", Holder("Task()", airflow={"dag_id": "d", "run_id": "r", "task_id": "t"}))
    assert not isinstance(lease, Taken)
    file = tmp_path / ".kart-locks" / "name.json"
    good = file.read_bytes()
    for numbers in attempts():
        file.write_bytes(mutated(good, numbers))
        check_taken(outcome(lambda: locks.look("name")))
        taken = outcome(lambda: locks.acquire("name", Holder("Other()")))
        if isinstance(taken, Taken):
            check_taken(taken)
            mine = outcome(partial(locks.acquire, "name", Holder("Other()"), dead=taken))
            assert not isinstance(mine, (Taken, KartError))
            mine.renew()
            mine.release()
        outcome(lease.renew)
        outcome(lease.release)


def test_records_of_file_locks(tmp_path: Path) -> None:
    locks = FileLocks(str(tmp_path))
    lease = locks.acquire("name", Holder("Task()", airflow={"dag_id": "d", "run_id": "r", "task_id": "t"}))
    assert not isinstance(lease, Taken)
    words = Words(tmp_path, "name")
    good = words.read() + b"\n"
    for numbers in attempts():
        words.replace(mutated(good, numbers))
        check_taken(locks.look("name"))
        check_taken(locks.acquire("name", Holder("Other()")))  # type: ignore[arg-type]
    lease.release()


@pytest.mark.parametrize("what", ["", ".kart.json"], ids=["artifact", "sidecar"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing", "link to itself", "device"])
def test_strange_files(fuzzed: list[Target], what: str, kind: str) -> None:
    target = fuzzed[0]
    path = Path(f"{target.uri}{what}")
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path if kind == "link to itself" else "nowhere")
    started = time.perf_counter()
    for use in (target.state, target.load, target.sidecar, lambda: tree(Fuzzed()), lambda: build(Fuzzed())):
        found = outcome(use)
        assert not getattr(found, "complete", False)
    assert time.perf_counter() - started < 20
