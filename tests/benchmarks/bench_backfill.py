"""A backfill of a year, one partition per day, of which 360 days are there, under a real scheduler (Airflow 3.3 and later).

The executor is LocalExecutor. Five tasks may run, of the five missing days; each other run is its plan and its report. The
partitions are days of New York, and the schedule's runs are for the day before (``run_offset=-1``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from harness.airflow_server import FINISHED, AirflowServer
from harness.postgres import postgres
from side_by_side import Budget, print_table, temporary_directory, verdict

MISSING = ("2023-01-01", "2023-03-12", "2023-07-04", "2023-11-05", "2023-12-31")  # of which two change the clocks
AT_MOST_SECONDS = 1800.0
DAG = """
import datetime as dt

from airflow.sdk import CronPartitionTimetable
from airflow_kart import DateParameter, KartDag, TaskOnKart, run_date

ZONE = "America/New_York"


class Hits(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        self.dump(self.day.day)


class Visits(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def requires(self) -> TaskOnKart[int]:
        return Hits(day=self.day)

    def run(self) -> None:
        self.dump(self.load() + 1)


schedule = CronPartitionTimetable("0 0 * * *", timezone=ZONE, run_offset=-1)
KartDag("visits", Visits, bind={"day": run_date(tz=ZONE)}, schedule=schedule, catchup=False, max_active_runs=8)
"""
FILL = """
import datetime as dt, sys
from airflow_kart import build
from visits import Visits

first = dt.date(2023, 1, 1)
days = [first + dt.timedelta(days=number) for number in range(365)]
for day in days:
    if day.isoformat() not in sys.argv[1:]:
        build(Visits(day=day))
"""


def main() -> int:
    """Fill the workspace, run the backfill, print, and return the exit code."""
    with temporary_directory() as home, postgres() as database:
        server = AirflowServer(Path(home), database)
        (server.dags / "visits.py").write_text(DAG, encoding="utf-8")
        command = [sys.executable, "-c", FILL, *MISSING]
        subprocess.run(command, env=server.environment, cwd=server.dags, check=True, capture_output=True)
        before = set(server.workspace.rglob("*.kart.json"))
        try:
            server.start()
            server.wait_for_dags("visits")
            started = time.monotonic()
            server.command(
                "backfill", "create", "--dag-id", "visits", "--from-date", "2023-01-01", "--to-date", "2023-12-31"
            )
            runs = _finished_runs(server, 365)
            seconds = time.monotonic() - started
            ran = sorted(run["partition_key"][:10] for run in runs if _ran(server, run))
        finally:
            server.stop()
        made = sum(map(_by_backfill, set(server.workspace.rglob("*.kart.json")) - before))
    states = [run["state"] for run in runs]
    rows = [["a year, 360 of 365 days there", len(runs), states.count("success"), len(ran), made, round(seconds)]]
    print_table(["backfill", "runs", "successes", "runs with tasks", "artifacts made", "seconds"], rows)
    if ran != sorted(MISSING) or made != 2 * len(MISSING) or states.count("success") != 365:
        print(f"the days that ran are {', '.join(ran)}", file=sys.stderr)
        return 1
    return verdict([Budget("the backfill:", seconds, AT_MOST_SECONDS, " s")])


def _by_backfill(sidecar: Path) -> bool:
    """Whether the backfill made an artifact; the schedule makes yesterday's besides."""
    return bool(json.loads(sidecar.read_bytes())["airflow"]["run_type"] == "backfill")


def _finished_runs(server: AirflowServer, count: int) -> list[dict[str, str]]:
    deadline = time.monotonic() + AT_MOST_SECONDS * 2
    while True:
        runs: list[dict[str, str]] = []
        while page := server.call("GET", f"/dags/visits/dagRuns?limit=100&offset={len(runs)}&order_by=id")["dag_runs"]:
            runs += page
        backfilled = [run for run in runs if run["run_type"] == "backfill"]
        if sum(run["state"] in FINISHED for run in backfilled) == count:
            return backfilled
        if time.monotonic() > deadline:
            raise SystemExit(f"of {count} runs only {len(backfilled)} were made, or not all ended")
        time.sleep(5)


def _ran(server: AirflowServer, run: dict[str, str]) -> bool:
    return server.finished("visits", run["dag_run_id"]).states["visits"] == "success"


if __name__ == "__main__":
    sys.exit(main())
