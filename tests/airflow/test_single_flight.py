"""Operators that wait for another run, are told to end, or cannot reach what keeps the locks."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout, TaskDeferred
from airflow.sdk import DAG
from harness.airflow_home import airflow_program, environment, with_database
from harness.pipeline import RAN, Noted, ran
from harness.redis_server import RedisServer
from harness.stand_ins import context

from airflow_kart import KartDag, KartOperator, StrParameter, Workspace, build
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.runtime.single_flight import TakenElsewhere
from airflow_kart.triggers import external as external_module
from airflow_kart.triggers import lock as lock_module
from airflow_kart.triggers.external import ExternalArtifactTrigger
from airflow_kart.triggers.lock import LockTrigger

SOURCE = """
from __future__ import annotations
import os, sys, time
from pathlib import Path
from airflow_kart import *

HOME = Path(os.environ["AIRFLOW_HOME"])

class Slow(TaskOnKart[int]):
    def run(self):
        with (HOME / "ran").open("a") as file:
            file.write("x")
        while not (HOME / "gate").exists():
            time.sleep(0.02)
        self.dump(1)

KartDag("slow", Slow(), schedule=None)

if __name__ == "__main__":
    print("built", build(Slow()))
"""


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@pytest.fixture
def home(tmp_path):
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "slow.py").write_text(SOURCE)
    return with_database(tmp_path)


class Started:
    """A process whose output is read as it comes."""

    def __init__(self, home: Path, *command: str, **more: str) -> None:
        self.output = ""
        self._process = subprocess.Popen(
            command, env=environment(home, **more), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.output += line

    def wait_for(self, words: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.output:
            assert time.monotonic() < deadline and self._reader.is_alive(), f"{words!r} is not in:\n{self.output}"
            time.sleep(0.1)

    def ended(self, seconds: float = 120) -> int:
        self._reader.join(seconds)
        try:
            return self._process.wait(1)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {seconds} s:\n{self.output}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self._process.kill()
        self._process.wait(30)
        self._reader.join(30)


def test_tasks_test_and_dags_test_wait_for_a_build_and_use_what_it_made(home):
    with Started(home, sys.executable, str(home / "dags" / "slow.py")) as building:
        wait_until((home / "ran").exists, building)
        with Started(home, airflow_program(), "tasks", "test", "slow", "slow") as task:
            task.wait_for("Waiting, as Slow() is being made by process")
            with Started(home, airflow_program(), "dags", "test", "slow") as dag:
                dag.wait_for("Waiting, as Slow() is being made by process")
                (home / "gate").touch()
                assert [each.ended() for each in (building, task, dag)] == [0, 0, 0]
    assert "built 1" in building.output
    for each in (task, dag):
        assert "Going on after" in each.output
        assert "Slow() is cached" in each.output
    assert (home / "ran").read_text() == "x"


def wait_until(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, process.output
        time.sleep(0.1)


class Wanted(Noted):
    """Is made elsewhere."""


def test_who_waits_too_long_fails_and_says_for_whom_it_waited(run_dag, workspace, monkeypatch, capfd):
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "3")
    coordinates = {"dag_id": "other", "run_id": "its_run", "task_id": "its_task"}
    lease = locks_for(Workspace(str(workspace))).acquire(Wanted().unique_id, Holder("Wanted()", coordinates))
    assert not isinstance(lease, Taken)
    began = time.monotonic()
    run = run_dag(KartDag("impatient", Wanted(), schedule=None))
    assert 3 < time.monotonic() - began < 30
    lease.release()
    assert run.states["wanted"] == "failed"
    said = " ".join("".join(capfd.readouterr()).split())
    assert "LockTimeoutError" in said
    assert re.search(
        rf"Wanted\(\) has waited for \d s, as it is being made by dag other, run its_run, task its_task \(process {os.getpid()} on",
        said,
    )
    assert ran() == []


class Asking(Noted):
    """Asks for a task on its way."""

    def run(self):
        RAN.append("Asking")
        target = yield Wanted()
        self.dump(target.load())


def test_an_operator_defers_for_a_task_that_its_run_asks_for(run_dag, workspace, capfd):
    locks = locks_for(Workspace(str(workspace)))
    lease = locks.acquire(Wanted().unique_id, Holder("Wanted()", {"dag_id": "other", "run_id": "its", "task_id": "w"}))
    assert not isinstance(lease, Taken)
    seen: list[str] = []

    def let_go():
        while "Waiting, as Wanted() is being made by dag other" not in "".join(seen):
            seen.append("".join(capfd.readouterr()))
            time.sleep(0.05)
        assert locks.look(Asking().unique_id) is None
        lease.release()

    thread = threading.Thread(target=let_go)
    thread.start()
    run = run_dag(KartDag("asking", Asking(), schedule=None))
    thread.join(30)
    assert run.states["asking"] == "success"
    assert ran() == ["Asking", "Asking", "Wanted"]


class Stopped(Noted):
    """Is told to end in its midst, the first time."""

    name: str = StrParameter()

    def run(self):
        self.dump(self.name)
        RAN.append("before")
        if RAN.count("before") == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        RAN.append("after")


@pytest.fixture
def own_signals():
    """Airflow leaves its handler behind in this process."""
    before = signal.getsignal(signal.SIGTERM)
    ran()
    yield
    signal.signal(signal.SIGTERM, before)
    ran()


@pytest.mark.parametrize("kind", ["file", "lease"])
def test_a_task_that_is_told_to_end_does_so_and_lets_go_of_all_it_has(run_dag, workspace, own_signals, kind):
    stopped = Stopped(name=kind)
    run = run_dag(KartDag(f"stopped_{kind}", stopped, schedule=None, workspace=Workspace(str(workspace), lock=kind)))
    assert run.states["stopped"] == "failed"
    assert RAN == ["before"]
    assert [path for path in workspace.rglob("*") if path.is_file() and path.name != "publishing.lock"] == []
    with Workspace(str(workspace), lock=kind):
        assert locks_for(Workspace.current()).look(stopped.unique_id) is None
        began = time.monotonic()
        assert build(stopped) == kind
    assert time.monotonic() - began < 5
    assert RAN == ["before", "before", "after"]


def test_to_be_told_to_end_while_it_does_nothing_is_nothing():
    dag = KartDag("idle", Stopped(name="idle"), schedule=None)
    operator = dag.task_dict["stopped"]
    assert isinstance(operator, KartOperator)
    operator.on_kill()


class TestTriggerWithoutItsServer:
    @pytest.fixture
    def redis(self, tmp_path, monkeypatch):
        with RedisServer(tmp_path) as server:
            monkeypatch.setenv("AIRFLOW_CONN_LOCKS", server.connection())
            monkeypatch.setattr(lock_module, "SHORTEST_DEFERRAL", 0.0)
            monkeypatch.setattr(lock_module, "_POLL_SECONDS", 0.1)
            yield server

    def trigger(self, workspace, unique_id):
        here = Workspace(str(workspace), lock="redis", redis_conn_id="locks")
        trigger = LockTrigger(
            task="Slow()",
            unique_id=unique_id,
            sidecars={},
            since=time.time(),
            workspace=here,
        )
        return trigger, locks_for(here)

    def test_it_looks_again_when_the_server_is_back(self, workspace, redis):
        trigger, locks = self.trigger(workspace, "a")
        holder = Holder("Slow()")
        lease = locks.acquire("a", holder)

        async def watch():
            events = trigger.run()
            event = asyncio.ensure_future(anext_of(events))
            await asyncio.sleep(0.5)
            redis.stop()
            await asyncio.sleep(2)
            assert not event.done()
            redis.start()
            return await asyncio.wait_for(event, 30)

        event = asyncio.run(watch())
        assert event.payload["reason"] == "the other run has ended"  # the server came back empty
        assert event.payload["failed"] == ""
        lease.release()

    def test_it_lets_the_operator_find_out_where_the_server_stays_away(self, workspace, redis, monkeypatch):
        monkeypatch.setattr(lock_module, "_FAILURES_SURVIVED", 1.0)
        trigger, locks = self.trigger(workspace, "b")
        locks.acquire("b", Holder("Slow()"))
        redis.stop()
        event = asyncio.run(asyncio.wait_for(anext_of(trigger.run()), 60))
        assert "nobody could look up the lock's holder (could not look up the lock" in event.payload["reason"]
        assert event.payload["dead"] is None

    def test_an_operator_that_cannot_reach_the_server_fails_and_says_so(self, run_dag, workspace, redis, capfd):
        redis.stop()
        here = Workspace(str(workspace), lock="redis", redis_conn_id="locks")
        dag = KartDag("unreachable", Stopped(name="r"), schedule=None, workspace=here)
        run = run_dag(dag)
        assert run.states["stopped"] == "failed"
        assert "could not take the lock" in " ".join("".join(capfd.readouterr()).split())
        assert RAN == []


class TestShortestDeferral:
    """Airflow may fail an operator that is back before the scheduler knows that it was gone."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch):
        for module in (lock_module, external_module):
            monkeypatch.setattr(module, "SHORTEST_DEFERRAL", 1.5)

    def test_of_a_lock_that_is_free(self, workspace):
        trigger = LockTrigger(
            task="Slow()", unique_id="c", sidecars={}, since=time.time(), workspace=Workspace(str(workspace))
        )
        began = time.monotonic()
        event = asyncio.run(anext_of(trigger.run()))
        assert event.payload["reason"] == "the other run has ended"
        assert 1.5 <= time.monotonic() - began < 10

    def test_of_a_file_that_is_there(self, tmp_path):
        (tmp_path / "delivered").touch()
        began = time.monotonic()
        asyncio.run(anext_of(ExternalArtifactTrigger([str(tmp_path / "delivered")], 1).run()))
        assert 1.5 <= time.monotonic() - began < 10


class TestArguments:
    """The triggerer makes a trigger anew from its arguments as JSON, which an earlier version may have written."""

    HERE = Workspace("/data", "aws", "gcp", ("/other",), "redis", "locks")
    LOCK: ClassVar[dict[str, Any]] = {"task": "Slow()", "unique_id": "d", "sidecars": {"/data/a.pkl": None}, "since": 1.5}
    EXTERNAL: ClassVar[dict[str, Any]] = {"uris": ["/data/in.csv"], "poll_seconds": 2.0}
    EARLIER: ClassVar[dict[str, Any]] = {"aws_conn_id": "aws", "gcp_conn_id": "gcp"}

    @pytest.mark.parametrize(("kind", "arguments"), [(LockTrigger, LOCK), (ExternalArtifactTrigger, EXTERNAL)])
    def test_are_json(self, kind, arguments):
        name, written = kind(**arguments, workspace=self.HERE).serialize()
        assert name == f"{kind.__module__}.{kind.__name__}"
        assert {key: written[key] for key in arguments} == arguments
        again = kind(**json.loads(json.dumps(written)))
        assert again.workspace == self.HERE
        assert again.serialize() == (name, written)

    def test_a_path_means_the_same_in_another_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        _, written = LockTrigger(**self.LOCK, workspace=Workspace("relative")).serialize()
        assert written["workspace"] == {"directory": str(tmp_path / "relative")}

    def test_of_earlier_versions_are_understood(self):
        earlier = {"workspace_directory": "/data", **self.EARLIER, "lock": "redis", "redis_conn_id": "locks"}
        trigger = LockTrigger(**self.LOCK, **earlier)
        assert trigger.workspace == Workspace("/data", "aws", "gcp", None, "redis", "locks")
        external = ExternalArtifactTrigger(**self.EXTERNAL, **self.EARLIER)
        assert (external.workspace.aws_conn_id, external.workspace.gcp_conn_id) == ("aws", "gcp")


async def anext_of(events):
    async for event in events:
        return event
    raise AssertionError("there was no event")


class TestTimeoutsOfWaiting:
    """A deferral ends when execution_timeout or [kart] lock_timeout does, also where no triggerer runs."""

    HELD = Taken(Holder("Slow()"))

    def operator(self, **options):
        with DAG("timeouts", schedule=None):
            return KartOperator(task_id="waits", task=Stopped(name="waits"), **options)

    def deferred(self, operator, monkeypatch, began=None):
        def taken(*_args, **_options):
            raise TakenElsewhere(operator.task, self.HELD)

        monkeypatch.setattr("airflow_kart.operators.task.run_task", taken)
        event = {"failed": "", "since": began, "reason": "the other run has ended", "dead": None}
        with pytest.raises(TaskDeferred) as raised:
            if began is None:
                operator.execute(context())
            else:
                operator.execute_when_free(context(), event, began=began)
        return raised.value

    def test_the_shorter_one_counts(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "600")
        seconds = self.deferred(self.operator(), monkeypatch).timeout.total_seconds()
        assert 600 < seconds <= 660  # with a minute for the trigger's own, clearer error
        short = self.operator(execution_timeout=dt.timedelta(seconds=100))
        assert 90 < self.deferred(short, monkeypatch).timeout.total_seconds() <= 100

    def test_they_go_on_over_several_waits(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "600")
        began = time.time() - 80
        deferral = self.deferred(self.operator(execution_timeout=dt.timedelta(seconds=100)), monkeypatch, began)
        assert 10 < deferral.timeout.total_seconds() <= 20
        assert deferral.kwargs == {"began": began}
        assert deferral.trigger.since == began
        assert 500 < self.deferred(self.operator(), monkeypatch, began).timeout.total_seconds() <= 580

    def test_nobody_waits_longer(self, monkeypatch):
        operator = self.operator(execution_timeout=dt.timedelta(seconds=100))
        with pytest.raises(AirflowTaskTimeout, match="the time that it may take is over"):
            self.deferred(operator, monkeypatch, time.time() - 101)

    def test_what_is_over_says_so(self):
        with pytest.raises(Exception, match="waits has waited for too long, for a file or for another run") as error:
            self.operator().resume_execution("__fail__", {"error": "Trigger timeout"}, context())
        assert type(error.value).__name__ == "TaskDeferralTimeout"

    def test_what_an_earlier_version_deferred_goes_on(self, monkeypatch):
        made = []
        operator = self.operator()
        monkeypatch.setattr(operator, "_execute", lambda _context, _dead, waits: made.append(waits))
        operator.execute_when_there(context(), {"uris": ["/a"]})
        operator.execute_when_free(context(), {"failed": "", "since": 5.0, "reason": "r", "dead": None})
        assert made[0].since is None
        assert (made[1].began, made[1].since) == (5.0, 5.0)
