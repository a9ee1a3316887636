"""What all locks promise, and what only those in files and in stores do."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.lock_conformance import NAME, EveryLease, taken, waited_for
from harness.lock_process import LockPlace
from harness.lock_words import Words
from harness.own_store import OwnStore
from harness.store_conformance import put

from airflow_kart import Workspace
from airflow_kart.exceptions import ConfigurationError, ConflictError, LockError, LockLostError, StorageError
from airflow_kart.locks import Holder, Locks, LockWatch, Taken, locks_for
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.locks.none import NoLocks
from airflow_kart.locks.redis import RedisLocks
from airflow_kart.storage import ANY, Expected, LocalStore, MemoryStore, Removable, register_store

TIME_TO_LIVE = 0.7


def local_leases(directory: str, uri: str, time_to_live: float) -> LeaseLocks:
    return LeaseLocks(LocalStore(fsync=False), uri, time_to_live)


class TestLeasesOnDisk(EveryLease):
    @pytest.fixture
    def place(self, tmp_path: Path) -> LockPlace:
        directory = str(tmp_path / "ws")
        return LockPlace(local_leases, (directory, directory, TIME_TO_LIVE), TIME_TO_LIVE)


class TestLeasesInMemory(EveryLease):
    @pytest.fixture
    def place(self) -> LockPlace:
        return LockPlace(LeaseLocks, (MemoryStore(), "memory://locks", TIME_TO_LIVE), TIME_TO_LIVE, shared=False)


class TestLeasesInAnOwnStore(EveryLease):
    @pytest.fixture
    def place(self, tmp_path: Path) -> LockPlace:
        store = OwnStore(tmp_path / "artifacts.db")
        return LockPlace(LeaseLocks, (store, "sqlite://locks", TIME_TO_LIVE), TIME_TO_LIVE, shared=False)


class Unreliable(MemoryStore):
    """A store that loses answers, or refuses to remove what is of a version."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = 0
        self.refuse_to_remove = False

    def put(self, key: str, data: bytes, expected: Expected) -> str:
        version = super().put(key, data, expected)
        if self.lose:
            self.lose -= 1
            raise StorageError("the answer was lost")
        return version

    def remove(self, uri: str, expected: Any = ANY) -> bool:
        if self.refuse_to_remove:
            raise StorageError("not implemented")
        return super().remove(uri, expected)


def test_a_renewal_whose_answer_was_lost_is_no_loss() -> None:
    store = Unreliable()
    lease = taken(LeaseLocks(store, "memory://a", 60))
    store.lose = 1
    with pytest.raises(LockError, match=r"could not renew the lock .*the answer was lost"):
        lease.renew()
    lease.renew()
    store.lose = 1
    with pytest.raises(LockError, match="the answer was lost"):
        lease.renew()
    lease.release()
    assert LeaseLocks(store, "memory://a", 60).look(NAME) is None


class Retrying(MemoryStore):
    """A store that loses the answer to a request, makes the request again, and finds its condition broken by the first."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = 0
        self.requests = 0

    def put(self, key: str, data: bytes, expected: Expected) -> str:
        self.requests += 1
        version = super().put(key, data, expected)
        if self.lose:
            self.lose -= 1
            return super().put(key, data, expected)
        return version

    def remove(self, uri: str, expected: Removable = ANY) -> bool:
        removed = super().remove(uri, expected)
        if self.lose:
            self.lose -= 1
            raise ConflictError("not there any more")
        return removed


def test_a_lost_answer_to_acquire_is_a_lock_all_the_same() -> None:
    store = Retrying()
    locks = LeaseLocks(store, "memory://a", 60)
    store.lose = 1
    lease = taken(locks)
    assert store.lose == 0
    seen = locks.look(NAME)
    assert seen is not None and seen.holder == lease.holder
    assert isinstance(locks.acquire(NAME, lease.holder), Taken)  # another lease of the same holder is another lease
    lease.renew()
    store.lose = 1
    over = taken(locks, task="Other", dead=locks.look(NAME))
    with pytest.raises(LockLostError, match="was taken over by Other"):
        lease.renew()
    over.renew()
    over.release()
    assert locks.look(NAME) is None


def test_lost_answers_to_renew_and_release_are_no_loss() -> None:
    store = Retrying()
    locks = LeaseLocks(store, "memory://a", 60)
    lease = taken(locks)
    for _ in range(3):
        store.lose = 1
        lease.renew()
    store.lose = 1
    lease.release()
    assert locks.look(NAME) is None
    taken(locks, task="Next").release()


def test_a_lock_whose_object_changes_at_every_try_is_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    locks = LeaseLocks(store, "memory://a", 60)
    monkeypatch.setattr(store, "read", lambda _: None)
    upload = store.upload(f"memory://a/.kart-locks/{NAME}.json")
    upload.publish()
    assert locks.acquire(NAME, Holder("Train")) == Taken(None, time_to_live=60)


def test_where_nothing_can_be_removed_a_lock_is_marked() -> None:
    store = Unreliable()
    locks = LeaseLocks(store, "memory://a", 60)
    lease = taken(locks)
    store.refuse_to_remove = True
    lease.release()
    assert locks.look(NAME) is None
    again = taken(locks)
    assert isinstance(locks.look(NAME), Taken)
    again.release()
    found = store.read(f"memory://a/.kart-locks/{NAME}.json")
    assert found is not None
    assert json.loads(found.data)["token"] == 2


def test_a_release_that_fails_altogether_says_so() -> None:
    store = Unreliable()
    lease = taken(LeaseLocks(store, "memory://a", 60))
    store.refuse_to_remove, store.lose = True, 1
    with pytest.raises(LockError, match=r"could not release the lock .*not implemented"):
        lease.release()


def test_the_token_counts_take_overs_and_the_bytes_differ_at_every_renewal() -> None:
    store = MemoryStore()
    locks = LeaseLocks(store, "memory://a", 60)
    seen: set[bytes] = set()

    def body() -> Any:
        found = store.read(f"memory://a/.kart-locks/{NAME}.json")
        assert found is not None
        assert found.data not in seen
        seen.add(found.data)
        return json.loads(found.data)

    for number in range(1, 4):
        lease = taken(locks, dead=locks.look(NAME))
        assert body()["token"] == number
        lease.renew()
        assert body()["token"] == number
        lease.renew()
        assert body()["count"] == 3


def test_a_lease_that_cannot_be_read_is_taken_over_in_time() -> None:
    store = MemoryStore()
    put(store, f"memory://a/.kart-locks/{NAME}.json", b"rubbish")
    locks = LeaseLocks(store, "memory://a", 0.3)
    found = locks.acquire(NAME, Holder("Train"))
    assert isinstance(found, Taken)
    assert (found.holder, found.time_to_live) == (None, 0.3)
    taken(locks, dead=found).renew()


STRANGE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 60_000,
    b"\xff\xfe" * 10,
    b'"' + b"x" * 100_000 + b'"',
    b"9" * 60_000,
    json.dumps({"time_to_live": "soon", "lease": "a", "token": 1, "released": False}).encode(),
    json.dumps({"time_to_live": 5, "lease": ["a"], "token": 1, "released": False}).encode(),
    json.dumps({"time_to_live": 5, "lease": "a", "token": 1e999, "released": False}).encode(),
]


@pytest.mark.parametrize("data", STRANGE, ids=range(len(STRANGE)))
def test_strange_text_is_the_lock_of_an_unknown_holder(data: bytes, tmp_path: Path) -> None:
    store = MemoryStore()
    put(store, f"memory://a/.kart-locks/{NAME}.json", data)
    leases = LeaseLocks(store, "memory://a", 0.2)
    seen = leases.look(NAME)
    assert seen is not None
    assert (seen.holder, seen.time_to_live) == (None, 0.2)
    lease, _ = waited_for(leases)
    lease.release()
    files = FileLocks(str(tmp_path))
    lease = taken(files)
    words = Words(tmp_path, NAME)
    words.replace(words.mark + data + b"\n")
    assert files.look(NAME) == Taken(None)
    lease.release()


@pytest.mark.parametrize("claimed", [1e12, 3601, 0, -5, float("nan"), float("inf"), 10**400, True])
def test_a_lease_for_ever_is_not_believed(claimed: float) -> None:
    store = MemoryStore()
    taken(LeaseLocks(store, "memory://a", claimed))
    hasty = LeaseLocks(store, "memory://a", 0.2)
    seen = hasty.look(NAME)
    assert seen is not None
    assert seen.time_to_live == (1 if claimed is True else 0.2)
    lease, seconds = waited_for(hasty)
    assert seconds < 3
    lease.release()


@pytest.mark.parametrize("claimed", [0.001, 0.5, 1, 2, 3599.5, 3600])
def test_a_time_to_live_up_to_an_hour_is_believed(claimed: float) -> None:
    store = MemoryStore()
    taken(LeaseLocks(store, "memory://a", claimed))
    seen = LeaseLocks(store, "memory://a", 60).look(NAME)
    assert seen is not None
    assert seen.time_to_live == claimed


@pytest.mark.parametrize("own", ["0" * 32, "g"])
def test_leases_are_one_where_their_ids_are_the_same(own: str) -> None:
    locks = LeaseLocks(MemoryStore(), "memory://a", 60)
    lease = taken(locks)
    lease.id = own  # type: ignore[attr-defined]
    lease.renew()
    assert isinstance(locks.acquire(NAME, Holder("Other")), Taken)
    over = taken(locks, task="Other", dead=locks.look(NAME))
    with pytest.raises(LockLostError, match="was taken over by Other"):
        lease.renew()
    lease.release()
    over.renew()
    over.release()


@pytest.mark.parametrize("version", ["", "~"])
def test_a_dead_holder_of_another_version_is_not_taken_over(version: str) -> None:
    locks = LeaseLocks(MemoryStore(), "memory://a", 60)
    lease = taken(locks)
    seen = locks.look(NAME)
    assert seen is not None
    assert locks.acquire(NAME, Holder("Other"), dead=Taken(lease.holder, version)) == seen
    lease.release()


@pytest.mark.parametrize("said", [{}, {"released": None}, {"released": False}, {"released": 1}, {"released": "true"}])
def test_a_lock_that_does_not_plainly_say_that_it_was_released_is_held(said: dict[str, object]) -> None:
    store = MemoryStore()
    content = {"time_to_live": 5, "lease": "a", "token": 1, **said}
    put(store, f"memory://a/.kart-locks/{NAME}.json", json.dumps(content).encode())
    seen = LeaseLocks(store, "memory://a", 60).look(NAME)
    assert seen is not None
    assert seen.time_to_live == 5


def test_words_of_a_holder_are_fit_for_a_log() -> None:
    said = {"task": "x\n2026 ERROR forged\x1b[2J\ud800", "host": "h" * 5000, "since": "", "owner": "o", "process": 1}
    holder = Holder.from_json(json.dumps({**said, "airflow": ["dag_id"]}))
    assert holder is not None
    for words in (str(holder), holder.whereabouts):
        assert words.isprintable()
        assert len(words) <= 1000
        words.encode()
    assert str(holder).startswith("x?2026 ERROR forged?[2J? on hhh")
    for name, value in (("task", 1), ("process", "1"), ("owner", None), ("host", {})):
        assert Holder.from_json(json.dumps({**said, name: value})) is None
    assert str(Holder.from_json(json.dumps({**said, "task": "T", "airflow": {"dag_id": "d\n"}}))).startswith("dag d? (T on")


def test_a_task_of_any_words_can_hold_a_lock(tmp_path: Path) -> None:
    holder = Holder("Train(text='" + "\udcff\U0001f600" * 100_000 + "')")
    for locks in (FileLocks(str(tmp_path)), LeaseLocks(MemoryStore(), "memory://a", 60)):
        lease = locks.acquire(NAME, holder)
        assert not isinstance(lease, Taken)
        seen = locks.look(NAME)
        assert seen is not None and seen.holder is not None
        assert seen.holder.owner == holder.owner
        assert holder.task.startswith(seen.holder.task)
        lease.renew()
        lease.release()


def test_the_holders_time_to_live_counts() -> None:
    store = MemoryStore()
    patient, hasty = LeaseLocks(store, "memory://a", 60), LeaseLocks(store, "memory://a", 0.1)
    taken(patient)
    watch = LockWatch(hasty, NAME)
    for _ in range(6):
        assert watch.look() is not None
        time.sleep(0.05)
    assert watch.dead is None


def test_a_watch_survives_looks_that_fail() -> None:
    store = MemoryStore()
    locks = LeaseLocks(store, "memory://a", 0.3)
    taken(locks)

    class Failing:
        fails = False

        def look(self, name: str) -> Taken | None:
            if self.fails:
                raise LockError("cannot be reached")
            return locks.look(name)

    failing: Any = Failing()
    watch = LockWatch(failing, NAME)
    assert watch.look() is not None
    failing.fails = True
    with pytest.raises(LockError):
        watch.look()
    time.sleep(0.3)
    failing.fails = False
    assert watch.look() is None
    assert watch.dead is not None


def test_no_locks_exclude_nobody() -> None:
    locks = NoLocks()
    leases = [locks.acquire(NAME, Holder("Train")) for _ in range(2)]
    for lease in leases:
        assert not isinstance(lease, Taken)
        lease.renew()
        lease.release()
    assert locks.look(NAME) is None


@pytest.mark.parametrize(
    ("directory", "lock", "kind"),
    [
        ("/data/ws", None, FileLocks),
        ("file:///data/ws", None, FileLocks),
        ("/data/ws", "lease", LeaseLocks),
        ("/data/ws", "None", NoLocks),
        ("memory://ws", None, NoLocks),
        ("memory://ws", "lease", LeaseLocks),
        ("s3://bucket/ws", None, LeaseLocks),
        ("gs://conn@bucket/ws", "auto", LeaseLocks),
        ("gs://bucket/ws", "none", NoLocks),
        ("abfs://container/ws", "none", NoLocks),
    ],
)
def test_a_workspace_has_the_locks_it_can_keep(directory: str, lock: str | None, kind: type[Locks]) -> None:
    assert isinstance(locks_for(Workspace(directory, lock=lock)), kind)


@pytest.mark.parametrize("directory", ["/data/ws", "s3://bucket/ws", "abfs://container/ws"])
def test_with_a_connection_locks_are_in_redis(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(locks_for(Workspace(directory, redis_conn_id="redis")), RedisLocks)
    assert isinstance(locks_for(Workspace("memory://ws", redis_conn_id="redis")), NoLocks)
    monkeypatch.setenv("AIRFLOW__KART__REDIS_CONN_ID", "redis")
    assert isinstance(locks_for(Workspace(directory)), RedisLocks)
    assert isinstance(locks_for(Workspace("/data/ws", lock="file")), FileLocks)


@pytest.mark.parametrize(
    ("directory", "lock", "words"),
    [
        ("/data/ws", "flock", "lock is 'flock'; set it to auto, file, lease, redis or none"),
        ("s3://bucket/ws", "file", "s3://bucket/ws is no directory; set it to lease, redis or none"),
        ("abfs://container/ws", "file", "is no directory; set it to redis or none"),
        ("abfs://container/ws", "lease", "has no conditional writes; set it to redis or none"),
        ("/data/ws", "redis", "redis_conn_id is not set"),
    ],
)
def test_locks_that_do_not_exist_are_refused(directory: str, lock: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        locks_for(Workspace(directory, lock=lock))


def test_what_a_store_says_of_itself_decides_which_locks_it_keeps(own_scheme: str) -> None:
    def locks_of(lock: str = "auto", **said: bool) -> Locks:
        own = OwnStore.__new__(OwnStore)
        vars(own).update(said)
        register_store(own_scheme, lambda: own, replace=True)
        return locks_for(Workspace(f"{own_scheme}://ws", lock=lock))

    assert isinstance(locks_of(), LeaseLocks)
    assert isinstance(locks_of(conditional=False), NoLocks)
    assert isinstance(locks_of(shared=False), NoLocks)
    with pytest.raises(ConfigurationError, match="has no conditional writes; set it to redis or none"):
        locks_of("lease", conditional=False)
    with pytest.raises(ConfigurationError, match="is no directory; set it to redis or none"):
        locks_of("file", conditional=False)


def test_the_configuration_says_which_locks_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__LOCK", "lease")
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIME_TO_LIVE", "7")
    lease = taken(locks_for(Workspace("memory://configured")))
    assert lease.time_to_live == 7
    lease.release()
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIME_TO_LIVE", "4")
    with pytest.raises(ConfigurationError, match=r"\[kart\] lock_time_to_live is '4'; set it to a whole number from 5 up"):
        locks_for(Workspace("memory://configured"))
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIME_TO_LIVE", "3601")
    with pytest.raises(ConfigurationError, match=r"\[kart\] lock_time_to_live is 3601 s; set it to 3600 s or less"):
        locks_for(Workspace("memory://configured"))


def test_that_there_are_no_locks_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            locks_for(Workspace("abfs://said-once/ws"))
    said = [record.message for record in caplog.records if "has no locks" in record.message]
    assert len(said) == 1
    assert said[0].startswith("abfs://said-once/ws has no locks, as its file system has no conditional writes")


@pytest.mark.parametrize(
    "spellings",
    [
        ["/data/ws", "/data/ws/", "/data/x/../ws", "file:///data/ws/"],
        ["s3://bucket/ws", "s3://conn@bucket/ws/", "s3a://bucket/ws"],
        ["gs://bucket/a b", "gcs://other@bucket/a b/"],
    ],
)
def test_ways_to_write_a_workspace_meet_in_redis(spellings: list[str]) -> None:
    found = {id(locks_for(Workspace(spelling, redis_conn_id="redis"))) for spelling in spellings}
    assert len(found) == 1


def test_choosing_locks_loads_neither_airflow_nor_redis(python: Callable[..., str]) -> None:
    code = """
import sys
from airflow_kart import Workspace
from airflow_kart.locks import Hold, Holder, locks_for
with Hold(locks_for(Workspace("ws")).acquire("a", Holder("Train"))):
    pass
locks_for(Workspace("s3://bucket/ws"))
locks_for(Workspace("ws", redis_conn_id="redis"))
print(sorted({"airflow", "redis", "boto3"} & set(sys.modules)))
"""
    assert python(code=code).strip() == "[]"
