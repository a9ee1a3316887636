"""What the runs of a DAG have made stays: their graphs, with the values that each run has."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import build
from airflow_kart.cli.main import main

PIPELINE = """
from __future__ import annotations
import datetime as dt
from airflow.sdk import DAG
from airflow_kart import DateParameter, IntParameter, KartDag, KartOperator, TaskOnKart, run_date

class Raw(TaskOnKart[int]):
    day: dt.date = DateParameter()
    def run(self):
        self.dump(self.day.day)

class Fit(TaskOnKart[int]):
    day: dt.date = DateParameter()
    depth: int = IntParameter(default=3)
    def requires(self):
        return Raw(day=self.day)
    def run(self):
        self.dump(self.load() + self.depth)

class Many(TaskOnKart[int]):
    number: int = IntParameter(default=1)
    def run(self):
        self.dump(self.number)

with DAG("mapped"):
    KartOperator.partial(task_id="many", task=Many()).expand(bind=[{"number": 1}])

dag = KartDag("fits", Fit, bind={"day": run_date()}, schedule="@daily", start_date=dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc))
"""


def collect(capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, str], int]:
    """Run the command; return the numbers of artifacts by fate and class."""
    capsys.readouterr()
    main(["gc", "--grace", "0s", "-o", "json", *words])
    rows = json.loads(capsys.readouterr().out)
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row["fate"], row["task"].rpartition(".")[2]
        found[key] = found.get(key, 0) + row["count"]
    return found


@pytest.fixture
def pipeline(load_module: Any) -> Iterator[Any]:
    from airflow.settings import DAGS_FOLDER

    file = Path(DAGS_FOLDER, "fits.py")
    file.write_text(PIPELINE)
    yield load_module(PIPELINE, "fits")
    file.unlink()


def test_the_graphs_of_runs_and_of_days(pipeline: Any, run_dag: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(1, 6):
        build(pipeline.Fit(day=dt.date(2024, 5, day)))
    run = run_dag(pipeline.dag, logical_date=dt.datetime(2024, 5, 4, tzinfo=dt.timezone.utc), run_conf={"depth": 7})
    assert run.state == "success"
    kept = collect(capsys, "--keep-dag", "fits")
    assert kept[("stays", "Fit")] == kept[("stays", "Raw")] == 1  # of the run, with its conf
    assert kept[("goes", "Fit")] == 5
    kept = collect(capsys, "--keep-dag", "fits@2024-05-02..2024-05-04")
    assert kept[("stays", "Fit")] == 4
    assert kept[("stays", "Raw")] == 3
    kept = collect(capsys, "--keep-dag", "fits@2024-05-02", "--without-upstream", "--delete")
    assert kept == {**kept, ("stays", "Fit"): 1, ("gone", "Fit"): 5, ("gone", "Raw"): 5}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fits@soon"], "'soon' is neither a date or time"),
        (["nothing"], "DAG nothing: there is no DAG nothing"),
        (["fits@2024-05-02..2024-05-01"], "ends before it begins"),
        (["mapped"], "many is mapped"),
        (["fits@2030-01-01"], "no artifact to keep of: DAG fits@2030-01-01"),
        (["fits@2024-05-01", "-w", "/elsewhere"], "it has its artifacts in "),
    ],
)
def test_a_dag_that_cannot_be_resolved_stops_everything(pipeline: Any, words: list[str], said: str) -> None:
    build(pipeline.Fit(day=dt.date(2024, 5, 1)))
    with pytest.raises(SystemExit) as raised:
        main(["gc", "--delete", "--grace", "0s", "--keep-dag", *words])
    assert said in str(raised.value)
