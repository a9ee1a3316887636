"""Celery with two workers of different host names and homes over one S3 workspace, one of them killed in the midst.

Run by hand, in an environment with the Celery provider: ``pip install apache-airflow-providers-celery 'celery[redis]<5.6'``, then
``PYTHONPATH=.:tests python tests/benchmarks/celery_two_hosts.py``.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from harness import s3_server
from harness.airflow_server import AirflowServer
from harness.loopback import free_port
from harness.postgres import postgres
from harness.redis_server import RedisServer

DAYS = [f"2024-05-{day:02}" for day in range(6, 11)]
DAG_FILE = """
from __future__ import annotations

import datetime as dt
import os
import time

from airflow_kart import DateParameter, KartDag, TaskOnKart, Workspace, run_date


class Step(TaskOnKart[str]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        self.dump(f"{type(self).__name__} {self.day}")
        time.sleep(4)
        with open(os.environ["KART_LEDGER"], "a") as ledger:
            ledger.write(f"{type(self).__name__}/{self.day} {os.environ.get('KART_HOST')}\\n")


class Raw(Step):
    pass


class Clean(Step):
    def requires(self) -> Raw:
        return Raw(day=self.day)


class Sum(Step):
    def requires(self) -> Clean:
        return Clean(day=self.day)


KartDag(
    "two_hosts",
    Sum(day=dt.date(2024, 5, 6)),
    schedule=None,
    bind={"day": run_date()},
    workspace=Workspace("s3://kart/two_hosts", aws_conn_id="kart_s3"),
    default_args={"retries": 3, "retry_delay": dt.timedelta(seconds=1)},  # of the plan too, which a host may run that dies
)
"""
HOST_NAME = """
import os
import socket


def host_name() -> str:
    return os.environ.get("KART_HOST") or socket.getfqdn()
"""


class Hosts:
    """The workers, each with a host name and a home of its own."""

    def __init__(self, server: AirflowServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        home = self._folder / name
        home.mkdir()
        environment = {
            **self._server.environment,
            "AIRFLOW_HOME": str(home),
            "KART_HOST": f"{name}.example",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        }
        command = [str(Path(sys.executable).parent / "airflow"), "celery", "worker", "--concurrency", "3"]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._workers[name] = subprocess.Popen(
                [*command, "--celery-hostname", f"worker@{name}"],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Kill a worker and all its processes, those of tasks too, as a host does that loses its power."""
        process = self._workers.pop(name)
        for pid in [process.pid, *_below(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(20)

    def stop(self) -> None:
        for name in list(self._workers):
            self.kill(name)


def _below(pid: int) -> list[int]:
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [found for child in children.split() for found in (int(child), *_below(int(child)))]


def main() -> int:
    """Run five days, kill a worker, and count."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        home = Path(folder) / "scheduler"
        home.mkdir()
        ledger = Path(folder) / "ledger"
        ledger.touch()
        names = Path(folder) / "names"
        names.mkdir()
        (names / "kart_host_name.py").write_text(HOST_NAME)
        s3 = ending.enter_context(s3_server.s3_server())
        s3_server.make_bucket(s3, "kart")
        redis = ending.enter_context(RedisServer(home))
        database = ending.enter_context(postgres())
        environment = {
            "KART_LEDGER": str(ledger),
            "PYTHONPATH": f"{names}:{os.environ.get('PYTHONPATH', '')}",
            "AIRFLOW_CONN_KART_S3": s3_server.s3_connection(s3),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "kart_host_name.host_name",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{redis.port}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql://{database}",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__KART__LOCK_TIME_TO_LIVE": "10",
        }
        server = AirflowServer(home, database, environment, triggerer=True)
        (server.dags / "two_hosts.py").write_text(DAG_FILE)
        ending.callback(server.stop)
        server.start()
        hosts = Hosts(server, Path(folder))
        ending.callback(hosts.stop)
        for name in ("one", "two"):
            hosts.start(name)
        server.wait_for_dags("two_hosts")
        began = time.monotonic()
        runs = [server.trigger("two_hosts", day=day) for day in DAYS]

        def ended() -> list[str]:
            return ledger.read_text().splitlines()

        server.wait(lambda: any("one.example" in line for line in ended()), 240, "the first host to make something", ended)
        server.wait(lambda: _at_work(server, runs, "one.example"), 60, "the first host to work again", ended)
        hosts.kill("one")
        print(
            f"killed the first host after {time.monotonic() - began:.0f} s, with {len(ended())} artifacts made", flush=True
        )
        states = [server.finished("two_hosts", run, 600) for run in runs]
        took = time.monotonic() - began
        made = collections.Counter(line.split()[0] for line in ended())
        by_host = collections.Counter(line.split()[1] for line in ended())
        client = boto3.client(
            "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="kart", Prefix="two_hosts/")["Contents"]]
        sidecars = [key for key in keys if key.endswith(".kart.json")]
        locks = [key for key in keys if "/.kart-locks/" in key]
        tries = sum(task["try_number"] > 1 for run in states for task in run.tasks.values())
        print(
            f"{len(DAYS)} days in {took:.0f} s: runs {[run.state for run in states]}; {len(sidecars)} artifacts, each made "
            f"{sorted(set(made.values()))} time(s), by {dict(by_host)}; {tries} tasks had a second try; locks left: {locks}"
        )
        for run in states:
            if run.state != "success":
                print(run.run_id, {task_id: (task["state"], task["try_number"]) for task_id, task in run.tasks.items()})
        good = {run.state for run in states} == {"success"} and len(sidecars) == 15 and set(made.values()) == {1}
        return int(not good)


def _at_work(server: AirflowServer, runs: list[str], host: str) -> bool:
    """Whether a task runs on a host."""
    for run in runs:
        found = server.call("GET", f"/dags/two_hosts/dagRuns/{run}/taskInstances?limit=100")["task_instances"]
        if any(task["state"] == "running" and task["hostname"] == host for task in found):
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
