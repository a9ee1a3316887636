"""Operators that wait for another run, are told to end, or cannot reach what keeps the locks."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.server
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

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException

from airflow_kart import KartDag, KartOperator, StrParameter, Workspace, build
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.operators.waiting import way_to_wait
from airflow_kart.storage import RUNS
from airflow_kart.triggers import deferral, health
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
    left = {path.name for path in workspace.rglob("*") if path.is_file() and RUNS not in path.parts}
    assert left <= {"publishing.lock", "held"}  # the lock files stay; nobody holds a lock
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
            monkeypatch.setattr(deferral, "UNSEEN_DEFERRAL", 0.0)
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


class HealthServer:
    """Answers as Airflow's API server does, with a scheduler whose heartbeat the test sets."""

    def __init__(self) -> None:
        self.beat, self.triggerer = 0, "healthy"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.path == "/api/v2/monitor/health"
                text = json.dumps(
                    {
                        "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": f"beat {outer.beat}"},
                        "triggerer": {"status": outer.triggerer},
                    }
                ).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_words):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/execution/"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def airflow_services(monkeypatch):
    server = HealthServer()
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", server.url)
    monkeypatch.setattr(health, "_SECONDS_OF_ONE_ANSWER", 0.01)
    yield server
    server.stop()


class TestShortestDeferral:
    """Airflow fails an operator that is back before the scheduler has read the end of its first process."""

    def free_lock(self, workspace):
        return LockTrigger(task="Slow()", unique_id="c", sidecars={}, since=time.time(), workspace=Workspace(str(workspace)))

    @pytest.fixture(params=["lock", "file"])
    def trigger(self, request, workspace, tmp_path):
        (tmp_path / "delivered").touch()
        if request.param == "lock":
            return self.free_lock(workspace)
        return ExternalArtifactTrigger([str(tmp_path / "delivered")], 1)

    def test_lasts_for_a_round_of_the_scheduler_however_slow(self, trigger, airflow_services, monkeypatch):
        monkeypatch.setattr(deferral, "SHORTEST_DEFERRAL", 0.1)

        async def watch():
            event = asyncio.ensure_future(anext_of(trigger.run()))
            for beat in (1, 2):
                await asyncio.sleep(2.5)
                assert not event.done()
                airflow_services.beat = beat
            return await asyncio.wait_for(event, 10)

        assert asyncio.run(watch()).payload["failed"] == ""

    def test_where_nobody_tells(self, trigger, monkeypatch):
        monkeypatch.setattr(deferral, "UNSEEN_DEFERRAL", 1.5)
        began = time.monotonic()
        asyncio.run(anext_of(trigger.run()))
        assert 1.5 <= time.monotonic() - began < 10

    def test_ends_with_the_time_of_the_operator(self, workspace, monkeypatch):
        monkeypatch.setattr(deferral, "UNSEEN_DEFERRAL", 0.0)
        here = Workspace(str(workspace))
        lease = locks_for(here).acquire("c", Holder("Slow()", {"dag_id": "other", "run_id": "its", "task_id": "t"}))
        assert not isinstance(lease, Taken)
        trigger = LockTrigger(
            task="Slow()", unique_id="c", sidecars={}, since=time.time(), until=time.time() + 1, workspace=here
        )
        event = asyncio.run(anext_of(trigger.run()))
        assert "as Slow() is being made by dag other, run its, task t" in event.payload["over"]
        lease.release()
        missing = ExternalArtifactTrigger([str(workspace / "absent")], 1, until=time.time() + 1)
        assert str(workspace / "absent") in asyncio.run(anext_of(missing.run())).payload["over"]


class TestWayToWait:
    class Instance:
        dag_id = "crowd"

        def __init__(self, deferred=0):
            self.deferred = deferred

        def get_ti_count(self, *, dag_id, states):
            assert (dag_id, states) == ("crowd", ["deferred"])
            return self.deferred

    def test_auto_defers_where_a_triggerer_runs(self, airflow_services):
        assert way_to_wait(self.Instance(500)) == "defer"
        airflow_services.triggerer = None
        time.sleep(0.05)
        assert way_to_wait(self.Instance()) == "reschedule"

    def test_auto_counts_the_crowd_where_nobody_tells(self):
        assert way_to_wait(self.Instance(19)) == "defer"
        assert way_to_wait(self.Instance(20)) == "reschedule"

    @pytest.mark.parametrize("way", ["defer", "reschedule", "block"])
    def test_a_given_one(self, way, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_WAIT", f" {way.upper()}")
        assert way_to_wait(self.Instance()) == way

    def test_an_unknown_one(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_WAIT", "never")
        with pytest.raises(
            ConfigurationError, match=r"lock_wait is 'never'; set it to one of auto, defer, reschedule, block"
        ):
            way_to_wait(self.Instance())


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
    """A wait ends when execution_timeout or [kart] lock_timeout does, whichever way the operator waits."""

    HOLDER = Holder("Slow()", {"dag_id": "other", "run_id": "its", "task_id": "t"})

    @pytest.fixture(autouse=True)
    def held(self, monkeypatch, workspace):
        """Another run holds the lock; the operator defers."""
        monkeypatch.setenv("AIRFLOW__KART__LOCK_WAIT", "defer")
        lease = locks_for(Workspace(str(workspace))).acquire(Stopped(name="waits").unique_id, self.HOLDER)
        assert not isinstance(lease, Taken)
        yield
        lease.release()

    def operator(self, **options):
        with DAG("timeouts", schedule=None):
            return KartOperator(task_id="waits", task=Stopped(name="waits"), **options)

    def deferred(self, operator, began=None, error=TaskDeferred):
        event = {"failed": "", "since": began, "reason": "the other run has ended", "dead": None, "unique_id": "u"}
        with pytest.raises(error) as raised:
            if began is None:
                operator.execute(context())
            else:
                operator.execute_when_free(context(), event, began=began)
        return raised.value

    def test_the_shorter_one_counts(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "600")
        deferral = self.deferred(self.operator())
        assert 600 < deferral.timeout.total_seconds() <= 660  # with a minute for the trigger's own, clearer error
        assert deferral.trigger.until is None
        deferral = self.deferred(self.operator(execution_timeout=dt.timedelta(seconds=100)))
        assert 100 < deferral.timeout.total_seconds() <= 160
        assert 90 < deferral.trigger.until - time.time() <= 100

    def test_they_go_on_over_several_waits(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "600")
        began = time.time() - 80
        deferral = self.deferred(self.operator(execution_timeout=dt.timedelta(seconds=100)), began)
        assert deferral.trigger.until == began + 100
        assert deferral.kwargs == {"began": began}
        assert deferral.trigger.since == began
        assert 500 < self.deferred(self.operator(), began).timeout.total_seconds() <= 580

    def test_nobody_waits_longer(self):
        operator = self.operator(execution_timeout=dt.timedelta(seconds=100))
        error = self.deferred(operator, time.time() - 101, AirflowTaskTimeout)
        assert re.search(r"waits began 10\d s ago and waits, as .* is being made by dag other, run its, task t", str(error))

    def test_of_an_operator_that_comes_back_by_itself(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__KART__LOCK_WAIT", "reschedule")
        operator = self.operator(execution_timeout=dt.timedelta(seconds=100))
        absence = self.absence(operator, seconds_ago=None)
        assert 20 < absence < 40
        assert 5 < self.absence(operator, seconds_ago=90) <= 10  # the time that is left
        assert 200 < self.absence(self.operator(), seconds_ago=10_000) < 400
        assert 330 < self.absence(self.operator(), seconds_ago=40, others=300) < 570
        with pytest.raises(AirflowTaskTimeout, match=r"waits began 10\d s ago and waits"):
            operator.execute(self.rescheduled(101))

    def absence(self, operator, seconds_ago, others=0):
        given = context() if seconds_ago is None else self.rescheduled(seconds_ago)
        given["ti"].get_ti_count = lambda dag_id, states: others if states == ["up_for_reschedule"] else 0
        with pytest.raises(AirflowRescheduleException) as raised:
            operator.execute(given)
        return (raised.value.reschedule_date - dt.datetime.now(dt.timezone.utc)).total_seconds()

    def rescheduled(self, seconds_ago):
        """Return the context of an operator that was rescheduled first so long ago."""
        found = context()
        first = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=seconds_ago)
        found["ti"].get_first_reschedule_date = lambda given: first if given is found else None
        found["task_reschedule_count"] = 3
        return found

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


class Impatient(Noted):
    """Is made elsewhere, for longer than its consumers wait."""


@pytest.mark.parametrize("way", ["defer", "block"])
def test_execution_timeout_ends_a_wait_as_a_failure(run_dag, workspace, monkeypatch, capfd, way):
    monkeypatch.setenv("AIRFLOW__KART__LOCK_WAIT", way)
    holder = Holder("Impatient()", {"dag_id": "other", "run_id": "its_run", "task_id": "its_task"})
    lease = locks_for(Workspace(str(workspace))).acquire(Impatient().unique_id, holder)
    assert not isinstance(lease, Taken)
    options = {"execution_timeout": dt.timedelta(seconds=3)}
    began = time.monotonic()
    run = run_dag(KartDag(f"timed_{way}", Impatient(), schedule=None, operator_kwargs=options))
    assert 3 <= time.monotonic() - began < 15
    lease.release()
    assert run.states["impatient"] == "failed"
    said = " ".join("".join(capfd.readouterr()).split())
    assert "AirflowTaskTimeout" in said
    assert "impatient began" in said and "is being made by dag other, run its_run, task its_task" in said
    assert ran() == []
