"""What a run says of its tasks: names, commands, hosts, dates."""

from __future__ import annotations

import datetime as dt
import json
import shlex
import shutil
from typing import Any, cast

import pytest
from airflow.sdk import Param
from harness.dag_runs import clear, run_tasks
from harness.pipeline import Clean, Judged, Model, Noted, Raw, Window
from harness.stand_ins import DagRunStandIn, context

from airflow_kart import DateParameter, KartDag, Workspace, run_date
from airflow_kart.exceptions import MissingInputError

DAY = dt.date(2024, 5, 6)
MOMENT = dt.datetime(2024, 5, 6, tzinfo=dt.timezone.utc)


def test_the_command_for_a_missing_input_makes_the_same_artifact():
    """The command names the run's own values, however the run got these."""
    dag = KartDag("outcome_command", Judged, params={"it's": Param("a", type="string")}, schedule=None, plan=False)
    asked = {"day": "2024-05-06", "days": 1, "kind": "tree", "it's": "b 'c'", "kart_rerun": []}

    def command(ti_run_id, logical_date):
        given = context(**asked)
        given["ti"].run_id = ti_run_id
        given["dag_run"] = DagRunStandIn()
        given["dag_run"].logical_date = logical_date
        with pytest.raises(MissingInputError) as missing:
            cast(Any, dag.get_task("window")).execute(given)
        (line,) = [line for line in str(missing.value).splitlines() if "airflow tasks test" in line]
        assert ("or clear clean__0 in the UI" in str(missing.value)) == (not ti_run_id.startswith("__"))
        return shlex.split(line.partition("make it with: ")[2])

    *words, flag, params = command("manual__1", context()["dag_run"].logical_date)
    assert words == ["airflow", "tasks", "test", "outcome_command", "clean__0", "2024-05-06T00:00:00+00:00"]
    assert (flag, json.loads(params)) == ("-t", {"day": "2024-05-06", "days": 1, "it's": "b 'c'"})
    assert command("asset_triggered__1", None)[5] == "asset_triggered__1"  # only the run knows its partition
    assert command("__airflow_temporary_run_1__", None)[5] == "2024-05-06T00:00:00+00:00"


def test_a_missing_input_lists_all_workspaces_and_the_host_on_which_its_task_ended(run_dag, tmp_path, monkeypatch):
    own, other = tmp_path / "own", tmp_path / "other"
    dag = KartDag("outcome_hosts", Clean(day=DAY), schedule=None, workspace=Workspace(str(own), read_from=(str(other),)))
    run = run_dag(dag, logical_date=dt.datetime(2024, 5, 6, tzinfo=dt.timezone.utc))
    host = run.xcom("raw")["host"]
    shutil.rmtree(own)  # as on a host that has another disk
    clear(dag, run.dag_run.run_id, "clean")
    operator: Any = dag.get_task("clean")
    operator.execute = told = Told(operator)
    assert run_tasks(dag, run.dag_run.run_id)["clean"] == "failed"
    message = str(told.error)
    relative = Raw(day=DAY).output().uri.rpartition("harness/")[2]
    assert f"at {own}/harness/{relative}: no artifact\n    nor at {other}/harness/{relative}\n" in message
    assert f"raw ended as success in this run on host {host}; this is host {host}. All hosts have to see" in message


class Told:
    """Keeps the error of an operator."""

    def __init__(self, operator):
        self._execute, self.error = operator.execute, None

    def __call__(self, context):
        try:
            return self._execute(context)
        except Exception as error:
            self.error = error
            raise


def test_the_dates_of_a_dag_are_those_of_all_its_operators():
    """Airflow takes the earliest start of any task for the first run to catch up with, and schedules on without an end in each."""
    start, end = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc), dt.datetime(2024, 5, 31, tzinfo=dt.timezone.utc)
    dag = KartDag("outcome_dates", Raw(day=DAY), schedule="@daily", start_date=start, end_date=end, catchup=True)
    assert {(one.start_date, one.end_date) for one in dag.tasks} == {(start, end)}


def test_the_plan_is_tried_as_often_as_the_tasks():
    minute = dt.timedelta(minutes=1)
    dag = KartDag(
        "outcome_tries", Raw(day=DAY), schedule=None, operator_kwargs={"retries": 2, "retry_delay": minute, "pool": "x"}
    )
    plan = dag.task_dict["plan"]
    assert (plan.retries, plan.retry_delay, plan.pool) == (2, minute, "default_pool")
    assert (dag.task_dict["raw"].retries, dag.task_dict["report"].retries) == (2, 0)


def test_each_task_instance_has_the_name_of_its_values(run_dag):
    class Told(Raw):
        operator_kwargs = {"map_index_template": "mine"}

    class Both(Noted):
        day: dt.date = DateParameter()

        def requires(self):
            return [Clean(day=self.day), Model(window=Window(day=self.day, days=0), kind="oak"), Told(day=self.day)]

    run = run_dag(KartDag("outcome_names", Both, bind={"day": run_date()}, schedule=None, plan=False), logical_date=MOMENT)
    names = {ti.task_id: ti.rendered_map_index for ti in run.dag_run.get_task_instances()}
    assert names == {
        "raw": "day=2024-05-06",
        "clean": "day=2024-05-06",
        "window": "day=2024-05-06, days=0",
        "model": "kind='oak', day=2024-05-06, days=0",
        "told": "mine",
        "both": "day=2024-05-06",
        "report": None,
    }
