"""A DAG run of 1,000 tasks that are all cached, with a plan and without, under a real scheduler with LocalExecutor.

The time is the run's duration as Airflow gives it. Without a plan each task starts a process to find itself cached,
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
PLANNED_RUNS = 5
SOURCE = Path(__file__).parents[1] / "scheduler" / "dags" / "layered.py"
PLANNED = 'KartDag("layered", Total(), schedule=None)'


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as home, postgres() as database:
        server = AirflowServer(Path(home), database)
        source = SOURCE.read_text(encoding="utf-8")
        (server.dags / "layered.py").write_text(source, encoding="utf-8")
        # The same module under the same logical name has the same artifacts: only the DAG's id and its plan differ.
        unplanned = source.replace(PLANNED, 'KartDag("unplanned", Total(), schedule=None, plan=False)')
        _fill_the_workspace(server)
        try:
            server.start()
            server.wait_for_dags("layered")
            planned = [server.run("layered") for _ in range(PLANNED_RUNS)]
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
    print_table(["1,000 cached tasks", "seconds", "processes", "ratio"], rows)
    return verdict([Budget("with a plan:", seconds, AT_MOST_SECONDS, " s")])


def _fill_the_workspace(server: AirflowServer) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(server.home), "AIRFLOW__CORE__DAGS_FOLDER": str(server.dags)}
    subprocess.run(
        [sys.executable, server.dags / "layered.py"], env=environment, check=True, capture_output=True, timeout=300
    )


if __name__ == "__main__":
    sys.exit(main())
