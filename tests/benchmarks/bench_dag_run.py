"""A DAG run of 1,000 tasks that are all cached, with a plan and without, and of 10,000 with a plan, under a real scheduler.

The executor is LocalExecutor. The time is the run's duration as Airflow gives it. Without a plan each task starts a process to find itself cached,
which takes a quarter of an hour; it runs once. The plain DAG has 10,000 operators of Airflow in the same places; its first
one skips them all in the same requests, and knows nothing of artifacts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from harness.airflow_server import AirflowServer, DagRun
from harness.postgres import postgres
from side_by_side import Budget, print_table, temporary_directory, verdict

AT_MOST_SECONDS = 6.0
MANY_AT_MOST_SECONDS = 25.0
FINISHED = ("success", "failed", "upstream_failed", "skipped")
MANY_AT_MOST_TIMES_PLAIN = 1.3
PLANNED_RUNS, MANY_RUNS = 5, 3
SOURCE = Path(__file__).parents[1] / "scheduler" / "dags" / "layered.py"
PLANNED = 'KartDag("layered", Total(), schedule=None)'
SIZE = "WIDTH, DEPTH = 111, 9"
PLAIN = """
from airflow.sdk import DAG, BaseOperator

WIDTH, DEPTH = 1111, 9


class Nothing(BaseOperator):
    def execute(self, context):
        pass


class Skip(BaseOperator):
    def execute(self, context):
        from airflow.sdk.execution_time.comms import SkipDownstreamTasks
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        ids = ["total", *(f"cell_{layer}_{column}" for layer in reversed(range(DEPTH)) for column in range(WIDTH))]
        for start in range(0, len(ids), 100):
            SUPERVISOR_COMMS.send(SkipDownstreamTasks(tasks=ids[start : start + 100]))


with DAG("plain", schedule=None):
    plan, total = Skip(task_id="plan"), Nothing(task_id="total", trigger_rule="none_failed")
    layer = []
    for number in range(DEPTH):
        above, layer = layer, [
            Nothing(task_id=f"cell_{number}_{column}", trigger_rule="none_failed") for column in range(WIDTH)
        ]
        for column, cell in enumerate(layer):
            cell.set_upstream([above[column], above[(column + 1) % WIDTH]] if above else plan)
    total.set_upstream(layer)
    total >> Nothing(task_id="report", trigger_rule="all_done")
"""


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as home, postgres() as database:
        server = AirflowServer(Path(home), database)
        source = SOURCE.read_text(encoding="utf-8")
        (server.dags / "layered.py").write_text(source, encoding="utf-8")
        many = source.replace(PLANNED, 'KartDag("many", Total(), schedule=None)').replace(SIZE, "WIDTH, DEPTH = 1111, 9")
        (server.dags / "many.py").write_text(many, encoding="utf-8")
        (server.dags / "plain.py").write_text(PLAIN, encoding="utf-8")
        # The same module under the same logical name has the same artifacts: only the DAG's id and its plan differ.
        unplanned = source.replace(PLANNED, 'KartDag("unplanned", Total(), schedule=None, plan=False)')
        _fill_the_workspace(server, "layered.py")
        _fill_the_workspace(server, "many.py")
        try:
            server.start()
            server.wait_for_dags("layered")
            planned = [_run(server, "layered") for _ in range(PLANNED_RUNS)]
            server.wait_for_dags("many", "plain")
            both = [(_run(server, "many"), _run(server, "plain")) for _ in range(MANY_RUNS)]
            (server.dags / "layered.py").write_text(unplanned, encoding="utf-8")
            server.wait_for_dags("unplanned")
            alone = _run(server, "unplanned", 1800)
        finally:
            server.stop()
    seconds = statistics.median(run.seconds for run in planned)
    rows = [
        ["with a plan", seconds, len(planned[0].started()), 1.0],
        ["without", alone.seconds, len(alone.started()), alone.seconds / seconds],
    ]
    most, plain = (statistics.median(pair[which].seconds for pair in both) for which in (0, 1))
    tasks = f"{len(both[0][0].states):,} tasks"
    rows.append([f"with a plan, {tasks}", most, len(both[0][0].started()), most / plain])
    rows.append([f"plain operators, {tasks}", plain, len(both[0][1].started()), 1.0])
    print_table(["1,000 cached tasks", "seconds", "processes", "ratio"], rows)
    return verdict(
        [
            Budget("with a plan:", seconds, AT_MOST_SECONDS, " s"),
            Budget("with a plan, 10,000 tasks:", most, MANY_AT_MOST_SECONDS, " s"),
            Budget("with a plan, 10,000 tasks, over plain operators:", most / plain, MANY_AT_MOST_TIMES_PLAIN),
        ]
    )


def _run(server: AirflowServer, dag_id: str, timeout: float = 900) -> DagRun:
    """Trigger a run, and wait for its last task before asking for the run itself.

    Airflow answers what a run's state is by loading all its task instances: asked five times a second about ten thousand, the
    API server has no time for the run's own requests, and the run takes twice as long.
    """
    run_id = server.trigger(dag_id)
    server.wait(lambda: server.state(dag_id, run_id, "report") in FINISHED, timeout, f"{dag_id} to report")
    return server.finished(dag_id, run_id)


def _fill_the_workspace(server: AirflowServer, file: str) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(server.home), "AIRFLOW__CORE__DAGS_FOLDER": str(server.dags)}
    subprocess.run([sys.executable, server.dags / file], env=environment, check=True, capture_output=True, timeout=300)


if __name__ == "__main__":
    sys.exit(main())
