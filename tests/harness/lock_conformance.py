"""What all locks promise, as tests: a level that has locks gives the fixture ``place``, with short times to live."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_kart.exceptions import LockLostError
from airflow_kart.locks import Hold, Holder, Lease, Locks, LockWatch, Taken, remove_forgotten
from airflow_kart.locks import lease as lease_module
from harness.lock_process import LockPlace, LockProcess, excluded_each_other

__all__ = ["EveryLease", "EveryLock", "EveryLockThatExpires", "looked_at", "seconds_of_a_lock", "taken", "waited_for"]

NAME = "0123456789abcdef"


def taken(locks: Locks, name: str = NAME, task: str = "Train", dead: Taken | None = None) -> Lease:
    """Take a lock that is to be had."""
    found = locks.acquire(name, Holder(task), dead)
    assert not isinstance(found, Taken), f"held by {found.holder}"
    return found


def waited_for(locks: Locks, name: str = NAME, task: str = "Waiter", seconds: float = 30) -> tuple[Lease, float]:
    """Wait until a lock is to be had; return it and how long it took."""
    watch, began = LockWatch(locks, name), time.monotonic()
    while time.monotonic() < began + seconds:
        if watch.look() is None:
            found = locks.acquire(name, Holder(task), watch.dead)
            if not isinstance(found, Taken):
                return found, time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError("the lock was not to be had")


@contextlib.contextmanager
def looked_at(locks: Locks, threads: int) -> Iterator[None]:
    """Have several threads look at the lock all the time."""
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            locks.look(NAME)

    lookers = [threading.Thread(target=look) for _ in range(threads)]
    for looker in lookers:
        looker.start()
    try:
        yield
    finally:
        end.set()
        for looker in lookers:
            looker.join()


def seconds_of_a_lock(locks: Locks, rounds: int) -> float:
    """Return how long it takes to take a lock and let it go, at the best of twenty times so many rounds."""
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(rounds):
            taken(locks).release()
        best = min(best, (time.perf_counter() - began) / rounds)
    return best


def at_once(work: Callable[[], None], threads: int) -> None:
    """Have several threads do something; raise what goes wrong in them."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result(60)


class EveryLock:
    """A test class of a level is a subclass of this one, or of those below."""

    @pytest.fixture
    def locks(self, place: LockPlace) -> Locks:
        return place.locks()

    @pytest.fixture
    def others(self, place: LockPlace) -> LockPlace:
        if not place.shared:
            pytest.skip("no other process sees these locks")
        return place

    def test_who_holds_a_lock_is_told_to_others(self, locks: Locks) -> None:
        assert locks.look(NAME) is None
        holder = Holder("Träin(x=1)", {"dag_id": "d", "run_id": "r", "task_id": "t", "try_number": 1})
        lease = locks.acquire(NAME, holder)
        assert not isinstance(lease, Taken)
        assert lease.holder == holder
        for seen in (locks.look(NAME), locks.acquire(NAME, Holder("Other"))):
            assert isinstance(seen, Taken)
            assert seen.holder == holder
        assert str(holder).startswith("dag d, run r, task t (Träin(x=1) on ")
        lease.release()

    def test_the_same_holder_does_not_have_it_twice(self, locks: Locks) -> None:
        holder = Holder("Train")
        first = locks.acquire(NAME, holder)
        assert isinstance(locks.acquire(NAME, holder), Taken)
        assert not isinstance(first, Taken)
        first.release()

    def test_release_frees(self, locks: Locks) -> None:
        for _ in range(3):
            lease = taken(locks)
            lease.renew()
            lease.release()
            lease.release()
            assert locks.look(NAME) is None

    def test_release_of_what_is_held_anew_frees_nothing(self, locks: Locks) -> None:
        old = taken(locks)
        old.release()
        new = taken(locks, task="New")
        old.release()
        assert isinstance(locks.look(NAME), Taken)
        new.renew()
        new.release()

    def test_names_are_apart(self, locks: Locks) -> None:
        names = ["a", "A.b-c_d", "0" * 32, "..", "a.json", "x" * 200]
        leases = [taken(locks, name, name) for name in names]
        for name in names:
            seen = locks.look(name)
            assert seen is not None and seen.holder is not None
            assert seen.holder.task == name
        for lease in leases:
            lease.release()

    @pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "a\n", "x" * 201])
    def test_what_is_no_name_is_refused(self, locks: Locks, name: str) -> None:
        with pytest.raises(ValueError, match="is no name of a lock"):
            locks.acquire(name, Holder("Train"))
        with pytest.raises(ValueError, match="is no name of a lock"):
            locks.look(name)

    def test_threads_exclude_each_other(self, locks: Locks) -> None:
        inside, most, had = [0], [0], [0]
        end = time.monotonic() + 0.5

        def work() -> None:
            while time.monotonic() < end:
                found = locks.acquire(NAME, Holder("Train"))
                if isinstance(found, Taken):
                    continue
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1
                had[0] += 1
                found.release()

        at_once(work, 4)
        assert most[0] == 1
        assert had[0] >= 1
        assert locks.look(NAME) is None

    def test_looking_keeps_nobody_out(self, locks: Locks) -> None:
        with looked_at(locks, 3):
            for _ in range(10):
                taken(locks).release()

    def test_processes_exclude_each_other(self, others: LockPlace, tmp_path: Path) -> None:
        with contextlib.ExitStack() as running:
            contenders = [running.enter_context(LockProcess(others)) for _ in range(2)]
            for contender in contenders:
                contender.tell("contend", NAME, 6, str(tmp_path / "note"))
            assert {contender.answer() for contender in contenders} == {"done"}
        assert excluded_each_other(tmp_path / "note") == 12

    def test_a_killed_holder_lets_go(self, others: LockPlace) -> None:
        locks = others.locks()
        assert locks.look(NAME) is None  # and connects, which takes longer than such a lock lives
        with LockProcess(others) as process:
            assert process.ask("acquire", NAME, "Killed") == "got"
            seen = locks.look(NAME)
            assert seen is not None and seen.holder is not None
            assert seen.holder.task == "Killed"
            process.kill()
            lease, seconds = waited_for(locks)
        if others.time_to_live is None:
            assert seconds < 0.5
        else:
            assert 0.3 * others.time_to_live < seconds < others.time_to_live + 5
        lease.renew()
        lease.release()
        assert locks.look(NAME) is None

    def test_a_child_does_not_hold_what_its_parent_held(self, others: LockPlace) -> None:
        locks = others.locks()
        with LockProcess(others) as process:
            assert process.ask("acquire", NAME, "Killed") == "got"
            child = process.ask("fork")
            try:
                assert isinstance(locks.look(NAME), Taken)
                process.kill()
                lease, _ = waited_for(locks)
                lease.release()
            finally:
                os.kill(child, signal.SIGKILL)

    def test_a_hold_keeps_others_out_until_it_ends(self, locks: Locks, place: LockPlace) -> None:
        watch = LockWatch(locks, NAME)
        with Hold(taken(locks)) as hold:
            end = time.monotonic() + 1.6 * (place.time_to_live or 0.1)
            while time.monotonic() < end:
                assert watch.look() is not None
                assert isinstance(locks.acquire(NAME, Holder("Other"), watch.dead), Taken)
                time.sleep(0.05)
            hold.check()
        assert watch.look() is None


class EveryLockThatExpires(EveryLock):
    """Locks whose holders have to renew them."""

    def test_who_was_stopped_finds_out(self, others: LockPlace) -> None:
        locks = others.locks()
        with LockProcess(others) as process:
            assert process.ask("acquire", NAME, "Stopped") == "got"
            process.stop()
            lease, _ = waited_for(locks)
            process.go_on()
            assert process.ask("renew") == "lost"
            assert process.ask("release") == "released"
            lease.renew()
            seen = locks.look(NAME)
            assert seen is not None and seen.holder is not None
            assert seen.holder.task == "Waiter"
        lease.release()

    def test_who_lost_it_does_not_free_the_others(self, locks: Locks) -> None:
        old = taken(locks)
        new, _ = waited_for(locks)
        with pytest.raises(LockLostError, match="Waiter on "):
            old.renew()
        old.release()
        new.renew()
        assert isinstance(locks.look(NAME), Taken)
        new.release()

    def test_renewals_keep_it(self, locks: Locks, place: LockPlace) -> None:
        assert place.time_to_live is not None
        lease, watch = taken(locks), LockWatch(locks, NAME)
        end = time.monotonic() + 1.6 * place.time_to_live
        while time.monotonic() < end:
            lease.renew()
            assert watch.look() is not None
            time.sleep(place.time_to_live / 5)
        lease.release()


class EveryLease(EveryLockThatExpires):
    """Locks that whoever waits takes over."""

    def test_only_what_was_seen_unchanged_is_taken_over(self, locks: Locks) -> None:
        lease = taken(locks)
        seen = locks.look(NAME)
        lease.renew()
        assert isinstance(locks.acquire(NAME, Holder("Other"), seen), Taken)
        seen = locks.look(NAME)
        other = taken(locks, task="Other", dead=seen)
        with pytest.raises(LockLostError, match="Other on "):
            lease.renew()
        other.release()

    def test_one_of_many_takes_over(self, locks: Locks) -> None:
        taken(locks)
        seen = locks.look(NAME)
        start, won = threading.Barrier(6), []

        def take_over() -> None:
            start.wait()
            found = locks.acquire(NAME, Holder(uuid.uuid4().hex), seen)
            if not isinstance(found, Taken):
                won.append(found)

        at_once(take_over, 6)
        assert len(won) == 1
        won[0].renew()
        won[0].release()

    def test_what_was_removed_is_made_again(self, locks: Locks, place: LockPlace) -> None:
        lease = taken(locks)
        locks.store.remove(f"{place.arguments[1]}/.kart-locks/{NAME}.json")  # type: ignore[attr-defined]
        lease.renew()
        assert isinstance(locks.acquire(NAME, Holder("Other")), Taken)
        lease.release()
        assert locks.look(NAME) is None

    def test_the_object_of_a_dead_run_is_removed_after_hours(
        self, locks: Locks, place: LockPlace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = f"{place.arguments[1]}/.kart-locks/{NAME}.json"
        lease = taken(locks)
        assert remove_forgotten(locks) == 0
        monkeypatch.setattr(lease_module, "_FORGOTTEN", dt.timedelta(seconds=-10))  # hours later
        assert remove_forgotten(locks) == 1
        assert locks.store.stat(uri) is None  # type: ignore[attr-defined]
        lease.renew()  # a living holder, whose host's clock is wrong, does not lose its lock
        assert isinstance(locks.acquire(NAME, Holder("Other")), Taken)
        lease.release()
        assert remove_forgotten(locks) == 0

    def test_a_renewal_says_when(self, locks: Locks) -> None:
        lease = taken(locks)
        seen = locks.look(NAME)
        assert seen is not None and seen.renewed is not None
        assert abs(seen.renewed - time.time()) < 30
        assert not seen._replace(renewed=time.time()).silent
        assert seen._replace(renewed=seen.renewed - 3600).silent
        assert seen._replace(renewed=None).silent
        lease.release()
