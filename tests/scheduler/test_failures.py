"""Tasks that fail, files that cannot be parsed."""

from __future__ import annotations


def test_a_task_that_fails_once_is_retried_and_publishes_once(airflow):
    airflow.wait_for_dags("flaky")
    run = airflow.run("flaky")
    assert run.state == "success"
    assert run.tasks["flaky"]["try_number"] == 2
    assert "the first time is the hardest" in run.log("flaky")
    assert run.xcom("report")["ran"] == 2


def test_a_failed_task_fails_the_run_and_the_report_names_it(airflow):
    airflow.wait_for_dags("hopeless")
    run = airflow.run("hopeless")
    assert run.state == "failed"
    assert run.states["hopeless"] == "failed"
    assert run.states["above"] == "upstream_failed"
    assert run.states["steady"] in ("success", "skipped")
    assert run.states["report"] == "failed"
    assert run.tasks["report"]["try_number"] == 1
    assert "2 task(s) failed, or could not run because one did: hopeless, above" in run.log("report")


def test_a_cycle_is_an_import_error_that_names_it(airflow):
    airflow.wait_for_dags("shop")
    errors = airflow.call("GET", "/importErrors")["import_errors"]
    (error,) = [error for error in errors if error["filename"].endswith("broken_cycle.py")]
    assert "the tasks require each other in a circle: Hen() -> Egg() -> Hen()" in error["stack_trace"]
    assert [error["filename"] for error in errors] == ["broken_cycle.py"]
