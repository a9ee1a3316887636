"""Why a task runs: the right root cause for each kind of change, before the run and from its sidecar afterwards."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from airflow_kart import IntParameter, TaskOnKart, Workspace, build
from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.audit.cause import Why
from airflow_kart.audit.why import why_artifact, why_task

PIPELINE = """
import datetime as dt
import helping
from airflow_kart import (
    DateParameter, ExternalTask, FloatParameter, IntParameter, ParameterVisibility, StrParameter, TaskInstanceParameter,
    TaskOnKart, WrapperTask,
)

class Dropped(ExternalTask):
    def output(self):
        return self.make_target("dropped.txt", use_unique_id=False)

class Raw(TaskOnKart[int]):
    code_version = "auto"
    day: dt.date = DateParameter(default=dt.date(2013, 3, 1))
    def run(self):
        self.dump(helping.double(21))

class Prices(TaskOnKart[int]):
    code_version = "prices-1"
    def run(self):
        self.dump(3)

class Inputs(WrapperTask):
    day: dt.date = DateParameter(default=dt.date(2013, 3, 1))
    def requires(self):
        return {"raw": Raw(day=self.day), "prices": Prices()}

class Clean(TaskOnKart[int]):
    day: dt.date = DateParameter(default=dt.date(2013, 3, 1))
    def requires(self):
        return {"inputs": Inputs(day=self.day)}
    def run(self):
        self.dump(1)

class Features(TaskOnKart[int]):
    code_version = "auto"
    day: dt.date = DateParameter(default=dt.date(2013, 3, 1))
    def requires(self):
        return {"clean": Clean(day=self.day), "prices": Prices()}
    def run(self):
        self.dump(self.load("clean"))

class Train(TaskOnKart[int]):
    code_version = "1"
    depth: int = IntParameter(default=6)
    day: dt.date = DateParameter(default=dt.date(2013, 3, 1))
    note: str = StrParameter(default="a", significant=False)
    token: str = StrParameter(default="first secret", visibility=ParameterVisibility.PRIVATE)
    def requires(self):
        return {"features": Features(day=self.day)}
    def run(self):
        self.dump(self.depth)

class Score(TaskOnKart[int]):
    model: TaskOnKart[int] = TaskInstanceParameter(default=Train())
    def run(self):
        self.dump(self.load("model"))

class Read(TaskOnKart[str]):
    modification_time_check = True
    def requires(self):
        return Dropped()
    def run(self):
        self.dump(self.load())
"""
HELPING = """
def double(value):
    return value * 2
"""


class Project:
    """A pipeline in a git repository, loaded anew after each edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.files = {"pipeline.py": PIPELINE, "helping.py": HELPING}
        self._edition = 0
        self.write()
        for words in (
            ["init", "-q"],
            ["add", "."],
            ["-c", "user.name=n", "-c", "user.email=e@example.com", "commit", "-qm", "first"],
        ):
            subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)

    def write(self) -> None:
        for name, text in self.files.items():
            (self.folder / name).write_text(text)

    def edit(self, old: str, new: str, name: str = "pipeline.py") -> None:
        assert old in self.files[name], old
        self._edition += 1  # an edit in the same moment must change the file's length
        self.files[name] = self.files[name].replace(old, new) + "\n" * self._edition
        self.write()

    def load(self) -> Any:
        for name in [path.stem for path in self.folder.glob("*.py")]:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("pipeline" if (self.folder / "pipeline.py").exists() else "pipeline2")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", "k" * 32)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield Project(tmp_path / "code")
    for name in ("pipeline", "pipeline2", "helping", "helping2"):
        sys.modules.pop(name, None)


def _upstream_edit(project: Project, workspace: Workspace) -> None:
    project.edit("value * 2", "2 * value + 0", "helping.py")


def _file(task: Any) -> Path:
    return Path(task.output().uri)


class Case(NamedTuple):
    """A kind of change."""

    change: Callable[[Project, Workspace], Any]
    """May return a workspace to ask in."""
    roots: list[tuple[str, str, str]]
    """Kind, task and words of each root cause."""
    ask: Callable[[Any], Any] = lambda module: module.Train()
    built: Callable[[Any], list[Any]] = lambda module: [module.Train()]
    afterwards: bool = True
    """Whether the sidecar of the run tells the same."""


def _edit(*edits: tuple[str, str]) -> Callable[[Project, Workspace], None]:
    def change(project: Project, _workspace: Workspace) -> None:
        for old, new in edits:
            project.edit(old, new)

    return change


def _nothing(_project: Project, _workspace: Workspace) -> None:
    pass


def _on_file(act: Callable[[Path], Any]) -> Callable[[Project, Workspace], None]:
    def change(project: Project, workspace: Workspace) -> None:
        with workspace:
            act(_file(project.load().Train()))

    return change


def _write_dropped(text: str) -> Callable[[Project, Workspace], None]:
    def change(_project: Project, workspace: Workspace) -> None:
        Path(workspace.directory).mkdir(exist_ok=True)
        Path(workspace.directory, "dropped.txt").write_text(text)

    return change


def _rename_module(project: Project, _workspace: Workspace) -> None:
    (project.folder / "pipeline.py").unlink()
    project.files["pipeline2.py"] = project.files.pop("pipeline.py")
    project.write()


environment: Any = importlib.import_module("airflow_kart.artifacts.sidecar.environment")
PACKAGE = "a package whose version the code_version names"
VERSION = importlib.metadata.version("msgspec")
TRAIN, SCORE, FEATURES = "Train(depth=6, day=2013-03-01, note=a, token=***)", "Score(", "Features(day=2013-03-01)"
RAW = "Raw(day=2013-03-01)"
DAY = "day: 2013-03-01 -> 2013-03-02"

CASES = {
    "nothing was ever there": Case(
        _nothing, [("first", TRAIN, "there is no earlier artifact of Train")], built=lambda module: []
    ),
    "a parameter has another value": Case(
        _nothing, [("parameter", TRAIN.replace("6", "7"), "depth: 6 -> 7")], lambda module: module.Train(depth=7)
    ),
    "another day goes through the whole graph": Case(
        _nothing,
        [
            ("parameter", task, DAY)
            for task in (TRAIN.replace("-01", "-02"), *(f"{name}(day=2013-03-02)" for name in ("Features", "Clean", "Raw")))
        ],
        lambda module: module.Train(day=module.dt.date(2013, 3, 2)),
    ),
    "a new parameter": Case(
        _edit(("    depth: int = Int", "    rate: float = FloatParameter(default=0.1)\n    depth: int = Int")),
        [("parameter", "Train(rate=0.1, depth=6, day=2013-03-01, note=a, token=***)", "its parameter rate is new")],
    ),
    "a parameter is gone": Case(
        _edit(("    depth: int = IntParameter(default=6)\n", ""), ("self.dump(self.depth)", "self.dump(6)")),
        [("parameter", TRAIN.replace("depth=6, ", ""), "its parameter depth is gone")],
    ),
    "a parameter of another type": Case(
        _edit(("depth: int = IntParameter(default=6)", 'depth: str = StrParameter(default="6")')),
        [("parameter", TRAIN, "depth: 6 -> 6")],
    ),
    "a parameter begins to count": Case(
        _edit(('default="a", significant=False', 'default="a"')),
        [("parameter", TRAIN, "its parameter note counts in the id now")],
    ),
    "a private parameter has another value": Case(
        _nothing,
        [("parameter", TRAIN, "token has another private value")],
        lambda module: module.Train(token="second secret"),
    ),
    "the code of the class itself": Case(
        _edit(
            (
                'return {"clean": Clean(day=self.day), "prices": Prices()}\n    def run(self):\n',
                'return {"clean": Clean(day=self.day), "prices": Prices()}\n    def run(self):\n        x = 1\n',
            )
        ),
        [("code", FEATURES, "its code has changed: Features.run (1 of 4 parts)")],
        lambda module: module.Features(),
    ),
    "a helper, three levels up and behind a wrapper": Case(
        _upstream_edit, [("code", RAW, "its code has changed: helping.double (1 of 4 parts)")]
    ),
    "a code_version": Case(
        _edit(('code_version = "1"', 'code_version = "2"')), [("code_version", TRAIN, "code_version: 1 -> 2")]
    ),
    "a code_version upstream, by two ways": Case(
        _edit(("prices-1", "prices-2")), [("code_version", "Prices()", "code_version: prices-1 -> prices-2")]
    ),
    "a renamed key": Case(
        _edit(('"features": Features', '"f": Features')), [("key", TRAIN, "its input features is called f now")]
    ),
    "a new input": Case(
        _edit(('{"features": Features(day=self.day)}', '{"features": Features(day=self.day), "raw": Raw()}')),
        [("key", TRAIN, "its input raw (Raw) is new")],
    ),
    "an input is gone": Case(
        _edit(
            (
                '{"clean": Clean(day=self.day), "prices": Prices()}\n    def run(self):\n        self.dump(self.load("clean"))',
                '{"clean": Clean(day=self.day)}\n    def run(self):\n        self.dump(self.load("clean"))',
            )
        ),
        [
            ("key", FEATURES, "its input prices (Prices) is gone"),
            ("code", FEATURES, "its code has changed: Features.requires (1 of 4 parts)"),
        ],
    ),
    "an input of another class": Case(
        _edit(('{"features": Features(day=self.day)}', '{"features": Clean(day=self.day)}')),
        [("key", TRAIN, "its input features is Clean now, and was Features")],
    ),
    PACKAGE: Case(
        _edit(("msgspec 0.0.1", f"msgspec {VERSION}")),
        [("package", TRAIN, f"msgspec 0.0.1 -> msgspec {VERSION}, which its code_version names")],
    ),
    "an external file has changed": Case(
        _write_dropped("other words"),
        [("external", "Read()", "dropped.txt has changed since it ran")],
        lambda module: module.Read(),
        lambda module: [module.Read()],
    ),
    "an external file is not there": Case(
        _nothing,
        [("external", "Dropped()", "its file is not there")],
        lambda module: module.Dropped(),
        lambda module: [],
        afterwards=False,
    ),
    "the artifact is damaged": Case(
        _on_file(lambda path: path.write_bytes(b"x")), [("damaged", TRAIN, "the artifact has 1 bytes")]
    ),
    "the artifact's file is gone": Case(
        _on_file(Path.unlink), [("missing", TRAIN, "the artifact is gone, only its sidecar is there")]
    ),
    "the sidecar is damaged": Case(
        _on_file(lambda path: Path(sidecar_uri(str(path))).write_text("{")), [("damaged", TRAIN, "is not JSON")]
    ),
    "somebody asked for it": Case(
        lambda project, workspace: _request(project, workspace), [("requested", TRAIN, "asked to run again")]
    ),
    "a namespace": Case(
        lambda project, workspace: replace(workspace, namespace="churn"),
        [("namespace", TRAIN, "the namespace is churn: the class was pipeline.Train")],
    ),
    "another workspace has it": Case(
        lambda project, workspace: Workspace(f"{workspace.directory}-elsewhere"),
        [("workspace", TRAIN, "another workspace has its artifact")],
        afterwards=False,
    ),
    "a renamed class": Case(
        _edit(("class Features", "class Columns"), ("Features(day", "Columns(day")),
        [("class", "Columns(day=2013-03-01)", "the class is pipeline.Columns now, and was pipeline.Features")],
        lambda module: module.Columns(),
    ),
    "a renamed module": Case(_rename_module, [("class", TRAIN, "the class is pipeline2.Train now, and was pipeline.Train")]),
    "another file as its output": Case(
        _edit(
            (
                "    def run(self):\n        self.dump(self.depth)",
                '    def output(self):\n        return self.make_target("m/train.json")\n    def run(self):\n        self.dump(self.depth)',
            )
        ),
        [("output", TRAIN, "its output is another file now")],
        afterwards=False,
    ),
    "two at once": Case(
        _edit(('code_version = "1"', 'code_version = "3"'), ("prices-1", "prices-2")),
        [
            ("code_version", TRAIN, "code_version: 1 -> 3"),
            ("code_version", "Prices()", "code_version: prices-1 -> prices-2"),
        ],
    ),
    "a task held as a parameter": Case(
        _edit(('code_version = "1"', 'code_version = "2"')),
        [("code_version", TRAIN, "code_version: 1 -> 2")],
        lambda module: module.Score(),
        lambda module: [module.Score()],
    ),
    "a held task of other values": Case(
        _nothing,
        [("parameter", TRAIN.replace("6", "8"), "depth: 6 -> 8")],
        lambda module: module.Score(model=module.Train(depth=8)),
        lambda module: [module.Score()],
    ),
    "changed code that is to run again": Case(
        lambda project, workspace: _rerun_changed(project, workspace),
        [("code", TRAIN, "its code has changed: Train.run (1 of 7 parts)")],
        afterwards=False,
    ),
}


def _rerun_changed(project: Project, workspace: Workspace) -> Workspace:
    project.edit("self.dump(self.depth)", "self.dump(self.depth + 0)")
    return replace(workspace, on_changed_code="rerun")


def _request(project: Project, workspace: Workspace) -> None:
    with workspace:
        project.load().Train().output().begin_replacement(named=True)


def told(why: Why) -> list[tuple[str, str, str]]:
    return [(root.kind, root.task, root.words) for root in why.roots]


def agree(found: list[tuple[str, str, str]], expected: list[tuple[str, str, str]]) -> bool:
    return sorted(one[:2] for one in found) == sorted(one[:2] for one in expected) and all(
        any(words in one[2] for one in found if one[0] == kind) for kind, _, words in expected
    )


@pytest.mark.parametrize("name", list(CASES))
def test_the_root_cause(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    case = CASES[name]
    workspace = Workspace(str(tmp_path / "ws"))
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", workspace.directory)
    _write_dropped("words")(project, workspace)
    with workspace, monkeypatch.context() as patch:
        if name == PACKAGE:
            project.edit('code_version = "1"', 'code_version = "msgspec 0.0.1"')
            patch.setattr(environment, "imported_distributions", lambda: {"msgspec": "0.0.1"})
            environment._environment.cache_clear()
        module = project.load()
        for task in case.built(module):
            build(task)
    environment._environment.cache_clear()
    if name == "an external file is not there":
        Path(workspace.directory, "dropped.txt").unlink()
    asked = case.change(project, workspace) or workspace
    with asked:
        module = project.load()
        task = case.ask(module)
        why = why_task(task)
        assert why.runs
        assert agree(told(why), case.roots), told(why)
        if not case.afterwards:
            return
        build(task)
        later = why_artifact(Workspace.current().artifacts().get(task.unique_id))
        assert agree(told(later), case.roots), told(later)
        assert not why_task(task).runs
        assert why_task(task).words.startswith("it need not run: made 20")


def test_the_changed_lines_are_those_of_git(project: Project, workspace: Path) -> None:
    build(project.load().Train())
    project.edit("value * 2", "2 * value + 0", "helping.py")
    why = why_task(project.load().Train())
    (root,) = why.roots
    assert "-    return value * 2" in root.lines
    assert "+    return 2 * value + 0" in root.lines
    assert why.in_one_line == f"Raw: {root.words}"
    assert [cause.kind for cause in why.causes] == ["upstream"]
    assert why.as_json()["roots"][0]["kind"] == "code"


def test_what_need_not_run_says_so_and_what_is_forced_runs(project: Project, workspace: Path) -> None:
    task = project.load().Train()
    build(task)
    assert not why_task(task).runs
    forced = why_task(task, forced="asked to run again")
    assert (forced.runs, [root.kind for root in forced.roots]) == (True, ["requested"])
    build(task, rerun=["Raw+"])
    why = why_artifact(Workspace.current().artifacts().get(task.unique_id))
    assert [(root.kind, root.task) for root in why.roots] == [("requested", TRAIN)]
    build(project.load().Score(), rerun=["Raw"])
    assert why_artifact(Workspace.current().artifacts().latest("Raw")).roots[0].kind == "requested"
    assert "first secret" not in str(why) + str(forced)


def test_an_equal_run_was_taken(project: Project, workspace: Path) -> None:
    build(project.load().Score())
    project.edit('code_version = "1"', 'code_version = "2"')
    score = project.load().Score()
    build(score)
    why = why_artifact(Workspace.current().artifacts().get(score.unique_id))
    assert not why.runs
    assert why.words.startswith("it did not run: its inputs are equal to those of")
    assert told(why) == [("code_version", TRAIN, "code_version: 1 -> 2")]


@pytest.mark.parametrize("name", ["damaged_cars", "no artifact", "interrupted", "code", "the sidecar names, runs again"])
def test_words_in_the_name_of_a_file_are_no_reason(project: Project, workspace: Path, name: str) -> None:
    project.edit('"dropped.txt"', f'"{name}.txt"')
    workspace.mkdir(exist_ok=True)
    file = workspace / f"{name}.txt"
    file.write_text("words")
    task = project.load().Read()
    build(task)
    file.write_text("other words")
    os.utime(file, (time.time() + 5, time.time() + 5))
    assert [(root.kind, root.task) for root in why_task(task).roots] == [("external", "Read()")]
    build(task)
    assert why_artifact(Workspace.current().artifacts().get(task.unique_id)).roots[0].kind == "external"


class Base(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(0)


class Daily(TaskOnKart[int]):
    day: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        return [Daily(day=self.day - 1) if self.day else Base()]

    def run(self) -> None:
        self.dump(self.day)


def test_a_chain_of_a_year_has_an_answer(workspace: Path) -> None:
    """Of a task that needs itself of the day before."""
    build(Daily(day=365), progress=False)
    with Workspace(str(workspace)) as here:
        found = [why_artifact(here.artifacts().latest(Daily, day=365)), why_task(Daily(day=366))]
    for why, day in zip(found, (365, 366), strict=True):
        assert why.in_one_line.startswith(f"day: {day - 1} -> {day}")
        assert sum(root.words.startswith("and so on") for cause in why.causes for root in cause.roots()) == 1
        assert why.as_json()
