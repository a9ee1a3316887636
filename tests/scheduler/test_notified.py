"""Tasks of somebody's own behind a compiled group."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def parsed(airflow):
    airflow.wait_for_dags("notified")


@pytest.mark.parametrize("turn", ["cold", "warm"])
def test_what_hangs_behind_a_group_or_a_task_of_it_always_runs(airflow, turn):
    run = airflow.run("notified")
    assert run.state == "success"
    assert run.states["notify"] == run.states["weigh"] == "success"
    made = "success" if turn == "cold" else "skipped"
    assert run.states["bakery.bread"] == run.states["bakery.corn"] == made
    assert run.states["bakery.flour"] == "success"
    assert run.xcom("bakery.flour")["outcome"] == ("ran" if turn == "cold" else "cached")
