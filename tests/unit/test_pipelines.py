"""``plan``, ``run``, ``debug`` and ``why --in`` for classes of a file: in this process, without Airflow."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from test_parameters_laws import drawn

from airflow_kart import Workspace
from airflow_kart.audit.catalogue.naming import arguments_of
from airflow_kart.cli.main import main
from airflow_kart.cli.pipeline import Pipeline
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.task import TaskOnKart

PIPELINE = """
import json
import random
import time
from airflow_kart import ExternalTask, IntParameter, ParameterVisibility, StrParameter, TaskOnKart


class Raw(TaskOnKart[list[float]]):
    part: int = IntParameter(default=1)
    def run(self):
        print("printed by run()")
        self.dump([random.random(), self.part])


class Parsed(TaskOnKart[object]):
    text: str = StrParameter(default="[1]")
    token: str = StrParameter(default="", visibility=ParameterVisibility.PRIVATE, significant=False)
    def requires(self):
        return [Raw(part=1), Raw(part=2)]
    def run(self):
        drawn = [random.random(), *self.load()]
        self.dump([drawn, parse(self.text + self.token)])


def parse(text):
    return json.loads(text)


class Asking(TaskOnKart[int]):
    def run(self):
        target = yield Raw(part=7)
        self.dump(int(target.load()[1]))


class Slow(TaskOnKart[int]):
    seconds: int = IntParameter()
    def requires(self):
        return Raw()
    def run(self):
        time.sleep(self.seconds)
        self.dump(1)


class Dropped(ExternalTask[str]):
    def output(self):
        return self.make_target("dropped.txt", use_unique_id=False)


class Read(TaskOnKart[str]):
    def requires(self):
        return Dropped()
    def run(self):
        self.dump(self.load())
"""


class Said(NamedTuple):
    code: object
    out: str
    err: str

    @property
    def both(self) -> str:
        return self.out + self.err


class Shell:
    """Runs commands in this process, in a directory with ``pipe.py`` and the workspace ``ws``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)
        (folder / "pipe.py").write_text(PIPELINE)

    def __call__(self, *words: str, typed: str = "") -> Said:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code: object = 0
        try:
            main([*words, "-w", "ws"])
        except SystemExit as error:
            code = error.code
        finally:
            assert sys.gettrace() is None or not typed
        out, err = self._capsys.readouterr()
        return Said(code if isinstance(code, int) else 1, out, err if isinstance(code, int) else f"{err}{code}")

    def files(self) -> dict[str, bytes]:
        """What is in the workspace, but for the catalogue's own cache."""
        found = (path for path in (self.folder / "ws").rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in found if "/.kart-catalogue/" not in str(path)}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Shell(tmp_path, monkeypatch, capsys)


def test_a_plan_tells_what_would_run_and_changes_nothing(shell: Shell) -> None:
    first = shell("plan", "pipe.py:Parsed")
    assert first.code == 3
    assert "there is no earlier artifact of Parsed" in first.out
    assert (
        first.out.splitlines()[-1]
        == "3 to run, 0 cached, 0 not needed; 0 s expected, and 3 that never ran before, 0 s saved"
    )
    assert not shell.files()
    assert shell("run", "pipe.py:Parsed").code == 0
    made = shell.files()
    done = shell("plan", "pipe.py:Parsed", "-o", "json")
    document = json.loads(done.out)
    assert (done.code, document["run"], document["cached"], document["not_needed"]) == (0, 0, 1, 2)
    changed = json.loads(shell("plan", 'pipe.py:Parsed(text="[2, 3]")', "-o", "json").out)
    assert [(task["outcome"], task["reason"]) for task in changed["tasks"][:1]] == [("run", "text: [1] -> [2, 3]")]
    assert changed["tasks"][0]["expected_seconds"] > 0
    assert changed["tasks"][0]["roots"][0]["kind"] == "parameter"
    assert changed["tasks"][1]["uris"][0].startswith(str(shell.folder / "ws"))
    again = shell("plan", "pipe.py:Parsed", "--rerun", "Raw(part=2)+")
    assert again.out.splitlines()[-1].startswith("2 to run, 1 cached, 0 not needed")
    assert "asked to run again" in again.out
    assert shell.files() == made


def test_the_keys_of_a_plan_are_documented(shell: Shell) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    document = json.loads(shell("plan", "pipe.py:Parsed", "-o", "json").out)
    documented = set(re.findall(r"`(\w+)`", page[page.index("**plan**") : page.index("**why**")]))
    assert {*document, *document["tasks"][0], *document["tasks"][0]["roots"][0]} <= documented


def test_a_whole_file_is_a_pipeline_of_the_classes_that_can_be_made(shell: Shell) -> None:
    planned = json.loads(shell("plan", "pipe.py", "-o", "json").out)
    names = {task["task"].partition("(")[0] for task in planned["tasks"]}
    assert names == {"Raw", "Parsed", "Asking", "Dropped", "Read"}
    assert "left out: Slow needs seconds" in shell("plan", "pipe.py").err
    with_value = json.loads(shell("plan", "pipe.py", "--set", "seconds=0", "-o", "json").out)
    assert "Slow(seconds=0)" in {task["task"] for task in with_value["tasks"]}


def test_a_long_plan_is_cut_and_says_so(shell: Shell) -> None:
    cut = shell("plan", "pipe.py:Parsed", "-n", "1")
    assert "and 2 more; -n 0 lists all" in cut.out
    assert "more; -n 0" not in shell("plan", "pipe.py:Parsed", "-n", "0").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pipe.py:Train"], "pipe.py has no class Train"),
        (["pipe.py:json"], "pipe.py has no class json"),
        (["nothing.py"], "nothing.py cannot be imported"),
        (["pipe.py:Slow"], "Slow needs the parameter seconds"),
        (["pipe.py:Slow(seconds=long)"], "Slow.seconds"),
        (["pipe.py:Slow(speed=1)"], "speed"),
        (["pipe.py:Slow(1)"], "write the parameters as Class(day=2013-03-01, depth=6)"),
        (["pipe.py:Slow(seconds=[1)"], "write the parameters as Class(day=2013-03-01, depth=6)"),
        (["pipe.py", "--date", "2013-03-01"], "pipe.py is no DAG, so it takes no date, conf or run"),
        (["pipe.py", "--conf", "{"], "--conf '{' is no JSON"),
        (["pipe.py", "--conf", "[1]"], "give an object"),
        (
            ["pipe.py", "--run-id", "x", "--date", "2013-03-01"],
            "--run-id gives the date and the conf of a DAG run; give either",
        ),
        (["pipe.py", "--set", "speed=1"], "--set: no root of the pipeline has a parameter speed"),
        (["pipe.py", "--set", "seconds"], "--set takes NAME=VALUE"),
        (["empty.py"], "empty.py has no task class that can be made without values: it has none at all"),
        (["pipe.py:Parsed", "--rerun", "Rawe"], "no task matches 'Rawe'; there are Parsed, Raw; did you mean Raw?"),
    ],
)
def test_pipelines_that_are_not_there(shell: Shell, words: list[str], said: str) -> None:
    (shell.folder / "empty.py").touch()
    got = shell("plan", *words)
    assert got.code == 1
    assert said in got.err
    assert "Traceback" not in got.err


def test_a_run_makes_what_is_missing_and_sums_up(shell: Shell) -> None:
    only = shell("run", "pipe.py:Parsed", "--only", "Raw(part=2)")
    assert (only.code, only.out) == (0, "")
    assert "printed by run()" in only.err
    assert only.err.splitlines()[-1].startswith("1 ran, 0 cached; ")
    rest = shell("run", "pipe.py:Parsed", "--workers", "2")
    assert rest.code == 0
    assert rest.err.splitlines()[-1].startswith("2 ran, 1 cached")
    assert "--workers: give at least 1" in shell("run", "pipe.py", "--workers", "0").err
    again = shell("run", "pipe.py:Parsed", "--rerun", "Parsed")
    assert "Parsed(text='[1]', token=***) runs: asked to run again" in again.err


def test_a_run_that_fails_names_the_place_and_the_command_to_debug_it(shell: Shell) -> None:
    failed = shell("run", 'pipe.py:Parsed(text="[")', "--set", "token=sesame street")
    assert failed.code == 1
    assert "JSONDecodeError: Expecting value" in failed.err
    assert f"{shell.folder}/pipe.py:{line_of('return json.loads(text)')}, in parse" in failed.err
    assert """debug it: airflow-kart debug 'pipe.py:Parsed(text="[")' -w ws """ in failed.err
    assert "sesame" not in failed.both
    assert "Traceback" not in failed.err


def test_no_command_repeats_a_private_value(shell: Shell) -> None:
    text = """pipe.py:Parsed(text="[1, ", token='sesame, street')"""
    plan = shell("plan", text, "-o", "json")
    assert json.loads(plan.out)["pipeline"] == 'pipe.py:Parsed(text="[1, ", token=***)'
    failed = shell("run", text)
    assert """debug it: airflow-kart debug 'pipe.py:Parsed(text="[1, ", token=***)' -w ws """ in failed.err
    refused = shell("plan", text, "--date", "2013-03-01")
    assert "pipe.py:Parsed is no DAG" in refused.err
    assert "sesame" not in plan.both + failed.both + refused.both


def test_an_interrupted_run_ends_with_130_and_goes_on_later(shell: Shell) -> None:
    program = [sys.executable, "-c", "from airflow_kart.cli.main import main; main()"]
    command = [*program, "run", "pipe.py:Slow(seconds=60)", "-w", "ws"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=shell.folder) as process:
        assert process.stderr is not None
        while "Slow(seconds=60) runs" not in process.stderr.readline():
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 130
    assert "Traceback" not in said
    planned = shell("plan", "pipe.py:Slow(seconds=60)")
    assert planned.out.splitlines()[-1].startswith("1 to run, 1 cached")


def test_what_run_prints_in_processes_goes_to_stderr(shell: Shell) -> None:
    program = [sys.executable, "-c", "from airflow_kart.cli.main import main; main()"]
    words = ["run", "pipe.py:Parsed", "--workers", "2", "-w", "ws"]
    done = subprocess.run([*program, *words], capture_output=True, text=True, cwd=shell.folder, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("printed by run()")) == (0, "", 2), done


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(PIPELINE.splitlines(), 1) if text in line)


@pytest.fixture
def made(shell: Shell) -> Shell:
    assert shell("run", "pipe.py:Parsed").code == 0
    return shell


def test_a_failed_task_stops_in_the_users_code_and_writes_nowhere_else(made: Shell) -> None:
    before = made.files()
    typed = "where\np text\nup\np drawn[0]\ndown\ndown\nq\n"
    got = made("debug", 'pipe.py:Parsed(text="[")', "Parsed", "--set", "token=sesame street", typed=typed)
    assert got.code == 1
    assert f"> {made.folder}/pipe.py({line_of('return json.loads(text)')})parse()" in got.out
    assert "'[sesame street'" in got.out  # since the user asked pdb
    assert "json/__init__.py" in got.out  # further down is the library
    assert "airflow_kart/runtime" not in got.out
    assert "sesame" not in got.out.partition("(Pdb)")[0]
    assert made.files() == before
    [scratch] = [word for word in got.out.split() if "kart-debug-" in word]
    assert not os.path.exists(scratch.rstrip(","))
    failed = made("run", 'pipe.py:Parsed(text="[")')
    assert failed.code == 1


def test_a_damaged_input_stays_as_it_is(made: Shell) -> None:
    damaged = next(path for path in (made.folder / "ws").rglob("Raw_*.pkl"))
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"...")
    before = made.files()
    got = made("debug", "pipe.py:Parsed", "Parsed", "-v", typed="q\n")
    assert got.code == 1
    assert "CorruptArtifactError" in got.out
    assert f"pipe.py({line_of('*self.load()')})run()" in got.out
    assert made.files() == before


def test_the_random_numbers_are_those_of_production(made: Shell) -> None:
    shown = made("debug", "pipe.py:Parsed", "Parsed", typed="")
    assert shown.code == 0
    with Workspace("ws") as workspace:
        value = workspace.artifacts("Parsed").latest().load()
    assert shown.out.splitlines()[-1] == repr(value)
    assert "the task did not fail" in shown.out


@pytest.mark.parametrize(
    ("name", "first"), [("Parsed", "drawn = [random.random(), *self.load()]"), ("Asking", "target = yield Raw(part=7)")]
)
def test_a_trace_stops_at_the_first_line(made: Shell, name: str, first: str) -> None:
    got = made("debug", "pipe.py", name, "-s", typed="where\nn\np 6 * 7\nc\n")
    assert got.code == 0
    assert f"pipe.py({line_of(first)})run()\n-> {first}" in got.out.partition("(Pdb)")[0]
    assert "42" in got.out
    assert "the task did not fail" in got.out
    assert made("debug", "pipe.py", name, "-s", typed="q\n").code == 0


def test_a_debugger_needs_the_inputs_and_one_task(shell: Shell) -> None:
    missing = shell("debug", "pipe.py:Parsed", "Parsed")
    assert missing.code == 1
    assert "Raw(part=1)" in missing.err and "Raw(part=2)" in missing.err
    assert str(shell.folder / "ws") in missing.err and "kart-debug" not in missing.err
    assert "make it with: airflow-kart run pipe.py:Parsed -w ws --only " in missing.err
    external = shell("debug", "pipe.py:Read", "Read")
    assert "dropped.txt" in external.err
    several = shell("debug", "pipe.py:Parsed", "Raw")
    assert several.code == 1
    assert "Raw names 2 tasks; name one of them:" in several.err
    one = shell("debug", "pipe.py:Parsed", several.err.splitlines()[-1].split()[0])
    assert one.code == 0
    assert not shell.files()


def test_why_for_tasks_of_a_plan(made: Shell) -> None:
    one = made("why", "Parsed", "--in", "pipe.py:Parsed(text=[2])")
    assert one.code == 0
    assert "● text: [1] -> [2]" in one.out
    several = json.loads(made("why", "Raw", "--in", "pipe.py:Parsed", "-o", "json").out)
    assert [why["runs"] for why in several] == [False, False]
    assert made("why", "Raw(part=1)", "-o", "json").code == 0
    assert "has artifacts of Raw, but none that fits" in made("why", "Raw", "--run", "nightly").err


@given(drawn)
def test_the_text_of_a_task_names_the_task(case: tuple[Any, Any]) -> None:
    parameter, value = case

    class Told(TaskOnKart[int]):
        knob = parameter

    task = Told(knob=value)
    with Workspace("memory://told") as workspace:
        assert Pipeline(workspace, Graph.of([task])).named(repr(task)) == {task.unique_id}
    quoted = json.dumps(parameter.serialize(task.knob))
    assert arguments_of("", f"other=1, knob={quoted}, last=[1, (2)]") == {
        "other": "1",
        "knob": parameter.serialize(task.knob),
        "last": "[1, (2)]",
    }
