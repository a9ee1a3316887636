"""Tasks of somebody's own behind a compiled group."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def parsed(airflow):
    airflow.wait_for_dags("notified", "selling")


def test_what_hangs_behind_a_group_or_a_task_of_it_always_runs_and_learns_the_same(airflow):
    told = []
    for turn in ("cold", "warm"):
        run = airflow.run("notified")
        assert run.state == "success"
        assert run.states["notify"] == run.states["weigh"] == "success"
        assert run.xcom("taste") == "corn ground baked"
        made = "success" if turn == "cold" else "skipped"
        assert run.states["bakery.bread"] == run.states["bakery.corn"] == made
        assert run.states["bakery.flour"] == "success"
        assert run.xcom("bakery.flour")["outcome"] == ("ran" if turn == "cold" else "cached")
        told.append({name: run.xcom("notify")[name] for name in ("task", "unique_id", "seconds", "artifacts")})
    cold, warm = told
    assert cold == warm
    # A DAG on the asset ran when the artifact changed, and not when all was cached.
    path = "/dags/selling/dagRuns"
    (sold,) = airflow.wait(lambda: airflow.call("GET", path)["dag_runs"], 60, "the DAG on the asset")
    (extra,) = airflow.finished("selling", sold["dag_run_id"]).xcom("sell")
    (artifact,) = cold["artifacts"]
    assert (extra["uri"], extra["sha256"], extra["unique_id"]) == (artifact["uri"], artifact["sha256"], cold["unique_id"])
    assert airflow.call("GET", "/assets/events?name_pattern=bakery")["total_entries"] == 1
    assert len(airflow.call("GET", path)["dag_runs"]) == 1
