"""The flagship example with a workspace in S3 and in Google Cloud Storage: cold, warm, and the next day."""

from __future__ import annotations

import pytest

CONF = {"window_days": 1, "trees": 10}


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_the_example_in_a_bucket(airflow, scheme):
    dag_id = f"flight_delays_{scheme}"
    airflow.wait_for_dags(dag_id)
    cold = airflow.run(dag_id, CONF, "2013-04-09")
    assert cold.state == "success"
    report = cold.xcom("report", "report")
    assert report["cached"] == []
    assert "delay_report" in report["ran"]
    (uri,) = cold.xcom("plan", "plan")["delay_report"]["uris"][:1]
    assert uri.startswith(f"{scheme}://kart/flights/")

    warm = airflow.run(dag_id, CONF, start="2013-04-09")
    assert warm.state == "success"
    assert warm.xcom("report", "report")["ran"] == []
    assert {task_id for task_id, state in warm.states.items() if state != "skipped"} == {"plan", "report"}

    following = airflow.run(dag_id, CONF, "2013-04-10")
    assert following.state == "success"
    report = following.xcom("report", "report")
    assert sum(task_id.startswith("features") for task_id in report["ran"]) == 1
    assert report["cached"]
