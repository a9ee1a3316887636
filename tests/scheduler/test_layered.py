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
    ratio, rounds = float("inf"), 2  # a busy machine may spoil one round
    while ratio > TIMES_PLAIN_AT_MOST and rounds:
        rounds -= 1
        run, plain = airflow.run("layered"), airflow.run("layered_plain")
        assert run.state == "success"
        assert (len(run.tasks), run.started()) == (1002, {"plan", "report"})
        assert run.xcom("report") == {**run.xcom("report"), "cached": 1, "not_needed": 999, "ran": 0}
        assert (len(plain.tasks), plain.started()) == (1002, {"plan", "report"})
        ratio = run.seconds / plain.seconds
        with capsys.disabled():
            print(
                f"\n1,000 cached tasks: {run.seconds:.1f} s of run duration; skipped by plain operators {plain.seconds:.1f} s"
            )
    assert ratio <= TIMES_PLAIN_AT_MOST
