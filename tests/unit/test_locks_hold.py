"""What a hold does while work is done: it renews, it stops work whose lock is lost, and nothing comes after its end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.lock_conformance import NAME, taken

from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks import Hold, Holder, Lease, Taken
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import LocalStore, MemoryStore

TIME_TO_LIVE = 0.6


@pytest.fixture
def locks() -> LeaseLocks:
    return LeaseLocks(MemoryStore(), "memory://hold", TIME_TO_LIVE)


class Scripted:
    """A lease whose renewals come to what a test wants."""

    def __init__(self, time_to_live: float | None = TIME_TO_LIVE) -> None:
        self.holder = Holder("Train(x=1)")
        self.time_to_live = time_to_live
        self.renewed: list[float] = []
        self.released = 0
        self.error: Exception | None = None

    def renew(self) -> None:
        self.renewed.append(time.monotonic())
        if self.error is not None:
            raise self.error

    def release(self) -> None:
        self.released += 1


def keep_the_gil(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def busy(seconds: float) -> int:
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count += 1
    return count


def work_for_ever() -> None:
    while True:
        time.sleep(0.005)


def test_it_renews_four_times_in_the_time_to_live_and_lets_go() -> None:
    lease = Scripted()
    with Hold(lease):
        busy(2 * TIME_TO_LIVE)  # Python code, however busy, lets other threads run
    assert 5 <= len(lease.renewed) <= 8
    assert lease.released == 1
    time.sleep(TIME_TO_LIVE / 2)
    assert len(lease.renewed) <= 8


def test_a_lock_that_need_not_be_renewed_takes_no_thread(tmp_path: Path) -> None:
    threads = threading.active_count()
    with Hold(taken(FileLocks(str(tmp_path)))) as hold:
        assert threading.active_count() == threads
        hold.check()
    assert FileLocks(str(tmp_path)).look(NAME) is None


def test_a_check_makes_no_request_shortly_after_a_renewal() -> None:
    lease = Scripted(time_to_live=60)
    with Hold(lease) as hold:
        for _ in range(1000):
            hold.check()
    assert lease.renewed == []


def test_a_check_renews_where_the_heartbeat_was_kept_from_it() -> None:
    lease = Scripted()
    with Hold(lease) as hold:
        keep_the_gil(0.8 * TIME_TO_LIVE)
        hold.check()
        assert len(lease.renewed) >= 1


def test_a_check_finds_a_removed_file(tmp_path: Path) -> None:
    lease = taken(FileLocks(str(tmp_path)))
    (tmp_path / ".kart-locks" / f"{NAME}.lock").unlink()
    with (
        pytest.raises(LockLostError, match=r"the lock of Train was lost: .* was removed while it was held"),
        Hold(lease) as hold,
    ):
        hold.check()


def test_a_lock_that_cannot_be_looked_at_is_not_taken_for_lost(caplog: pytest.LogCaptureFixture) -> None:
    lease = Scripted(time_to_live=None)
    lease.error = LockError("stale file handle")
    with caplog.at_level(logging.WARNING), Hold(lease) as hold:
        hold.check()
    assert "stale file handle; whether the lock is held still cannot be told" in caplog.text
    assert lease.released == 1


def test_work_whose_lock_is_taken_over_is_stopped(locks: LeaseLocks) -> None:
    lease = taken(locks)
    other: list[Lease] = []
    with pytest.raises(LockLostError) as caught, Hold(lease):
        other.append(taken(locks, task="Other", dead=locks.look(NAME)))
        work_for_ever()
    assert str(caught.value).startswith("the lock of Train was lost: the lock memory://hold/.kart-locks/")
    assert "was taken over by Other on " in str(caught.value)
    assert "Its artifact is not published; the next try finds what another run has made" in str(caught.value)
    assert "raise [kart] lock_time_to_live (0.6 s)" in str(caught.value)
    assert isinstance(caught.value.__cause__, LockLostError)
    assert caught.traceback[-1].name == "work_for_ever"
    other[0].renew()  # and nobody has released it
    other[0].release()


def test_the_error_can_be_handed_to_another_process(locks: LeaseLocks) -> None:
    with pytest.raises(LockLostError) as caught, Hold(taken(locks)):
        taken(locks, task="Other", dead=locks.look(NAME))
        work_for_ever()
    there = pickle.loads(pickle.dumps(caught.value))
    assert (type(there), str(there)) == (LockLostError, str(caught.value))


def test_whoever_swallows_the_error_meets_it_at_the_check(locks: LeaseLocks) -> None:
    with pytest.raises(LockLostError, match="was taken over by Other"), Hold(taken(locks)) as hold:
        taken(locks, task="Other", dead=locks.look(NAME))
        with contextlib.suppress(Exception):
            work_for_ever()
        hold.check()


def test_work_that_keeps_the_gil_too_long_is_stopped_where_another_has_the_lock(tmp_path: Path) -> None:
    code = f"""
from harness.lock_conformance import waited_for
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import LocalStore
print("ready", flush=True)
waited_for(LeaseLocks(LocalStore(), {str(tmp_path)!r}, {TIME_TO_LIVE}))
print("has it", flush=True)
"""
    locks = LeaseLocks(LocalStore(), str(tmp_path), TIME_TO_LIVE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        lease = taken(locks)
        with pytest.raises(LockLostError) as caught, Hold(lease):
            assert other.stdout.readline() == b"ready\n"
            keep_the_gil(3 * TIME_TO_LIVE)
            work_for_ever()
        assert other.stdout.read() == b"has it\n"
    assert "was taken over by Waiter on " in str(caught.value)
    assert "the interpreter was busy, as with a C call that kept the GIL, or the machine slept" in str(caught.value)


def test_work_that_keeps_the_gil_is_warned_where_nobody_wants_the_lock(
    locks: LeaseLocks, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Hold(taken(locks)) as hold:
        keep_the_gil(1.5 * TIME_TO_LIVE)
        hold.check()
    assert len(caplog.records) == 1
    assert "the lock of Train was renewed after " in caplog.text
    assert "a C call that kept the GIL" in caplog.text


def test_renewals_that_fail_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    lease = Scripted()
    lease.error = LockError("the server cannot be reached")
    with caplog.at_level(logging.WARNING), Hold(lease) as hold:
        time.sleep(0.4 * TIME_TO_LIVE)
        lease.error = None
        time.sleep(TIME_TO_LIVE)
        hold.check()
    assert "the server cannot be reached; the lock is held for " in caplog.text


def test_a_server_that_stays_away_is_a_lost_lock_after_the_time_to_live() -> None:
    lease = Scripted()
    lease.error = LockError("the server cannot be reached")
    began = time.monotonic()
    words = r"was lost: the server cannot be reached; it could not be renewed for 0\.\d s"
    with pytest.raises(LockLostError, match=words), Hold(lease):
        work_for_ever()
    assert TIME_TO_LIVE <= time.monotonic() - began < TIME_TO_LIVE + 1
    assert lease.released == 1


def test_nothing_is_raised_after_the_end() -> None:
    for number in range(120):
        lease = Scripted(time_to_live=0.04)
        lease.error = LockLostError("taken over")
        try:
            with Hold(lease):
                busy(0.0097 + number * 0.000005)  # about when the heartbeat finds out
        except LockLostError:
            pass
        busy(0.003)


def test_a_loss_that_is_found_while_the_block_ends_stops_nothing() -> None:
    class LostAtTheEnd(Scripted):
        def renew(self) -> None:
            renewing.set()
            while hold._wake.locked():  # until the worker waits for the heartbeat's end
                time.sleep(0.001)
            time.sleep(0.02)
            raise LockLostError("taken over")

    renewing, lease = threading.Event(), LostAtTheEnd(time_to_live=0.1)
    hold = Hold(lease)
    with hold:
        assert renewing.wait(10)
    busy(0.05)
    assert lease.released == 1
    with pytest.raises(LockLostError, match="taken over"):
        hold.check()


def test_holds_may_be_nested(locks: LeaseLocks) -> None:
    outer, inner = taken(locks, "outer"), taken(locks, "inner")
    with pytest.raises(LockLostError, match="outer"), Hold(outer), Hold(inner):
        taken(locks, "outer", "Other", dead=locks.look("outer"))
        work_for_ever()
    assert locks.look("inner") is None
    assert locks.look("outer") is not None


def test_work_in_a_thread_is_stopped_there(locks: LeaseLocks) -> None:
    def work() -> None:
        with Hold(taken(locks)):
            taken(locks, task="Other", dead=locks.look(NAME))
            work_for_ever()

    with concurrent.futures.ThreadPoolExecutor(1) as pool, pytest.raises(LockLostError):
        pool.submit(work).result(30)


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
def test_work_that_fails_lets_go(locks: LeaseLocks, error: BaseException) -> None:
    with pytest.raises(type(error)), Hold(taken(locks)):
        raise error
    assert locks.look(NAME) is None


def test_a_signal_that_ends_the_process_lets_go(tmp_path: Path) -> None:
    code = f"""
import signal, sys, time
from airflow_kart.locks import Hold, Holder
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import LocalStore
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
with Hold(LeaseLocks(LocalStore(), {str(tmp_path)!r}, 60).acquire("{NAME}", Holder("Train"))):
    print("ready", flush=True)
    time.sleep(60)
"""
    locks = LeaseLocks(LocalStore(), str(tmp_path), 60)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert isinstance(locks.look(NAME), Taken)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 5
    assert locks.look(NAME) is None


def test_a_release_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Scripted):
        def release(self) -> None:
            raise LockError("could not release the lock a: the network is away")

    with caplog.at_level(logging.WARNING), Hold(Stuck()):
        pass
    assert "the network is away; it is free after its time to live" in caplog.text


def test_a_forked_child_that_leaves_the_block_does_not_let_go(python: Callable[..., str], tmp_path: Path) -> None:
    code = f"""
import os, sys
from airflow_kart.locks import Hold, Holder
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import LocalStore
for locks in (FileLocks({str(tmp_path)!r}), LeaseLocks(LocalStore(), {str(tmp_path)!r}, 60)):
    with Hold(locks.acquire("{NAME}", Holder("Train"))):
        child = os.fork()
        if not child:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), locks.look("{NAME}") is not None)
    print(locks.look("{NAME}") is None)
"""
    assert python(code=code, env={"PYTHONWARNINGS": "ignore"}).split() == ["7", "True", "True"] * 2
