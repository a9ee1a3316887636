"""The life of one DAG under a real scheduler, in order: each test starts where the one before ended."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error

import pytest

ALL = {"sales", "prices", "revenue", "forecast"}


@pytest.fixture(autouse=True, scope="module")
def parsed(airflow):
    airflow.wait_for_dags("shop")


def sidecars(airflow, pattern):
    return [json.loads(file.read_text()) for file in sorted(airflow.workspace.glob(pattern))]


def test_a_first_run_runs_everything(airflow, ledger):
    run = airflow.run("shop", day="2024-02-01")
    assert run.state == "success"
    assert set(run.states) == {*ALL, "plan", "report"}
    assert set(run.states.values()) == {"success"}
    assert ledger.new_entries() == ["Forecast", "Prices", "Revenue", "Sales"]
    assert run.xcom("report")["ran"] == 4
    assert run.xcom("plan", "plan")["sales"]["outcome"] == "run"
    assert "4 ran" in run.log("report")


def test_each_artifact_says_where_it_comes_from(airflow):
    (found,) = sidecars(airflow, "shop/sales_*.kart.json")
    assert found["airflow"]["dag_id"] == "shop"
    assert found["airflow"]["task_id"] == "sales"
    assert found["airflow"]["logical_date"] == "2024-02-01T00:00:00+00:00"
    assert found["airflow"]["try_number"] == 1
    assert found["airflow"]["bundle_name"] == "dags-folder"
    assert found["airflow"]["dag_version_id"]
    assert found["task"]["class"] == "shop.Sales"
    assert found["task"]["parameters"]["day"]["value"] == "2024-02-01"


def test_a_cleared_run_makes_again_what_it_made(airflow, ledger):
    run = airflow.run("shop", day="2024-02-02")
    assert ledger.new_entries() == ["Forecast", "Revenue", "Sales"]
    run = airflow.clear("shop", run.run_id)
    assert ledger.new_entries() == ["Forecast", "Revenue", "Sales"]
    assert run.states["prices"] == "skipped"  # the first run had made it
    assert {run.states[task] for task in (*ALL, "plan", "report") if task != "prices"} == {"success"}
    run = airflow.clear("shop", run.run_id, "revenue")  # and a task by itself, once more
    assert ledger.new_entries() == ["Revenue"]
    assert run.tasks["revenue"]["rendered_map_index"] == "day=2024-02-02"


def test_the_same_day_again_runs_nothing(airflow, ledger):
    run = airflow.run("shop", start="2024-02-02")
    assert ledger.new_entries() == []
    assert run.states["plan"] == run.states["report"] == "success"
    assert {run.states[task] for task in ALL} == {"skipped"}
    report = run.xcom("report", "report")
    assert report["cached"] == ["forecast"]
    assert report["seconds_saved"] > 0


def test_a_new_run_of_a_known_day_starts_only_plan_and_report(airflow, ledger):
    day = dt.datetime.now(dt.timezone.utc).date()
    first = airflow.run("shop")  # without a logical date: the day is that of the start
    if dt.datetime.now(dt.timezone.utc).date() != day:
        first = airflow.run("shop")
    assert first.state == "success"
    ledger.new_entries()
    run = airflow.run("shop")
    assert run.state == "success"
    assert ledger.new_entries() == []
    assert run.started() == {"plan", "report"}


def test_a_form_value_reruns_its_task_and_what_is_below_it(airflow, ledger):
    run = airflow.run("shop", conf={"currency": "usd"})
    assert ledger.new_entries() == ["Forecast", "Prices", "Revenue"]
    assert run.states["sales"] == "skipped"
    run = airflow.run("shop", conf={"currency": "usd", "factor": 5})
    assert ledger.new_entries() == ["Forecast"]
    assert run.xcom("forecast")["outcome"] == "ran"
    assert run.xcom("report", "report")["cached"] == ["revenue"]
    assert set(run.xcom("report", "report")["not_needed"]) == {"sales", "prices"}


def test_a_form_value_out_of_range_is_refused_by_the_form(airflow):
    with pytest.raises(urllib.error.HTTPError) as refused:
        airflow.trigger("shop", conf={"factor": 99})
    assert refused.value.code == 400
    refused.value.close()


def test_rerun_runs_a_task_and_what_is_below_it_again(airflow, ledger):
    run = airflow.run("shop", conf={"kart_rerun": ["rev*+"]})
    assert run.state == "success"
    assert ledger.new_entries() == ["Forecast", "Revenue"]
    assert run.states["sales"] == run.states["prices"] == "skipped"
    assert "asked to run again" in run.log("plan")


def test_rerun_of_an_unknown_task_says_which_there_are(airflow, ledger):
    run = airflow.run("shop", conf={"kart_rerun": ["revenu"]})
    assert run.state == "failed"
    assert (
        "no task matches 'revenu'; there are Forecast, Prices, Revenue, Sales, forecast, prices, revenue, sales; "
        in run.log("plan")
    )
    assert "did you mean revenue?" in run.log("plan")
    assert ledger.new_entries() == []


def test_a_missing_intermediate_of_complete_consumers_stays_missing(airflow, ledger):
    file = _sales_file(airflow, "2024-02-01")
    file.unlink()
    run = airflow.run("shop", start="2024-02-01")
    assert ledger.new_entries() == []
    assert run.xcom("plan", "plan")["sales"]["outcome"] == "not_needed"
    assert not file.exists()


def test_one_task_cleared_by_itself_makes_what_is_missing(airflow, ledger):
    run = airflow.clear("shop", _run_of(airflow, "2024-02-01"), "sales")
    assert run.states["sales"] == "success"
    assert ledger.new_entries() == ["Sales"]
    assert _sales_file(airflow, "2024-02-01").exists()


def test_one_cached_task_cleared_by_itself_stays_cached(airflow, ledger):
    run = airflow.clear("shop", _run_of(airflow, "2024-02-01", "run_after"), "revenue")
    assert run.states["revenue"] == "skipped"
    assert "is cached" in run.log("revenue")
    assert ledger.new_entries() == []


def _run_of(airflow, day, moment="logical_date"):
    runs = airflow.call("GET", "/dags/shop/dagRuns?limit=100")["dag_runs"]
    others = (run for run in runs if run["logical_date"] is None or moment == "logical_date")
    return next(run["dag_run_id"] for run in others if (run[moment] or "").startswith(day))


def _sales_file(airflow, day):
    for file in airflow.workspace.glob("shop/sales_*.kart.json"):
        if json.loads(file.read_text())["task"]["parameters"]["day"]["value"] == day:
            return file.with_name(file.name.removesuffix(".kart.json"))
    raise AssertionError(f"no sales of {day}")
