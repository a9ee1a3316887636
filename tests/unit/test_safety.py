"""Ways in which a stale, foreign or mixed artifact could be taken for the right one, and is not."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import (
    BoolParameter,
    IntParameter,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    build,
)
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import ConfigurationError, GraphError, MissingArtifactError, ParameterError
from airflow_kart.tasks.provenance import TaskOwner

INPUT: dict[str, Any] = {"value": "v1", "fail": False}


class Up(TaskOnKart[str]):
    def run(self) -> None:
        self.dump(INPUT["value"])


class Middle(TaskOnKart[str]):
    def requires(self) -> TaskOnKart[str]:
        return Up()

    def run(self) -> None:
        self.dump(f"from {self.load()}")


class Down(TaskOnKart[str]):
    def requires(self) -> TaskOnKart[str]:
        return Middle()

    def run(self) -> None:
        if INPUT["fail"]:
            raise RuntimeError("down")
        self.dump(f"{self.load()} again")


@pytest.fixture(autouse=True)
def _first_input() -> None:
    INPUT.update(value="v1", fail=False)


def test_a_rerun_that_fails_half_way_goes_on_in_the_next_run(workspace: Path) -> None:
    assert build(Down()) == "from v1 again"
    INPUT.update(value="v2", fail=True)
    with pytest.raises(RuntimeError):
        build(Down(), rerun=["Up"])
    assert Down().output().load() == "from v1 again"  # readable all the time
    assert not Down().complete()
    assert Down().output().state().reason == "it was asked to run again"
    INPUT["fail"] = False
    assert build(Down()) == "from v2 again"
    assert Down().complete()


class Shared(TaskOnKart[str]):
    p: int = IntParameter()

    def output(self) -> Target:
        return self.make_target("shared.pkl", use_unique_id=False)

    def run(self) -> None:
        self.dump(f"payload of p={self.p}")


def test_an_interrupted_replacement_of_another_tasks_file_is_nobodys(workspace: Path) -> None:
    build(Shared(p=1))
    target = Shared(p=2).output()
    with Publication({target.uri: target.store}) as publication:
        target.dump("payload of p=2")
        upload = publication._staged[target.uri].upload
        upload.publish = lambda *_expected: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            publication.publish(TaskOwner(Shared(p=2)).describe({}))
    for task in (Shared(p=1), Shared(p=2)):
        assert not task.complete()
        with pytest.raises(MissingArtifactError):
            task.output().load()
    assert build(Shared(p=2)) == "payload of p=2"


class Threaded(TaskOnKart[list[str]]):
    barrier: bool = BoolParameter(default=True, significant=False)

    def requires(self) -> TaskOnKart[str]:
        return Up()

    def run(self) -> None:
        MEETING.wait(10)
        with ThreadPoolExecutor(1) as pool:
            self.dump([pool.submit(self.load).result()])


MEETING = threading.Barrier(1)


def test_threads_of_a_task_are_in_its_workspace(tmp_path: Path) -> None:
    assert build(Threaded(), workspace_directory=tmp_path / "one") == ["v1"]


def test_threads_of_tasks_in_several_workspaces_are_never_in_the_wrong_one(tmp_path: Path) -> None:
    global MEETING
    for name in ("a", "b"):
        INPUT["value"] = name
        build(Up(), workspace_directory=tmp_path / name)
    MEETING = threading.Barrier(2)
    try:
        with ThreadPoolExecutor(2) as pool:
            runs = {name: pool.submit(build, Threaded(), workspace_directory=tmp_path / name) for name in ("a", "b")}
        errors = {name: run.exception() for name, run in runs.items()}
        assert any(errors.values())
        for name, error in errors.items():
            if error is None:  # the other run had ended by then
                assert runs[name].result() == [name]
            else:
                assert isinstance(error, ConfigurationError)
                assert "the process is in several" in str(error)
    finally:
        MEETING = threading.Barrier(1)


def test_one_workspace_may_be_entered_by_several_threads(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path))
    entered = threading.Barrier(2)

    def enter() -> bool:
        with workspace:
            entered.wait(10)
            return Workspace.current() is workspace

    with ThreadPoolExecutor(2) as pool:
        assert all(future.result() for future in [pool.submit(enter), pool.submit(enter)])


def test_simultaneous_publications_never_mix(tmp_path: Path) -> None:
    """Both outputs of a task, and their sidecars, are those of one run, whichever was last."""
    script = """
import sys
from airflow_kart import TaskOnKart, build
class Pair(TaskOnKart[str]):
    def output(self): return {"one": self.make_target("x/one.txt"), "two": self.make_target("y/two.txt")}
    def run(self):
        self.dump(sys.argv[1] * 1000, "one")
        self.dump(sys.argv[1] * 1000, "two")
for _ in range(40):
    build(Pair(), workspace_directory="ws", rerun=["Pair"])
"""
    (tmp_path / "pair.py").write_text(script)
    processes = [subprocess.Popen([sys.executable, "pair.py", letter], cwd=tmp_path) for letter in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    one, two = (next((tmp_path / "ws").rglob(f"{name}_*.txt")).read_text() for name in ("one", "two"))
    assert one == two
    for sidecar in (tmp_path / "ws").rglob("*.kart.json"):
        artifact = sidecar.with_name(sidecar.name.removesuffix(".kart.json"))
        assert json.loads(sidecar.read_text())["artifact"]["sha256"] == hashlib.sha256(artifact.read_bytes()).hexdigest()


def made(number: int) -> type[TaskOnKart[int]]:
    class Made(TaskOnKart[int]):
        def run(self) -> None:
            self.dump(number)

    return Made


class Both(TaskOnKart[list[int]]):
    def requires(self) -> list[TaskOnKart[int]]:
        return [made(1)(), made(2)()]


def test_two_classes_of_one_name_do_not_share_artifacts() -> None:
    with pytest.raises(GraphError, match=r"two different classes are both named .*made\.<locals>\.Made"):
        _ = Both().unique_id


def test_a_source_that_is_edited_while_it_runs_loses_nothing(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from airflow_kart import TaskOnKart, build
class Edited(TaskOnKart[int]):
    def run(self):
        pathlib.Path(__file__).write_text("def broken(:")
        self.dump(1)
if __name__ == "__main__":
    print(build(Edited(), workspace_directory="ws"), bool(Edited().unique_id))
"""
    (tmp_path / "edited.py").write_text(script)
    done = subprocess.run([sys.executable, "edited.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("1 "), done.stderr


@pytest.mark.parametrize("spelling", ["team/etl.py", "../dags/team/etl.py", "team/../team/etl.py", "./team/etl.py"])
def test_a_path_may_be_spelled_in_any_way(tmp_path: Path, spelling: str) -> None:
    folder = tmp_path / "dags" / "team"
    folder.mkdir(parents=True)
    (folder / "etl.py").write_text(
        "from airflow_kart import TaskOnKart\nclass T(TaskOnKart[int]): pass\nprint(T().unique_id)\n"
    )
    environment = {**os.environ, "MY_HOME": str(tmp_path), "AIRFLOW__CORE__DAGS_FOLDER": "$MY_HOME/dags"}
    command = [sys.executable, spelling]
    done = subprocess.run(command, cwd=tmp_path / "dags", env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "33bb5f46bfb3e92cba5d90b23926c633"


def test_parameters_travel_with_their_class() -> None:
    for parameter in (vars(Shared)["p"], vars(Threaded)["barrier"]):
        copy = pickle.loads(pickle.dumps(parameter))
        assert type(copy) is type(parameter)
        assert vars(copy) == vars(parameter)


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda: build(Up), ConfigurationError, r"give a task; make an instance: Up\(...\)"),  # type: ignore[arg-type]
        (lambda: build([Up()]), ConfigurationError, "give a task"),  # type: ignore[arg-type]
        (lambda: Shared(3), ParameterError, r"Shared takes its parameters by keyword: Shared\(p=...\)"),  # type: ignore[call-arg]
        (lambda: type("Bare", (TaskOnKart,), {"day": IntParameter}), ParameterError, r"make it a parameter: add \(\)"),
        (lambda: Forgetful(n=1).unique_id, ParameterError, "Forgetful.n has no value: does its __init__ call"),
    ],
)
def test_a_newcomers_mistakes_are_named(mistake: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mistake()


class Forgetful(TaskOnKart[int]):
    n: int = IntParameter()
    upstream: TaskOnKart[str] = TaskInstanceParameter(default=Up())
    text: str = StrParameter(default="")

    def __init__(self, n: int) -> None:
        self.other = n
