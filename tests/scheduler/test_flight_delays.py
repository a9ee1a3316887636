"""The flagship example on real data: three days of backfill, each reusing the days before."""

from __future__ import annotations

import json
import re
import time


def test_a_backfill_computes_each_day_once(airflow):
    airflow.wait_for_dags("flight_delays")
    airflow.command(
        *("backfill", "create", "--dag-id", "flight_delays", "--from-date", "2013-03-04", "--to-date", "2013-03-06"),
        *("--max-active-runs", "1", "--dag-run-conf", json.dumps({"window_days": 3, "trees": 20})),
    )
    runs = _backfill_runs(airflow)
    assert len(runs) == 3
    finished = [airflow.finished("flight_delays", run, timeout=300) for run in runs]
    assert [run.state for run in finished] == ["success"] * 3
    # With 3 days of window the first run needs the features of 4 days; each later one a single new day's.
    ran = [_count(run.xcom("report", "report")["ran"]) for run in finished]
    assert ran[0]["features"] == 4
    assert [count["features"] for count in ran[1:]] == [1, 1]
    assert [count["delay_model"] for count in ran] == [1] * 3
    features = list((airflow.workspace / "features").glob("*.kart.json"))
    assert len(features) == 4 + 2


def test_the_same_day_again_runs_nothing(airflow):
    run = airflow.run("flight_delays", {"window_days": 3, "trees": 20}, start="2013-03-06")
    assert run.state == "success"
    assert {task_id for task_id, state in run.states.items() if state != "skipped"} == {"plan", "report"}
    assert run.xcom("report", "report")["cached"] == ["delay_report"]
    assert run.xcom("report", "report")["seconds_saved"] > 0


def _backfill_runs(airflow):
    deadline = time.monotonic() + 60
    while True:
        runs = airflow.call("GET", "/dags/flight_delays/dagRuns?limit=100&order_by=logical_date")["dag_runs"]
        found = [run["dag_run_id"] for run in runs if run["run_type"] == "backfill"]
        if len(found) == 3 or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _count(task_ids):
    counts: dict[str, int] = {}
    for task_id in task_ids:
        name = re.sub(r"__.*", "", task_id)
        counts[name] = counts.get(name, 0) + 1
    return counts
