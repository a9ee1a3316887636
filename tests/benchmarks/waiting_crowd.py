"""Many operators of one run that wait for one lock, under a scheduler whose loop is slowed down; and no task fails.

Run by hand, as a crowd takes minutes of two processors: ``PYTHONPATH=tests python tests/benchmarks/waiting_crowd.py --waiters 300``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness.airflow_server import AirflowServer
from harness.postgres import postgres

DAG_FILE = """
from __future__ import annotations

import os
import time
from pathlib import Path

from airflow.sdk import DAG

from airflow_kart import KartOperator, TaskOnKart

HOME = Path(os.environ["AIRFLOW_HOME"])


class Wanted(TaskOnKart[str]):
    def run(self) -> None:
        with (HOME / "ran").open("a") as ledger:
            ledger.write("x")
        while not (HOME / "gate").exists():
            time.sleep(0.1)
        self.dump("there")


with DAG("crowd", schedule=None, max_active_tasks=1000):
    for number in range(int(os.environ["WAITERS"])):
        KartOperator(task_id=f"waiter_{number:03}", task=Wanted())
"""
SLOW_SCHEDULER = """
import os
import sys
import time

if "scheduler" in sys.argv:
    import airflow.sdk.execution_time.task_runner  # the tasks are forks of this process
    import airflow_kart.operators.task
    import pandas
    from airflow.executors.local_executor import LocalExecutor

    as_it_is = LocalExecutor.sync

    def slowly(self):
        as_it_is(self)
        time.sleep(float(os.environ["LOOP_DELAY"]))  # in which an operator defers, and its trigger fires

    LocalExecutor.sync = slowly
"""
ENDED = {"success", "skipped", "failed", "upstream_failed"}


def main() -> int:
    """Run the crowd once; print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiters", type=int, default=30)
    parser.add_argument("--way", default="defer", help="[kart] lock_wait")
    parser.add_argument("--delay", type=float, default=12, help="seconds added to each round of the scheduler's loop")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--held", type=float, default=60, help="seconds for which the lock is held once all wait")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ending:
        home = Path(folder)
        environment = {
            "WAITERS": str(arguments.waiters),
            "LOOP_DELAY": str(arguments.delay),
            "AIRFLOW__KART__LOCK_WAIT": arguments.way,
            "AIRFLOW__CORE__PARALLELISM": str(arguments.slots),
            "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "0",
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "120",  # else a start whose request is not answered in 5 s is a failure
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "600",  # the machine is busy
        }
        server = AirflowServer(home, ending.enter_context(postgres()), environment, triggerer=True)
        (home / "config").mkdir()
        (home / "config" / "airflow_local_settings.py").write_text(SLOW_SCHEDULER)
        (server.dags / "crowd.py").write_text(DAG_FILE)
        ending.callback(server.stop)
        server.start()
        server.wait_for_dags("crowd")
        return crowd(server, arguments)


def crowd(server: AirflowServer, arguments: argparse.Namespace) -> int:
    """Let the crowd wait, then go; return the exit code."""
    run_id = server.trigger("crowd")
    began, most, starts = time.monotonic(), 0, 0

    def counts() -> collections.Counter[str]:
        found: list[str] = []
        while True:
            path = f"/dags/crowd/dagRuns/{run_id}/taskInstances?limit=100&offset={len(found)}"
            page = server.call("GET", path)
            found += [task["state"] or "none" for task in page["task_instances"]]
            if len(found) >= page["total_entries"]:
                return collections.Counter(found)

    def watch(until: Callable[[collections.Counter[str]], bool], limit: float) -> None:
        nonlocal most
        deadline = time.monotonic() + limit
        while not until(found := counts()):
            most = max(most, found["running"])
            if time.monotonic() > deadline or found["failed"]:
                print(f"  at {time.monotonic() - began:.0f} s: {dict(found)}", flush=True)
            if time.monotonic() > deadline:
                raise SystemExit("in vain")
            time.sleep(2)

    logs = server.home / "logs" / "dag_id=crowd"

    def waiting() -> int:
        return sum("Waiting, as" in file.read_text() for file in logs.rglob("*.log"))

    watch(lambda _found: waiting() >= arguments.waiters - 1, 1800)
    print(
        f"{arguments.waiters - 1} wait after {time.monotonic() - began:.0f} s, for {arguments.held:.0f} s more", flush=True
    )
    time.sleep(arguments.held)
    during = counts()
    (server.home / "gate").touch()
    opened = time.monotonic()
    watch(lambda found: sum(found[state] for state in ENDED) == arguments.waiters, 3600)
    took = time.monotonic() - opened
    run = server.finished("crowd", run_id)
    states = collections.Counter(run.states.values())
    tries = sum(task["try_number"] - 1 for task in run.tasks.values())
    starts = sum(file.read_text().count("DAG bundles loaded") for file in logs.rglob("*.log"))
    ran = len((server.home / "ran").read_text())
    print(
        f"{arguments.way}, {arguments.waiters} waiters, {arguments.delay:.0f} s added to each round, {arguments.slots} slots: "
        f"{states['failed']} failed, {tries} tries consumed, run() {ran} time(s); while all waited {during['running']} of the "
        f"slots in use; {took:.0f} s from the artifact to the last end; {starts} starts of operators; states {dict(states)}"
    )
    return int(bool(states["failed"] or tries or ran != 1))


if __name__ == "__main__":
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    sys.exit(main())
