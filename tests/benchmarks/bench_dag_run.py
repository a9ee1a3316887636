"""A DAG run of 1,000 tasks that are all cached, with a plan and without, and of 10,000 with a plan, under a real scheduler.

The executor is LocalExecutor. The time is the run's duration as Airflow gives it. Without a plan each task starts a process to find itself cached,
which takes a quarter of an hour; it runs once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from harness.airflow_server import AirflowServer
from harness.postgres import postgres
from side_by_side import Budget, print_table, temporary_directory, verdict

AT_MOST_SECONDS = 6.0
MANY_AT_MOST_SECONDS = 25.0
PLANNED_RUNS = 5
SOURCE = Path(__file__).parents[1] / "scheduler" / "dags" / "layered.py"
PLANNED = 'KartDag("layered", Total(), schedule=None)'
SIZE = "WIDTH, DEPTH = 111, 9"


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as home, postgres() as database:
        server = AirflowServer(Path(home), database)
        source = SOURCE.read_text(encoding="utf-8")
        (server.dags / "layered.py").write_text(source, encoding="utf-8")
        many = source.replace(PLANNED, 'KartDag("many", Total(), schedule=None)').replace(SIZE, "WIDTH, DEPTH = 1111, 9")
        (server.dags / "many.py").write_text(many, encoding="utf-8")
        # The same module under the same logical name has the same artifacts: only the DAG's id and its plan differ.
        unplanned = source.replace(PLANNED, 'KartDag("unplanned", Total(), schedule=None, plan=False)')
        _fill_the_workspace(server, "layered.py")
        _fill_the_workspace(server, "many.py")
        try:
            server.start()
            server.wait_for_dags("layered")
            planned = [server.run("layered") for _ in range(PLANNED_RUNS)]
            server.wait_for_dags("many")
            ten_thousand = [server.run("many") for _ in range(PLANNED_RUNS)]
            (server.dags / "layered.py").write_text(unplanned, encoding="utf-8")
            server.wait_for_dags("unplanned")
            alone = server.run("unplanned", timeout=1800)
        finally:
            server.stop()
    seconds = statistics.median(run.seconds for run in planned)
    rows = [
        ["with a plan", seconds, len(planned[0].started()), 1.0],
        ["without", alone.seconds, len(alone.started()), alone.seconds / seconds],
    ]
    most = statistics.median(run.seconds for run in ten_thousand)
    rows.append([f"with a plan, {len(ten_thousand[0].states):,} tasks", most, len(ten_thousand[0].started()), ""])
    print_table(["1,000 cached tasks", "seconds", "processes", "ratio"], rows)
    return verdict(
        [
            Budget("with a plan:", seconds, AT_MOST_SECONDS, " s"),
            Budget("with a plan, 10,000 tasks:", most, MANY_AT_MOST_SECONDS, " s"),
        ]
    )


def _fill_the_workspace(server: AirflowServer, file: str) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(server.home), "AIRFLOW__CORE__DAGS_FOLDER": str(server.dags)}
    subprocess.run([sys.executable, server.dags / file], env=environment, check=True, capture_output=True, timeout=300)


if __name__ == "__main__":
    sys.exit(main())
