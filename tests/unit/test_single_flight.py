"""One run at a time makes a task: what the others do meanwhile."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import BoolParameter, IntParameter, TaskOnKart, Workspace, WrapperTask, build
from airflow_kart.exceptions import ConfigurationError, LockError, LockLostError, LockTimeoutError, TaskFailedError
from airflow_kart.locks import Holder, Lease, Taken, locks_for
from airflow_kart.runtime.progress import Event
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.single_flight import TakenElsewhere
from airflow_kart.runtime.workers import _End, _Teller

RAN: list[str] = []


@pytest.fixture(autouse=True)
def _in_workspace(workspace: Path) -> None:
    RAN.clear()


class Slow(TaskOnKart[int]):
    number: int = IntParameter(default=1)

    def run(self) -> None:
        RAN.append(repr(self))
        time.sleep(0.3)
        self.dump(self.number)


class Both(TaskOnKart[int]):
    def requires(self) -> Any:
        return [Slow(number=1), Slow(number=2)]

    def run(self) -> None:
        RAN.append(repr(self))
        self.dump(sum(self.load()))


def held(task: TaskOnKart[Any], **airflow: Any) -> Lease:
    """Take a task's lock, as another run would."""
    lease = locks_for(Workspace.current()).acquire(task.unique_id, Holder(repr(task), airflow or None))
    assert not isinstance(lease, Taken)
    return lease


@pytest.mark.parametrize("lock", ["file", "lease"])
def test_threads_make_a_task_once(lock: str, tmp_path: Path) -> None:
    found: list[int] = []

    def want() -> None:
        with Workspace(str(tmp_path / "ws"), lock=lock):
            found.append(build(Both()))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [3] * 4
    assert sorted(RAN) == ["Both()", "Slow(number=1)", "Slow(number=2)"]


def test_without_locks_both_run_and_one_publishes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_kart")
    barrier = threading.Barrier(2, timeout=30)

    class Meeting(TaskOnKart[int]):
        def run(self) -> None:
            RAN.append(repr(self))
            barrier.wait()
            self.dump(1)

    def want() -> None:
        with Workspace(str(tmp_path / "ws"), lock="none"):
            build(Meeting())

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(RAN) == 2
    said = [message for message in caplog.messages if re.search(r"Meeting\(\) ran in .* and ", message)]
    assert sorted("published" in message for message in said) == [False, True]


def test_who_is_waited_for_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "airflow_kart")
    lease = held(Slow(), dag_id="nightly", run_id="manual__1", task_id="slow", try_number=1)
    threading.Timer(0.5, lease.release).start()
    assert build(Slow()) == 1
    text = "\n".join(caplog.messages)
    assert re.search(
        rf"Slow\(number=1\) waits \(0 s so far\), as it is being made by dag nightly, run manual__1, task slow "
        rf"\(process {os.getpid()} on .*, since 2",
        text,
    )
    assert re.search(r"Slow\(number=1\) has its turn after 0\.[4-9] s", text)


def test_what_the_other_run_made_is_used() -> None:
    lease = held(Slow())

    def other_run() -> None:
        time.sleep(0.3)
        Slow().output().dump(1)
        lease.release()

    thread = threading.Thread(target=other_run)
    thread.start()
    assert build(Slow()) == 1
    thread.join()
    assert RAN == []


def test_a_lock_is_free_after_a_failure() -> None:
    class Failing(TaskOnKart[int]):
        def run(self) -> None:
            RAN.append("failed")
            raise ValueError("no luck")

    for _ in range(2):
        with pytest.raises(ValueError, match="no luck"):
            build(Failing())
    assert RAN == ["failed"] * 2
    assert locks_for(Workspace.current()).look(Failing().unique_id) is None


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "1")
    lease = held(Slow(), dag_id="nightly", run_id="manual__1", task_id="slow")
    with pytest.raises(LockTimeoutError, match=r"Slow\(number=1\) has waited for 1 s.*dag nightly.*lock_timeout"):
        build(Slow())
    lease.release()
    assert RAN == []
    assert build(Slow()) == 1


def test_who_does_not_want_to_wait_is_told() -> None:
    lease = held(Slow())
    with pytest.raises(TakenElsewhere, match="is being made by process") as raised:
        run_task(Slow(), session=Session(waits=False))
    assert raised.value.task == Slow()
    lease.release()
    assert run_task(Slow(), session=Session(waits=False)).outcome == "ran"


class Asking(TaskOnKart[int]):
    """Asks for more tasks on its way; may dump before."""

    dumps_first: bool = BoolParameter(default=False)

    def run(self) -> Generator[Any, Any, None]:
        RAN.append(repr(self))
        if self.dumps_first:
            self.dump(0)
        try:
            yield Slow(number=1)
            target = yield Slow(number=2)
        except Exception:
            RAN.append("caught")
            raise
        finally:
            RAN.append("closed")
        self.dump(target.load())


def test_a_run_that_asks_for_a_task_made_elsewhere_begins_again_later() -> None:
    lease = held(Slow(number=2))
    with pytest.raises(TakenElsewhere) as raised:
        run_task(Asking(), session=Session(waits=False))
    assert raised.value.task == Slow(number=2)
    assert RAN == ["Asking(dumps_first=False)", "Slow(number=1)", "closed"]
    assert locks_for(Workspace.current()).look(Asking().unique_id) is None
    lease.release()
    RAN.clear()
    assert run_task(Asking(), session=Session(waits=False)).outcome == "ran"
    assert RAN == ["Asking(dumps_first=False)", "Slow(number=2)", "closed"]
    assert Asking().output().load() == 2


def test_a_run_that_has_dumped_waits_where_it_is() -> None:
    lease = held(Slow(number=2))
    threading.Timer(0.5, lease.release).start()
    assert run_task(Asking(dumps_first=True), session=Session(waits=False)).outcome == "ran"
    assert RAN == ["Asking(dumps_first=True)", "Slow(number=1)", "Slow(number=2)", "closed"]
    assert Asking(dumps_first=True).output().load() == 2


def test_targets_of_inputs_that_are_passed_on_do_not_count_as_dumped() -> None:
    class Passing(TaskOnKart[int]):
        def requires(self) -> Slow:
            return Slow(number=1)

        def output(self) -> dict[str, Any]:
            return {"own": self.make_target(), "passed on": self.input()}

        def run(self) -> Iterator[Any]:
            yield Slow(number=2)
            self.dump(0, "own")

    build(Slow(number=1))
    lease = held(Slow(number=2))
    with pytest.raises(TakenElsewhere):
        run_task(Passing(), session=Session(waits=False))
    lease.release()


def test_the_innermost_lock_closes_all_runs_that_ask() -> None:
    class Outer(TaskOnKart[int]):
        def run(self) -> Iterator[Any]:
            try:
                yield Asking()
            finally:
                RAN.append("outer closed")

    lease = held(Slow(number=1))
    with pytest.raises(TakenElsewhere):
        run_task(Outer(), session=Session(waits=False))
    assert RAN == ["Asking(dumps_first=False)", "closed", "outer closed"]
    lease.release()


@pytest.mark.parametrize("again", [False, True])
def test_what_another_run_published_since_the_decision_stays(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a process sleeps through its lock's time to live after it has looked what is there, and before run() begins."""
    monkeypatch.setenv("AIRFLOW__KART__LOCK", "none")
    publications: list[object] = []

    class Meanwhile:
        def happens(self, event: Event) -> None:
            if event.kind == "runs":
                run_task(Slow(number=1), force=True)
                publications.append(publication())

    def publication() -> object:
        sidecar = Slow(number=1).output().sidecar()
        assert sidecar is not None
        return sidecar.publication

    if again:
        run_task(Slow(number=1))
    run_task(Slow(number=1), force=again, session=Session(listener=Meanwhile()))
    assert len(RAN) == 2 + again
    assert publications == [publication()]


def test_a_listener_hears_of_tasks_that_a_run_asks_for() -> None:
    heard: list[tuple[str, str]] = []

    class Listening:
        def happens(self, event: Event) -> None:
            heard.append((event.task, event.kind))

    run_task(Asking(), session=Session(listener=Listening()))
    asking, first, second = repr(Asking()), repr(Slow(number=1)), repr(Slow(number=2))
    inner = [(first, "runs"), (first, "ran"), (second, "runs"), (second, "ran")]
    assert heard == [(asking, "runs"), *inner, (asking, "ran")]
    heard.clear()
    lease = held(Slow(number=3))

    class Third(TaskOnKart[int]):
        def run(self) -> Iterator[Any]:
            yield Slow(number=3)

    with pytest.raises(TakenElsewhere):
        run_task(Third(), session=Session(waits=False, listener=Listening()))
    assert heard == [(repr(Third()), "runs"), (repr(Third()), "waits")]
    lease.release()


def test_wrappers_and_what_is_there_need_no_lock() -> None:
    class All(WrapperTask):
        def requires(self) -> Any:
            return Slow()

    build(All())
    leases = [held(Slow()), held(All())]
    assert build(Slow()) == 1
    build(All())
    for lease in leases:
        lease.release()
    assert RAN == ["Slow(number=1)"]


def test_a_dead_holder_is_taken_over(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIME_TO_LIVE", "5")
    with Workspace(Workspace.current().directory, lock="lease"):
        held(Slow())  # and never renewed
        began = time.monotonic()
        assert build(Slow()) == 1
    assert 5 <= time.monotonic() - began < 10
    assert any(re.search(r"takes over after .* as its run has died", message) for message in caplog.messages)


class Stolen(TaskOnKart[int]):
    """Loses its lock while it runs, and works on until it knows, or longer than half of the time to live."""

    heartbeat: bool = BoolParameter(default=True)

    def run(self) -> None:
        locks = locks_for(Workspace.current())
        taken = locks.look(self.unique_id)
        assert taken is not None
        assert not isinstance(locks.acquire(self.unique_id, Holder("thief"), taken), Taken)
        if self.heartbeat:
            time.sleep(2)  # in which the heartbeat finds out, and logs it
        else:
            ctypes.PyDLL(None).usleep(3_000_000)  # which keeps the heartbeat from running
        RAN.append("went on")
        self.dump(1)


@pytest.mark.parametrize("heartbeat", [True, False])
def test_who_has_lost_its_lock_publishes_nothing(
    heartbeat: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIME_TO_LIVE", "5")
    task = Stolen(heartbeat=heartbeat)
    with Workspace(Workspace.current().directory, lock="lease"):
        with pytest.raises(LockLostError, match=r"the lock of Stolen\(heartbeat=.*\) was lost") as caught:
            build(task)
        assert not task.complete()
    assert RAN == ["went on"]
    assert caught.value.task == repr(task)
    if heartbeat:
        assert str(caught.value) in caplog.messages


def test_a_wrong_lock_is_refused(tmp_path: Path) -> None:
    with Workspace(str(tmp_path / "ws"), lock="padlock"), pytest.raises(ConfigurationError, match=r"padlock.*file, lease"):
        build(Slow())


def test_a_workspace_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / ".kart-locks").write_text("in the way")
    with Workspace(str(tmp_path / "ws")), pytest.raises(LockError, match=r"\.kart-locks.*\[kart\] lock may also be"):
        build(Slow())
    assert RAN == []


PIPELINE = """
import os, sys, time, signal
from airflow_kart import IntParameter, ListParameter, TaskOnKart, build
class Part(TaskOnKart[int]):
    number: int = IntParameter()
    def run(self):
        if self.number == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number == 98:
            raise ValueError("no luck")
        time.sleep(0.2)
        self.dump(self.number)
class All(TaskOnKart[int]):
    numbers: tuple[int, ...] = ListParameter()
    def requires(self): return [Part(number=number) for number in self.numbers]
    def run(self): self.dump(sum(self.load()))
if __name__ == "__main__":
    print(build(All(numbers=eval(sys.argv[1])), workers=int(sys.argv[2]), progress=True))
"""


def run_pipeline(tmp_path: Path, numbers: str, workers: int) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "parts.py"
    script.write_text(PIPELINE)
    return subprocess.run(
        [sys.executable, str(script), numbers, str(workers)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_as_lines(workers: int, tmp_path: Path) -> None:
    done = run_pipeline(tmp_path, "(1, 2, 3)", workers)
    assert done.stdout.splitlines()[-1] == "6", done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert sum(bool(re.search(r"Part\(number=\d\) ran after \d+\.\d s$", line)) for line in lines) == 3
    assert sum("Part(number=1) runs: no artifact" in line for line in lines) == 1
    assert re.fullmatch(r"\[4/4\] All\(numbers=\[1, 2, 3\]\) ran after .* s", lines[-1])


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_tells_of_failures(workers: int, tmp_path: Path) -> None:
    done = run_pipeline(tmp_path, "(98, 1)", workers)
    assert done.returncode == 1
    assert re.search(r"Part\(number=98\) failed after .* s: ValueError: no luck", done.stderr)


def test_a_killed_worker_is_an_error_that_says_so(tmp_path: Path) -> None:
    done = run_pipeline(tmp_path, "(99, 1)", 2)
    assert done.returncode == 1
    assert f"{TaskFailedError.__name__}: a process that ran Part(number=99) died" in done.stderr


@pytest.mark.parametrize("text", ["x", "ä", "\U0001f600", "\ud800", "\0"])
def test_what_workers_tell_arrives_whole(text: str) -> None:
    listener, speaker = multiprocessing.Pipe()
    event = Event("failed", "0" * 32, text * 100_000, text * 100_000)
    thread = threading.Thread(target=_Teller(speaker).happens, args=(event,))
    thread.start()
    assert listener.recv() == event
    thread.join()


def test_a_worker_whose_parent_has_gone_tells_nobody() -> None:
    listener, speaker = multiprocessing.Pipe()
    listener.close()
    _Teller(speaker).happens(Event("ran", "0" * 32, "Part()"))


def test_the_last_event_of_a_job_comes_with_its_end() -> None:
    listener, speaker = multiprocessing.Pipe()
    teller, own, inner = _Teller(speaker), "a" * 32, "b" * 32
    begun, made, ran = Event("runs", own, "A()"), Event("ran", inner, "B()"), Event("ran", own, "A()")
    teller.begin(own)
    for event in (begun, made, ran):
        teller.happens(event)
    assert [listener.recv(), listener.recv(), listener.poll()] == [begun, made, False]
    teller.end(None)
    assert listener.recv() == _End(ran, None)

    failed, again = Event("failed", own, "A()"), Event("runs", own, "A()")
    for event in (failed, again):
        teller.happens(event)
    assert [listener.recv(), listener.recv()] == [failed, again], "in their order"
    teller.end(None)
    assert listener.recv() == _End(None, None)


def test_progress_live_on_a_terminal(tmp_path: Path) -> None:
    script = tmp_path / "parts.py"
    script.write_text(PIPELINE)
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, str(script), "(1, 2)", "2"],
        stderr=follower,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(60) == 0
    text = shown.decode()
    assert "Part(number=1)" in text
    assert "3/3" in text
    assert "\x1b[" in text
