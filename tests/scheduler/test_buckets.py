"""The flagship example with a workspace in S3 and in Google Cloud Storage: cold, warm, and the next day."""

from __future__ import annotations

import pytest

CONF = {"window_days": 1, "trees": 10}


SCHEMES = ["s3", "gs"]


@pytest.fixture(scope="module")
def started(airflow):
    """The first run of each scheme; both at once."""
    airflow.wait_for_dags(*(f"flight_delays_{scheme}" for scheme in SCHEMES))
    return {scheme: airflow.trigger(f"flight_delays_{scheme}", CONF, "2013-04-09") for scheme in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_example_in_a_bucket(airflow, started, scheme):
    dag_id = f"flight_delays_{scheme}"
    cold = airflow.finished(dag_id, started[scheme])
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
