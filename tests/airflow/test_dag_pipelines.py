"""``plan``, ``run``, ``why --in`` and ``debug`` for DAGs, and the command that the log of a failed operator names."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from airflow_kart import Workspace
from airflow_kart.cli.main import main

SOURCE = """
import datetime as dt
from airflow.sdk import DAG, task

print("printed by the DAG file")

class Raw(TaskOnKart[int]):
    day: dt.date = DateParameter()
    def run(self):
        self.dump(self.day.day)

class Part(TaskOnKart[int]):
    inline = True
    day: dt.date = DateParameter()
    def run(self):
        if self.day.year == 2015:
            raise KeyError("inline")
        self.dump(2)

class Train(TaskOnKart[float]):
    day: dt.date = DateParameter()
    depth: int = IntParameter(default=6)
    token: str = StrParameter(default="", visibility=ParameterVisibility.PRIVATE, significant=False)
    def requires(self):
        return {"raw": Raw(day=self.day), "part": Part(day=self.day)}
    def run(self):
        if self.depth == 7:
            raise ValueError(f"too deep: {self.token}")
        self.dump(self.load("raw") / self.depth)

bind = {"day": "{{ ds }}", "token": "{{ var.value.token }}"}
flights = KartDag("flights", Train, bind=bind, schedule="@daily", start_date=dt.datetime(2013, 1, 1), catchup=False)

class Word(TaskOnKart[str]):
    word: str = StrParameter()
    def run(self):
        if self.word == "wrong":
            raise ValueError("a wrong word")
        self.dump(self.word)

@task
def shout(word):
    print(word)

with DAG("words", schedule=None):
    group = KartTaskGroup("first", Word(word="one"))
    shout(KartOperator(task_id="alone", task=Word(word="zero"), bind={"word": "{{ params.spoken }}"}).output)
    KartOperator.partial(task_id="mapped", task=Word(word="x")).expand(bind=[{"word": "fine"}, {"word": "wrong"}])

words_dag = group.dag
words_dag.params["spoken"] = "two"

with DAG("plain", schedule=None):
    shout("nothing")
"""


class Said(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def bag(parse: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The DAGs of the source, in the only bundle; and a file beside with an error."""
    found = parse(SOURCE)
    assert not found.import_errors
    (tmp_path / "dags" / "broken.py").write_text("from airflow.sdk import DAG\n1 / 0\n")
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundle = [{"name": "dags-folder", "classpath": classpath, "kwargs": {"path": str(tmp_path / "dags")}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundle))
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "sesame street")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return found


@pytest.fixture
def shell(bag: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str, typed: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        capsys.readouterr()
        code: object = 0
        try:
            main(words)
        except SystemExit as error:
            code = error.code
        out, err = capsys.readouterr()
        return Said(code if isinstance(code, int) else 1, out, err if isinstance(code, int) else f"{err}{code}")

    return run


def test_a_dag_is_planned_run_and_explained_without_a_run(shell: Callable[..., Said], workspace: Path) -> None:
    planned = shell("plan", "flights", "--date", "2013-03-02", "-o", "json")
    tasks = {task["task_id"]: task for task in json.loads(planned.out)["tasks"]}
    assert planned.code == 3
    assert {name: task["values"] for name, task in tasks.items()} == {
        "raw": "day=2013-03-02",
        "train": "day=2013-03-02",
        None: "day=2013-03-02",
    }
    assert not workspace.exists()
    ran = shell("run", "flights", "--date", "2013-03-02")
    assert ran.code == 0
    assert "3 ran, 0 cached" in ran.err
    assert shell("plan", "flights", "--date", "2013-03-02").code == 0
    why = shell("why", "train", "--in", "flights", "--date", "2013-03-02", "--conf", '{"depth": 5}')
    assert "● depth: 6 -> 5" in why.out
    other = json.loads(shell("why", "Train", "--in", "flights", "--date", "2013-03-03", "-o", "json").out)
    assert {root["words"] for root in other[0]["roots"]} == {"day: 2013-03-02 -> 2013-03-03"}
    again = shell("plan", "flights", "--date", "2013-03-02", "--conf", '{"kart_rerun": ["raw"]}', "--rerun", "Part")
    assert again.out.count("asked to run again") == 2
    elsewhere = shell("run", "flights", "--date", "2013-03-02", "-w", str(workspace) + "-2", "--only", "raw")
    assert "1 ran" in elsewhere.err
    assert len(list(Path(f"{workspace}-2").rglob("*.pkl"))) == 1
    assert "sesame" not in "".join(text for said in (planned, ran, why, again) for text in said[1:])


def test_a_dag_of_groups_and_operators(shell: Callable[..., Said]) -> None:
    planned = shell("plan", "words", "--conf", '{"spoken": "three"}')
    assert "left out: mapped is mapped" in planned.err
    assert [line.split()[0] for line in planned.out.splitlines()[2:4]] == ["first.word", "alone"]
    assert "word='three'" in planned.out
    mapped = json.loads(shell("plan", "words", "--set", "word=four", "-o", "json").out)
    assert {task["task_id"]: task["values"] for task in mapped["tasks"]} == {
        "first.word": "word='four'",
        "alone": "word='four'",
        "mapped": "word='four'",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flight"], "there is no DAG flight; did you mean flights?"),
        (["flight"], "broken.py cannot be imported:\n"),
        (["plain"], "the DAG plain has no kart task"),
        (["flights"], "'ds' is undefined; this run has no logical date: --date 2013-03-01 gives one"),
        (["flights", "--date", "soon"], "--date 'soon' is no date"),
        (["flights", "--date", "2013-03-01", "--conf", '{"depht": 5}'], "did you mean 'depth'?"),
        (["flights", "--date", "2013-03-01", "--conf", '{"depth": "x"}'], "Invalid input for param depth: 'x'"),
        (["flights", "--date", "2013-03-01", "--set", "depth=x"], "Train.depth"),
        (["flights", "--run-id", "manual__1"], "the DAG flights has no run manual__1; its newest are none"),
        (["flights", "--date", "2013-03-01", "--rerun", "rawe"], "no task matches 'rawe'"),
    ],
)
def test_dags_and_values_that_are_not_there(shell: Callable[..., Said], words: list[str], said: str) -> None:
    got = shell("plan", *words)
    assert got.code == 1
    assert said in got.err
    assert "sesame" not in got.err


COMMAND = re.compile(r"To run it in a debugger: (airflow-kart [^\n]*?)(?: \[airflow| loc=|$)", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    return [
        shlex.split(re.sub(r"\x1b\[[0-9;]*m", "", found)) for found in COMMAND.findall(re.sub(r"\x1b\[[0-9;]*m", "", text))
    ]


def test_the_log_of_a_failed_operator_names_the_command_that_debugs_it(
    bag: Any, run_dag: Callable[..., Any], shell: Callable[..., Said], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    date = dt.datetime(2013, 3, 2, tzinfo=dt.timezone.utc)
    run = run_dag(bag.dags["flights"], logical_date=date, run_conf={"depth": 7})
    assert run.state == "failed"
    [command] = commands("".join(capsys.readouterr()))
    assert command == ["airflow-kart", "debug", "flights", "train", "--run-id", run.dag_run.run_id]
    before = {str(path): path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    got = shell(*command[1:], typed="p self.depth\nq\n")
    assert got.code == 1
    assert "ValueError: too deep: ***" in got.out
    assert "pipeline.py" in got.out and "run()\n-> raise ValueError" in got.out
    assert "(Pdb) 7\n" in got.out
    assert {str(path): path.read_bytes() for path in workspace.rglob("*") if path.is_file()} == before
    stored = shell("plan", "flights", "--run-id", run.dag_run.run_id)
    assert "depth=7" in stored.out


def test_the_command_names_inline_tasks_and_values_of_mapped_ones(
    bag: Any, run_dag: Callable[..., Any], shell: Callable[..., Said], workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    date = dt.datetime(2015, 3, 2, tzinfo=dt.timezone.utc)
    run_dag(bag.dags["flights"], logical_date=date)
    [inline] = commands("".join(capsys.readouterr()))
    got = shell(*inline[1:], typed="q\n")
    assert "KeyError: 'inline'" in got.out
    assert "run()\n-> raise KeyError" in got.out
    run = run_dag(bag.dags["words"])
    [mapped] = commands("".join(capsys.readouterr()))
    assert mapped[2:] == ["words", "mapped", "--run-id", run.dag_run.run_id, "--set", "word=wrong"]
    assert "ValueError: a wrong word" in shell(*mapped[1:], typed="q\n").out
    with Workspace(str(workspace)) as here:
        assert {record.parameters["word"] for record in here.artifacts("Word")} == {"one", "two", "fine"}
