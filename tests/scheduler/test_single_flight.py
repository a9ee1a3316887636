"""One run makes an artifact and the others wait: without worker slots, whatever becomes of that one run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import pytest
from harness import s3_server
from harness.airflow_server import AirflowServer
from harness.postgres import postgres
from harness.redis_server import RedisServer

DAGS = Path(__file__).parent / "dags" / "single_flight.py"
NARROW, WIDE = 2, 10  # worker slots
LIFE = 5  # seconds without a renewal after which a lock that is not the kernel's may be taken over
SOON = 45  # seconds for what takes two to five on a machine that does nothing else


class Flights(AirflowServer):
    """An Airflow whose tasks wait for gates; what ran is in a ledger."""

    def entries(self, gate: str) -> list[tuple[int, float]]:
        """Return the process and the time of each run of a gate's task."""
        ledger = self.home / "single_flight_ledger"
        lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
        return [(int(pid), float(moment)) for name, pid, moment in lines if name == gate]

    def hold(self, dag_id: str, gate: str) -> str:
        """Start a run and wait until it holds the lock; return its id."""
        run_id = self.trigger(dag_id, {"gate": gate})
        self.wait(lambda: self.entries(gate), SOON, f"{gate} to run", lambda: self.state(dag_id, run_id, "gated"))
        return run_id

    def queue(self, dag_id: str, gate: str) -> str:
        """Start a run and wait until it waits for its turn; return its id."""
        run_id = self.trigger(dag_id, {"gate": gate})
        self.wait_for_state(dag_id, run_id, "deferred")
        return run_id

    def wait_for_state(self, dag_id: str, run_id: str, *states: str, seconds: float = SOON) -> str:
        """Wait until the task of a gate has one of some states; return which."""
        return self.wait(
            lambda: (state := self.state(dag_id, run_id, "gated")) in states and state,
            seconds,
            f"{dag_id} {run_id} to be {states}",
            lambda: (self.state(dag_id, run_id, "gated"), self.log_of(dag_id, run_id, "gated")),
        )

    def open(self, gate: str) -> None:
        """Let a gate's tasks end."""
        (self.home / "gates" / gate).touch()

    def with_slots(self, count: int) -> None:
        """Have so many worker slots."""
        if self.slots != count:
            self.kill("scheduler")
            self.start_scheduler(count)

    def start_scheduler(self, count: int) -> None:
        """Start the killed scheduler again."""
        self.spawn_again("scheduler", {"AIRFLOW__CORE__PARALLELISM": str(count)})
        self.slots = count

    slots = NARROW
    s3: str
    """Address of the S3 server."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("flights")
    (home / "gates").mkdir()
    with contextlib.ExitStack() as ending:
        database = ending.enter_context(postgres())
        s3 = ending.enter_context(s3_server.s3_server())
        redis = ending.enter_context(RedisServer(home))
        s3_server.make_bucket(s3, "kart")
        options = {
            "CORE__PARALLELISM": NARROW,
            "KART__LOCK_TIME_TO_LIVE": LIFE,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 30,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        }
        environment = {f"AIRFLOW__{name}": str(value) for name, value in options.items()}
        server = Flights(home, database, environment, triggerer=True)
        shutil.copy(DAGS, server.dags)
        ending.callback(server.stop)
        server.start()
        # In the database only: no process has them in its environment.
        for name, connection in (("s3_in_db", s3_server.s3_connection(s3)), ("redis_in_db", redis.connection())):
            content = json.loads(connection)
            extra = json.dumps(content.pop("extra", {}))
            server.call("POST", "/connections", {**content, "extra": extra, "connection_id": name})
        server.wait_for_dags("single_crowd", "single_file", "single_lease", "single_redis", "single_bucket", "single_daily")
        server.s3 = s3
        yield server


def alive(pid):
    """Whether a process runs; one that nobody has buried yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def sidecar(server, directory, gate):
    found = [json.loads(file.read_text()) for file in (server.home / directory).glob("gated/*.kart.json")]
    (one,) = [each for each in found if each["task"]["parameters"]["gate"]["value"] == gate]
    return one


class TestCrowd:
    def test_nine_runs_wait_for_a_tenth_and_take_no_worker_slot(self, server):
        server.with_slots(NARROW)
        runs = [server.trigger("single_crowd", {"gate": "crowd"}) for _ in range(10)]

        def states():
            return sorted(server.state("single_crowd", run, "gated") for run in runs)

        server.wait(lambda: states() == ["deferred"] * 9 + ["running"], 150, "nine runs to wait", states)
        began = time.time()
        server.trigger("single_unrelated")
        server.wait(lambda: server.entries("unrelated"), SOON, "an unrelated task to start", states)
        print(f"the unrelated task ran {server.entries('unrelated')[0][1] - began:.1f} s after it was triggered")
        assert states() == ["deferred"] * 9 + ["running"]
        server.open("crowd")
        began = time.time()
        ended = ["skipped"] * 9 + ["success"]
        server.wait(lambda: states() == ended, 120, "all ten to end", states)
        print(f"ten runs ended {time.time() - began:.1f} s after the artifact was there")
        assert len(server.entries("crowd")) == 1

    def test_the_log_says_who_is_waited_for(self, server):
        runs = server.call("GET", "/dags/single_crowd/dagRuns?limit=100")["dag_runs"]
        logs = [server.log_of("single_crowd", run["dag_run_id"], "gated") for run in runs]
        waiting = [
            log for log in logs if "Waiting, as Gated(gate='crowd') is being made by dag single_crowd, run manual" in log
        ]
        assert len(waiting) == 9
        assert all("Going on after" in log and "is cached (made" in log for log in waiting)


def test_the_death_of_scheduler_and_workers(server):
    server.with_slots(NARROW)
    server.hold("single_lease", "power")
    waiting = server.queue("single_lease", "power")
    server.kill("scheduler")  # with its workers and their tasks
    server.wait(lambda: not alive(server.entries("power")[0][0]), 20, "the process to end")
    server.start_scheduler(WIDE)
    began = time.time()
    server.wait(lambda: len(server.entries("power")) == 2, 90, "another run to take over")
    print(f"a waiting run took over {server.entries('power')[1][1] - began:.1f} s after the scheduler was started anew")
    server.open("power")
    server.wait_for_state("single_lease", waiting, "success", "skipped")  # the dead run may be tried again first
    assert len(server.entries("power")) == 2
    assert sidecar(server, "lease_workspace", "power")["airflow"]["dag_id"] == "single_lease"


EVENTS = [
    ("clear", "single_file"),
    ("clear", "single_lease"),
    ("mark_failed", "single_lease"),
    ("mark_success", "single_file"),
    ("sigterm", "single_lease"),
    ("sigkill", "single_file"),
    ("sigkill", "single_lease"),
]


@pytest.fixture(scope="module")
def held(server):
    """A run that holds a lock, and one that waits for it, for each event."""
    server.with_slots(WIDE)
    cases = [(dag_id, f"{event}-{dag_id}") for event, dag_id in EVENTS]
    holding = [server.trigger(dag_id, {"gate": gate}) for dag_id, gate in cases]
    for _, gate in cases:
        server.wait(lambda gate=gate: server.entries(gate), 90, f"{gate} to run")
    waiting = [server.trigger(dag_id, {"gate": gate}) for dag_id, gate in cases]
    for (dag_id, _), run_id in zip(cases, waiting, strict=True):
        server.wait_for_state(dag_id, run_id, "deferred", seconds=90)
    return dict(zip(EVENTS, zip(holding, waiting, strict=True), strict=True))


@pytest.mark.parametrize("case", EVENTS, ids="-".join)
def test_what_becomes_of_a_lock(server, held, case):
    event, dag_id = case
    gate, (holding, waiting) = f"{event}-{dag_id}", held[case]
    ((pid, _),) = server.entries(gate)
    began = time.time()
    if event == "clear":
        body = {"dag_run_id": holding, "dry_run": False, "only_failed": False, "reset_dag_runs": True, "task_ids": ["gated"]}
        server.call("POST", f"/dags/{dag_id}/clearTaskInstances", body)
    elif event.startswith("mark_"):
        server.set_state(dag_id, holding, "gated", event.removeprefix("mark_"))
    else:
        os.kill(pid, signal.SIGTERM if event == "sigterm" else signal.SIGKILL)
    server.wait(lambda: not alive(pid), 20, "the process to end")
    stopped = time.time() - began
    server.wait(lambda: len(server.entries(gate)) == 2, SOON, "another try or run to make it")
    print(
        f"{gate}: the process ended after {stopped:.1f} s, it is made anew after {server.entries(gate)[1][1] - began:.1f} s"
    )
    assert not (server.home / "gates" / gate).exists()
    server.open(gate)
    runs = [server.finished(dag_id, run_id, 60) for run_id in (holding, waiting)]
    states = [run.states["gated"] for run in runs]
    if event.startswith("mark_"):
        assert states == [event.removeprefix("mark_"), "success"]
    elif case == ("sigkill", "single_file"):  # which has no second try
        assert states == ["failed", "success"]
    else:
        assert sorted(states) == ["skipped", "success"]
    assert len(server.entries(gate)) == 2
    directory = "lease_workspace" if dag_id == "single_lease" else "kart_workspace"
    assert sidecar(server, directory, gate)["airflow"]["run_id"] in (holding, waiting)
    if event != "sigkill":  # it was told to end, and has cleared up behind itself
        assert "Airflow has told gated to end" in runs[0].log("gated")


def test_nothing_is_left_of_those_that_were_stopped(server, held):
    for directory in ("kart_workspace", "lease_workspace"):
        workspace = server.home / directory
        uploads = [path for path in workspace.glob("gated/.kart-uploads/*") if path.name != "publishing.lock"]
        assert uploads == []
        assert list(workspace.glob(".kart-locks/*.lock")) == list(workspace.glob(".kart-locks/*.json")) == []


def test_connections_of_the_database_in_the_triggerer(server):
    server.with_slots(WIDE)
    delivery = server.trigger("single_delivery")
    dags = ("single_redis", "single_bucket")
    holding = {dag_id: server.hold(dag_id, dag_id) for dag_id in dags}
    waiting = {dag_id: server.queue(dag_id, dag_id) for dag_id in dags}
    time.sleep(LIFE + 3)  # in which the triggerer looks several times
    assert {server.state(dag_id, run_id, "gated") for dag_id, run_id in waiting.items()} == {"deferred"}
    assert server.state("single_delivery", delivery, "delivery") == "deferred"
    for dag_id in dags:
        server.open(dag_id)
    put = urllib.request.Request(f"{server.s3}/kart/delivered.txt", data=b"tea", method="PUT")
    urllib.request.urlopen(put, timeout=30).close()
    for dag_id in dags:
        assert server.finished(dag_id, holding[dag_id], 60).states["gated"] == "success"
        run = server.finished(dag_id, waiting[dag_id], 60)
        assert run.states["gated"] == "skipped"
        assert "the other run has ended" in run.log("gated") or "the other run has published" in run.log("gated")
        assert "Cannot look" not in run.log("gated")
        assert len(server.entries(dag_id)) == 1
    assert server.finished("single_delivery", delivery, 60).states["unpacked"] == "success"


def test_a_backfill_makes_each_artifact_once(server):
    server.with_slots(WIDE)
    arguments = [
        "--dag-id",
        "single_daily",
        "--from-date",
        "2013-03-01",
        "--to-date",
        "2013-03-10",
        "--max-active-runs",
        "8",
    ]
    server.command("backfill", "create", *arguments)
    server.call("PATCH", "/dags/single_daily", {"is_paused": False})

    def runs():
        found = server.call("GET", "/dags/single_daily/dagRuns?limit=100")["dag_runs"]
        return {run["dag_run_id"]: run["state"] for run in found}

    began = time.time()
    server.wait(lambda: len(runs()) == 10 and set(runs().values()) <= {"success", "failed"}, 300, "the backfill", runs)
    print(f"the backfill took {time.time() - began:.0f} s")
    assert set(runs().values()) == {"success"}
    logs = "\n".join(log.read_text() for log in (server.home / "logs" / "dag_id=single_daily").rglob("*.log"))
    ran, made = (re.findall(rf'"event":"(\w+\([^"]*\)) {words}', logs) for words in ("runs: ", "ran in "))
    assert "Task failed with exception" not in logs
    found = [json.loads(file.read_text()) for file in server.home.glob("kart_workspace/single_flight/*.kart.json")]
    by_day = [each for each in found if "day" in each["task"]["parameters"]]
    assert len(by_day) == 12 + 10 + 10  # features of two more days
    assert sorted(ran) == sorted(made)
    assert len(made) == len(set(made)) == len(by_day)
    assert {each["airflow"]["run_id"] for each in by_day} <= runs().keys()
