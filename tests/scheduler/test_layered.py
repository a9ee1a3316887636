"""A thousand tasks, all cached."""

from __future__ import annotations

import os
import subprocess
import sys

BUDGET_SECONDS = 6.0


def test_a_thousand_cached_tasks_take_seconds_and_no_process(airflow, capsys):
    environment = {**os.environ, "AIRFLOW_HOME": str(airflow.home), "AIRFLOW__CORE__DAGS_FOLDER": str(airflow.dags)}
    subprocess.run(
        [sys.executable, airflow.dags / "layered.py"], env=environment, check=True, capture_output=True, timeout=300
    )
    airflow.wait_for_dags("layered")
    runs = [airflow.run("layered") for _ in range(3)]
    for run in runs:
        assert run.state == "success"
        assert len(run.tasks) == 1002
        assert run.started() == {"plan", "report"}
        assert run.xcom("report") == {**run.xcom("report"), "cached": 1, "not_needed": 999, "ran": 0}
    seconds = min(run.seconds for run in runs)
    with capsys.disabled():
        print(f"\n1,000 cached tasks: {', '.join(f'{run.seconds:.1f}' for run in runs)} s of run duration")
    assert seconds <= BUDGET_SECONDS
