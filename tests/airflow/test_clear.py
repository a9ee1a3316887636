"""A cleared task instance makes again what it had made, as people expect; with ``[kart] clear = look`` it looks."""

from __future__ import annotations

import datetime as dt

import pytest
from harness.dag_runs import clear, run_tasks
from harness.pipeline import Judged, Noted, Window, ran

from airflow_kart import IntParameter, KartDag, KartOperator, build

DAY = dt.date(2024, 5, 6)
MOMENT = dt.datetime(2024, 5, 6, tzinfo=dt.timezone.utc)


@pytest.fixture(autouse=True)
def _nothing_noted() -> None:
    ran()


def first_run(run_dag, dag):
    run = run_dag(dag, logical_date=MOMENT)
    assert run.state == "success"
    return run.dag_run.run_id


def test_a_cleared_task_runs_again_with_its_cleared_downstream_tasks_only(run_dag):
    dag = KartDag("clear_downstream", Judged(day=DAY), schedule=None)
    run_id = first_run(run_dag, dag)
    ran()
    clear(dag, run_id, "window")
    states = run_tasks(dag, run_id)
    assert states["window"] == "success"
    assert ran() == ["Window"]
    clear(dag, run_id, "window", "model", "judged", "report")
    run_tasks(dag, run_id)
    assert sorted(ran()) == ["Judged", "Model", "Window"]


def test_clear_with_look_finds_the_artifact(run_dag, monkeypatch):
    monkeypatch.setenv("AIRFLOW__KART__CLEAR", "look")
    dag = KartDag("clear_look", Judged(day=DAY), schedule=None)
    run_id = first_run(run_dag, dag)
    ran()
    clear(dag, run_id, "window")
    assert run_tasks(dag, run_id)["window"] == "skipped"
    clear(dag, run_id)
    assert run_tasks(dag, run_id)["judged"] == "skipped"
    assert ran() == []


def test_a_cleared_run_makes_again_what_it_made_and_nothing_that_others_made(run_dag):
    build(Window(day=DAY))
    dag = KartDag("clear_run", Judged(day=DAY), schedule=None)
    run_id = first_run(run_dag, dag)
    ran()
    clear(dag, run_id)
    states = run_tasks(dag, run_id)
    assert sorted(ran()) == ["Judged", "Model"]
    assert (states["window"], states["judged"], states["report"]) == ("skipped", "success", "success")


def test_a_task_that_was_cached_is_cached_after_a_clear_too(run_dag):
    build(Judged(day=DAY))
    dag = KartDag("clear_cached", Judged(day=DAY), schedule=None)
    run_id = first_run(run_dag, dag)
    ran()
    clear(dag, run_id, "judged")
    assert run_tasks(dag, run_id)["judged"] == "skipped"
    assert ran() == []


FAILING: list[int] = []


class Part(Noted):
    inline = True
    n: int = IntParameter()


class Whole(Noted):
    operator_kwargs = {"retries": 1, "retry_delay": dt.timedelta(0)}

    def requires(self) -> list[Part]:
        return [Part(n=1), Part(n=2)]

    def run(self) -> None:
        if FAILING:
            raise RuntimeError(FAILING.pop())
        super().run()


def test_a_cleared_task_that_fails_is_retried_with_the_parts_that_are_there_by_then(run_dag):
    dag = KartDag("clear_retry", Whole(), schedule=None)
    run_id = first_run(run_dag, dag)
    assert ran() == ["Part", "Part", "Whole"]
    FAILING.append(1)
    clear(dag, run_id, "whole")
    assert run_tasks(dag, run_id)["whole"] == "success"
    assert ran() == ["Part", "Part", "Whole"]
    assert not FAILING


def test_a_single_operator_makes_again_all_that_it_made(run_dag):
    from airflow.sdk import DAG

    with DAG("clear_single", schedule=None) as dag:
        KartOperator(task_id="judged", task=Judged(day=DAY))
    build(Window(day=DAY))
    ran()
    run_id = first_run(run_dag, dag)
    assert ran() == ["Judged", "Model"]
    clear(dag, run_id)
    assert run_tasks(dag, run_id) == {"judged": "success"}
    assert ran() == ["Judged", "Model"]
