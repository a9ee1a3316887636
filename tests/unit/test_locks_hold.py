"""What a hold does while a run works: it renews the lock, tells of its loss, refuses at the check, and releases it."""

from __future__ import annotations

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
from harness.lock_words import Words

from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks import Hold, Holder, Taken
from airflow_kart.locks import hold as holds
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


def work_until_lost(hold: Hold) -> LockLostError:
    """Work on until the heartbeat has noticed that the lock is lost."""
    end = time.monotonic() + 30
    while hold.lost is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    return hold.lost


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
    Words(tmp_path, NAME).file.unlink()
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
    assert "stale file handle; cannot tell whether this run still holds the lock" in caplog.text
    assert lease.released == 1


def test_a_lock_that_is_taken_over_is_noticed_and_refused_at_the_check(
    locks: LeaseLocks, caplog: pytest.LogCaptureFixture
) -> None:
    lease = taken(locks)
    with Hold(lease) as hold:
        hold.check()
        assert hold.lost is None
        other = taken(locks, task="Other", dead=locks.look(NAME))
        lost = work_until_lost(hold)
        for _ in range(2):  # whoever swallows the error meets it again
            with pytest.raises(LockLostError) as caught:
                hold.check()
            assert caught.value is lost
    assert str(lost).startswith("the lock of Train was lost: the lock memory://hold/.kart-locks/")
    assert "was taken over by Other on " in str(lost)
    assert "Its artifact is not published; the next try finds what another run has made" in str(lost)
    assert "raise [kart] lock_time_to_live (0.6 s)" in str(lost)
    assert isinstance(lost.__cause__, LockLostError)
    assert lost.task == "Train"
    assert caplog.messages == [str(lost)]
    other.renew()  # and nobody has released it
    other.release()


def test_nothing_is_raised_in_the_midst_of_the_work(locks: LeaseLocks) -> None:
    with Hold(taken(locks)) as hold:
        taken(locks, task="Other", dead=locks.look(NAME))
        work_until_lost(hold)
        assert busy(2 * TIME_TO_LIVE) > 0


def test_the_error_can_be_handed_to_another_process(locks: LeaseLocks) -> None:
    with Hold(taken(locks)) as hold:
        taken(locks, task="Other", dead=locks.look(NAME))
        lost = work_until_lost(hold)
    there = pickle.loads(pickle.dumps(lost))
    assert (type(there), str(there), there.task) == (LockLostError, str(lost), "Train")


def test_work_that_keeps_the_gil_too_long_finds_out_that_another_has_the_lock(tmp_path: Path) -> None:
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
        with pytest.raises(LockLostError) as caught, Hold(lease) as hold:
            assert other.stdout.readline() == b"ready\n"
            keep_the_gil(6 * TIME_TO_LIVE)
            hold.check()
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
    assert "the server cannot be reached; this run holds the lock for " in caplog.text


def test_a_server_that_stays_away_is_a_lost_lock_after_the_time_to_live() -> None:
    lease = Scripted()
    lease.error = LockError("the server cannot be reached")
    began = time.monotonic()
    words = r"was lost: the server cannot be reached; this run could not renew the lock for 0\.\d s"
    with pytest.raises(LockLostError, match=words), Hold(lease) as hold:
        work_until_lost(hold)
        hold.check()
    assert TIME_TO_LIVE <= time.monotonic() - began < TIME_TO_LIVE + 1
    assert lease.released == 1


def test_a_loss_that_is_found_while_the_block_ends_is_known_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    class LostAtTheEnd(Scripted):
        def renew(self) -> None:
            renewing.set()
            assert ended.wait(10)  # the worker waits for the heartbeat by now
            time.sleep(0.02)
            raise LockLostError("taken over")

    renewing, lease = threading.Event(), LostAtTheEnd(time_to_live=0.1)
    hold = Hold(lease)
    ended = hold._end
    with hold:
        assert renewing.wait(10)
    assert lease.released == 1
    assert hold.lost is not None
    assert caplog.messages == []  # the block has come to its end without harm
    with pytest.raises(LockLostError, match="taken over"):
        hold.check()


def test_holds_may_be_nested(locks: LeaseLocks) -> None:
    with Hold(taken(locks, "outer")) as outer, Hold(taken(locks, "inner")) as inner:
        taken(locks, "outer", "Other", dead=locks.look("outer"))
        work_until_lost(outer)
        inner.check()
        assert inner.lost is None
    assert locks.look("inner") is None
    assert locks.look("outer") is not None


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
    assert "the network is away; the lock is free after its time to live" in caplog.text


def test_a_fork_of_the_holder_may_not_publish(python: Callable[..., str], tmp_path: Path) -> None:
    code = f"""
import os, signal
from airflow_kart.exceptions import LockLostError
from airflow_kart.locks import Hold, Holder
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.storage import LocalStore
with Hold(LeaseLocks(LocalStore(), {str(tmp_path)!r}, 60).acquire("{NAME}", Holder("Train"))) as hold:
    with hold._turn:  # as while the heartbeat renews, in a thread that no child has
        child = os.fork()
        if not child:
            signal.alarm(10)
            try:
                hold.check()
            except LockLostError as error:
                print(str(error).partition(", and")[2], flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    hold.check()
"""
    expected = " this is a fork of it: publish in the process in which run() was called"
    assert python(code=code, env={"PYTHONWARNINGS": "ignore"}) == f"{expected}\n"


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


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(holds, "_now", clock)
    return clock


@pytest.mark.parametrize(("seconds", "renewals"), [(0, 0), (29.9, 0), (30, 0), (30.1, 1), (61, 1)])
def test_a_check_renews_after_half_of_the_time_to_live(clock: Clock, seconds: float, renewals: int) -> None:
    lease = Scripted(time_to_live=60)
    with Hold(lease) as hold:
        clock.now += seconds
        hold.check()
        assert len(lease.renewed) == renewals
        hold.check()  # a renewal is proof for the next half
        assert len(lease.renewed) == renewals


@pytest.mark.parametrize(("seconds", "warned"), [(29.9, False), (30, False), (30.1, True), (600, True)])
def test_a_renewal_after_half_of_the_time_to_live_is_late(
    clock: Clock, seconds: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Hold(Scripted(time_to_live=60)) as hold:
        clock.now += seconds
        hold._renew()
    words = (
        f"the lock of Train(x=1) was renewed after {seconds:.1f} s only, and is lost after 60 s: the interpreter was busy, "
    )
    assert [message.startswith(words) for message in caplog.messages] == ([True] if warned else [])


@pytest.mark.parametrize("seconds", [1, 29, 31, 59.4])
def test_a_renewal_that_fails_tells_the_seconds_that_are_left(
    clock: Clock, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    lease = Scripted(time_to_live=60)
    with caplog.at_level(logging.WARNING), Hold(lease) as hold:
        clock.now += seconds
        lease.error = LockError("the server is away")
        hold._renew()
        assert hold.lost is None
        assert caplog.messages == [f"the server is away; this run holds the lock for {60 - seconds:.0f} s more"]
        caplog.clear()
        lease.error = None
        hold._renew()
        assert [message.partition(" s: ")[2] for message in caplog.messages] == (
            ["the server is away. Raise [kart] lock_time_to_live"] if seconds > 30 else []
        )
        caplog.clear()
        clock.now += 59.9  # counted from the renewal
        lease.error = LockError("the server is away")
        hold._renew()
        assert hold.lost is None
        hold._renew()
    assert caplog.messages == ["the server is away; this run holds the lock for 0 s more"] * 2


@pytest.mark.parametrize("seconds", [60, 61.5])
def test_renewals_that_fail_for_the_time_to_live_are_a_loss(clock: Clock, seconds: float) -> None:
    lease = Scripted(time_to_live=60)
    words = (
        r"^the lock of Train\(x=1\) was lost: the server is away; this run could not renew the lock for "
        rf"{seconds:.1f} s\. Its artifact .*; if this happens again, raise \[kart\] lock_time_to_live \(60 s\)$"
    )
    with pytest.raises(LockLostError, match=words), Hold(lease) as hold:
        clock.now += seconds
        lease.error = LockError("the server is away")
        hold.check()


@pytest.mark.parametrize(
    ("trouble", "seconds", "why"),
    [
        (False, 10, ""),
        (False, 30, ""),
        (False, 30.1, "; this run did not renew the lock for 30.1 s: the interpreter was busy, as with a C call"),
        (True, 10, ""),
        (True, 45, "; this run did not renew the lock for 45.0 s: the server is away"),
    ],
)
def test_the_loss_of_a_lock_tells_why_the_renewal_came_late(clock: Clock, trouble: bool, seconds: float, why: str) -> None:
    lease = Scripted(time_to_live=60)
    with Hold(lease) as hold:
        if trouble:
            lease.error = LockError("the server is away")
            hold._renew()
        clock.now += seconds
        lease.error = LockLostError("taken over by Other")
        hold._renew()
    assert str(hold.lost).startswith(f"the lock of Train(x=1) was lost: taken over by Other{why}")
    assert ("this run " in str(hold.lost)) == bool(why)
    assert "raise [kart] lock_time_to_live (60 s)" in str(hold.lost)


def test_the_loss_of_a_lock_without_a_time_to_live_advises_nothing(clock: Clock) -> None:
    lease = Scripted(time_to_live=None)
    lease.error = LockLostError("the file was removed")
    with pytest.raises(LockLostError) as caught, Hold(lease) as hold:
        clock.now += 1e6
        hold.check()
    assert str(caught.value) == (
        "the lock of Train(x=1) was lost: the file was removed. "
        "Its artifact is not published; the next try finds what another run has made"
    )


def test_the_heartbeat_is_quicker_while_renewals_fail() -> None:
    class End(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            lease.error = LockError("the server is away") if len(waited) == 1 else None
            return len(waited) == 4

    waited: list[float | None] = []
    lease = Scripted(time_to_live=60)
    hold = Hold(lease)
    hold._end = End()
    hold._renewed = holds._now()
    hold._beat(60)
    assert waited == [15, 5, 15, 15]
    assert len(lease.renewed) == 3


def test_nobody_renews_or_releases_but_the_process_that_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Scripted(time_to_live=None)
    with Hold(lease) as hold:
        for other in (os.getpid() - 1, os.getpid() + 1):
            with monkeypatch.context() as patched:
                patched.setattr(os, "getpid", lambda other=other: other)
                with pytest.raises(LockLostError, match="and this is a fork of it"):
                    hold.check()
                hold.__exit__()
        assert (lease.renewed, lease.released) == ([], 0)
        hold.check()
    assert (len(lease.renewed), lease.released) == (1, 1)
