"""A thousand tasks, all cached."""

from __future__ import annotations

import os
import subprocess
import sys

TIMES_PLAIN_AT_MOST = 2.0


def test_a_thousand_cached_tasks_take_little_longer_than_skipping_them_and_no_process(airflow, capsys):
    environment = {**os.environ, "AIRFLOW_HOME": str(airflow.home), "AIRFLOW__CORE__DAGS_FOLDER": str(airflow.dags)}
    subprocess.run(
        [sys.executable, airflow.dags / "layered.py"], env=environment, check=True, capture_output=True, timeout=300
    )
    airflow.wait_for_dags("layered", "layered_plain")
    runs, plain = [], []
    for _ in range(2):
        runs.append(airflow.run("layered"))
        plain.append(airflow.run("layered_plain"))
    for run in runs:
        assert run.state == "success"
        assert len(run.tasks) == 1002
        assert run.started() == {"plan", "report"}
        assert run.xcom("report") == {**run.xcom("report"), "cached": 1, "not_needed": 999, "ran": 0}
    for run in plain:
        assert (len(run.tasks), run.started()) == (1002, {"plan", "report"})
    seconds, floor = (min(run.seconds for run in each) for each in (runs, plain))
    with capsys.disabled():
        print(f"\n1,000 cached tasks: {seconds:.1f} s of run duration; skipped by plain operators {floor:.1f} s")
    assert seconds <= TIMES_PLAIN_AT_MOST * floor
