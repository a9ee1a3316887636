from __future__ import annotations

import hashlib
import hmac
import inspect
import json
import logging
import random
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from airflow_kart import IntParameter, ParameterVisibility, StrParameter, TaskInstanceParameter, TaskOnKart, build
from airflow_kart.exceptions import MissingInputError, OutputNotDumpedError, ParameterError
from airflow_kart.runtime.inputs import inputs_of
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import make_plan
from airflow_kart.runtime.runner import make_all, run_task
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.skipping import Skips
from airflow_kart.tasks.content import content_of
from airflow_kart.tasks.graph import Graph

pytestmark = pytest.mark.usefixtures("workspace")
logger = logging.getLogger("pipeline")


class Number(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    note: str = StrParameter(default="", significant=False)

    def run(self) -> None:
        self.dump(self.n)


class Table(TaskOnKart[pd.DataFrame]):
    number: Any = TaskInstanceParameter(default=Number())

    def output(self) -> Any:
        return self.make_target("table.parquet")

    def run(self) -> None:
        number = self.load("number")
        logger.warning("a line of the log")
        self.task_log["rows"] = number
        self.dump(pd.DataFrame({"a": [0.5] * number, "b": ["x"] * number}))


def sidecar_of(task: TaskOnKart[Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"{task.output().uri}.kart.json").read_text())
    return content


def task_that(run: Any, **more: Any) -> TaskOnKart[Any]:
    task: TaskOnKart[Any] = type("Task", (TaskOnKart,), {"run": run, **more})()
    return task


def test_a_task_runs_once() -> None:
    first, second = run_task(Number()), run_task(Number())
    assert (first.outcome, first.reason) == (Outcome.RAN, "no artifact")
    assert second.outcome is Outcome.CACHED
    assert second.seconds == first.seconds or second.seconds == pytest.approx(first.seconds)
    assert first.artifacts == second.artifacts
    assert [one.uri for one in first.artifacts] == [Number().output().uri]


def test_a_forced_task_runs_again() -> None:
    run_task(Number())
    again = run_task(Number(), force=True)
    assert (again.outcome, again.reason) == (Outcome.RAN, "asked to run again")


def test_the_reason_is_the_plans_or_else_what_was_found() -> None:
    assert run_task(Number()).reason == "no artifact"
    assert sidecar_of(Number())["run"]["reason"] == "no artifact"
    assert run_task(Number(), force=True).reason == "asked to run again"
    assert run_task(Number(n=2), reason="because").reason == "because"
    assert run_task(Number(n=3), reason="because", force=True).reason == "because"
    assert sidecar_of(Number(n=3))["run"]["reason"] == "because"
    assert run_task(Number(n=4), planned=True).reason == "no artifact"


class Strict(TaskOnKart[int]):
    strict_check = True

    def requires(self) -> Any:
        return Number(n=7)

    def run(self) -> None:
        self.dump(self.load())


def test_inputs_count_for_a_task_that_asks_for_them_unless_a_plan_has_judged() -> None:
    build(Strict())
    Number(n=7).output().remove()
    assert run_task(Strict(), planned=True).outcome is Outcome.CACHED
    with pytest.raises(MissingInputError):
        run_task(Strict())


def test_what_others_run_or_what_was_skipped_before_is_not_run() -> None:
    numbers = [Number(n=n) for n in range(3)]
    plan = make_plan(Graph.of(numbers))
    skips = Skips(plan.graph)
    skips.add(numbers[1], Exception("not today"))
    ran = make_all(plan, except_for=[numbers[0].unique_id], skips=skips)
    assert [result.outcome for result in ran] == [Outcome.RAN]
    assert [number.complete() for number in numbers] == [False, False, True]
    assert len(make_all(plan, except_for=[numbers[0].unique_id])) == 2
    assert [number.complete() for number in numbers] == [False, True, True]


def test_a_run_without_a_dump_publishes_nothing(workspace: Path, leftovers: Any) -> None:
    def output(self: Any) -> Any:
        return {"a": self.make_target("a.pkl"), "b": self.make_target("b.pkl")}

    task = task_that(lambda self: self.dump(1, "a"), output=output)
    with pytest.raises(
        OutputNotDumpedError, match=r"Task\(\)\.run\(\) ended without dumping .*/b_[0-9a-f]{32}\.pkl; call self\.dump"
    ):
        run_task(task)
    assert {path.name for path in workspace.rglob("*") if path.is_file()} <= {"held"}  # the file of the locks stays


def test_a_run_that_raises_publishes_nothing(workspace: Path) -> None:
    def run(self: Any) -> None:
        self.dump(1)
        raise ZeroDivisionError("by hand")

    with pytest.raises(ZeroDivisionError, match="by hand") as caught:
        run_task(task_that(run))
    assert {path.name for path in workspace.rglob("*") if path.is_file()} <= {"held"}  # the file of the locks stays
    if sys.version_info >= (3, 11):
        assert "while running Task() (unique id" in caught.value.__notes__[0]


def test_a_run_that_raises_leaves_the_old_artifact() -> None:
    fail: list[bool] = []

    def run(self: Any) -> None:
        self.dump("new" if fail else "old")
        if fail:
            raise ZeroDivisionError

    task = task_that(run)
    run_task(task)
    fail.append(True)
    with pytest.raises(ZeroDivisionError):
        run_task(task, force=True)
    assert task.complete()
    assert task.output().load() == "old"


def test_an_artifact_is_unseen_until_the_run_ends() -> None:
    seen = []

    def run(self: Any) -> None:
        self.dump(1)
        seen.append(self.complete())

    run_task(task_that(run))
    assert seen == [False]


def test_a_dump_in_a_thread_belongs_to_the_run(workspace: Path, clean_settings: Path) -> None:
    def run(self: Any) -> None:
        thread = threading.Thread(target=self.dump, args=(1,))
        thread.start()
        thread.join()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_task(task_that(run))
    assert [path for folder in (workspace, clean_settings) for path in folder.rglob("*.pkl")] == []


def test_missing_inputs_are_all_listed() -> None:
    class Needy(TaskOnKart[int]):
        def requires(self) -> Any:
            return {"a": Number(n=1), "b": [Number(n=2), Number(n=3)]}

        def run(self) -> None:
            self.dump(0)

    run_task(Number(n=2))
    with pytest.raises(MissingInputError) as caught:
        run_task(Needy(), session=Session(how_to_make=lambda task: f"make {task}"))
    lines = str(caught.value).splitlines()
    assert "needs 2 input(s) that are not there" in lines[0]
    assert lines[1] == "  ['a'] Number(n=1, note='')"
    assert lines[2].endswith(".pkl: no artifact")
    assert lines[3] == "    make it with: make Number(n=1, note='')"
    assert lines[4] == "  ['b'][1] Number(n=3, note='')"
    assert not Needy().complete()


def test_inputs_are_never_made_by_the_runner() -> None:
    with pytest.raises(MissingInputError):
        run_task(Table())
    assert not Number().complete()


# Seeds.


def draw() -> list[float]:
    return [random.random(), float(np.random.random())]


class Draws(TaskOnKart[Any]):
    n: int = IntParameter(default=0)

    def run(self) -> None:
        self.dump(draw())


SEEDED = """
import random
import numpy as np
from airflow_kart import IntParameter, TaskOnKart, build
class Draws(TaskOnKart):
    n = IntParameter(default=0)
    def run(self):
        self.dump([random.random(), float(np.random.random())])
print(build(Draws(), workspace_directory="a", rerun=["Draws"]))
"""


def test_random_numbers_depend_on_the_unique_id_only(python: Any, script: Any) -> None:
    file = script("draws.py", SEEDED)
    one, other = (python(file, env={"PYTHONHASHSEED": seed}) for seed in "12")
    assert one == other


def test_equal_tasks_draw_equal_numbers() -> None:
    first = build(Draws())
    random.seed()
    assert build(Draws(), rerun=["Draws"]) == first
    assert build(Draws(n=1)) != first


def test_generators_are_put_back() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = draw()
    random.seed(5)
    np.random.seed(5)
    build(Draws())
    assert draw() == expected


def test_generators_are_put_back_after_a_failure() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with pytest.raises(ZeroDivisionError):
        run_task(task_that(lambda self: random.seed(1) or 1 / 0))
    assert random.random() == expected


# What is recorded.


def test_the_task_is_recorded() -> None:
    build(Table(number=Number(n=3, note="x")))
    task = Table(number=Number(n=3))
    found = sidecar_of(task)
    assert found["task"]["class"] == f"{__name__}.Table"
    assert found["task"]["unique_id"] == task.unique_id
    assert found["task"]["code_version"] is None
    assert found["task"]["parameters"] == {
        "number": {
            "type": "TaskInstanceParameter",
            "significant": True,
            "value": {"task": f"{__name__}.Number", "unique_id": Number(n=3).unique_id},
        }
    }
    assert sidecar_of(Number(n=3))["task"]["parameters"]["note"] == {
        "type": "StrParameter",
        "significant": False,
        "value": "x",
    }


def test_the_upstream_is_recorded_with_its_checksums() -> None:
    build(Table(number=Number(n=3)))
    upstream = sidecar_of(Number(n=3))
    assert sidecar_of(Table(number=Number(n=3)))["upstream"] == [
        {
            "key": ["number"],
            "class": f"{__name__}.Number",
            "unique_id": Number(n=3).unique_id,
            "artifacts": [{"uri": Number(n=3).output().uri, "sha256": upstream["artifact"]["sha256"]}],
        }
    ]
    assert upstream["upstream"] == []


def test_the_table_is_recorded() -> None:
    build(Table(number=Number(n=3)))
    artifact = sidecar_of(Table(number=Number(n=3)))["artifact"]
    data = Path(artifact["uri"]).read_bytes()
    assert artifact["rows"] == 3
    assert artifact["columns"] == {"a": "float64", "b": "str" if pd.__version__ >= "3" else "object"}
    assert (artifact["bytes"], artifact["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_run_is_recorded() -> None:
    build(Table())
    run = sidecar_of(Table())["run"]
    assert run["started_at"] <= run["finished_at"]
    assert 0 < run["seconds"] < 60
    assert run["reason"] == "no artifact"
    content = content_of(Table(), inputs_of(Table(), Session()).contents)
    assert content is not None
    assert run["seed"]["value"] == int(content.hex()[:8], 16)
    assert run["peak_memory_bytes"] > 10_000_000
    assert sidecar_of(Table())["airflow"] is None


def test_the_environment_is_recorded() -> None:
    build(Table())
    environment = sidecar_of(Table())["environment"]
    for package in ("numpy", "pandas", "pyarrow", "hypothesis"):
        assert environment["packages"][package] == metadata.version(package)
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["packages"]["pandas"] == pd.__version__
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["host"]


def test_the_source_is_recorded() -> None:
    build(Table())
    source = sidecar_of(Table())["source"]
    assert source["file"] == __file__
    assert Path(__file__).read_text().splitlines()[source["line"] - 1].startswith("class Table(")
    assert source["sha256"] == hashlib.sha256(inspect.getsource(Table).encode()).hexdigest()


def test_the_log_is_recorded() -> None:
    build(Table(number=Number(n=3)))
    found = sidecar_of(Table(number=Number(n=3)))
    assert any("WARNING pipeline: a line of the log" in line for line in found["log_tail"])
    assert found["task_log"] == {"rows": 3}


def test_only_the_last_lines_are_kept() -> None:
    def run(self: Any) -> None:
        for number in range(60):
            logger.error("line %d %s", number, "x" * 1000)
        self.dump(1)

    task = task_that(run)
    run_task(task)
    tail = sidecar_of(task)["log_tail"]
    assert len(tail) == 50
    assert "line 59" in tail[-1]
    assert max(map(len, tail)) == 400


def test_the_task_log_starts_empty() -> None:
    def run(self: Any) -> None:
        self.task_log.setdefault("runs", []).append(1)
        self.dump(1)

    task = task_that(run)
    for _ in range(2):
        run_task(task, force=True)
    assert sidecar_of(task)["task_log"] == {"runs": [1]}


def log_of(value: Any) -> Any:
    def run(self: Any) -> None:
        self.task_log["value"] = value
        self.dump(1)

    task = task_that(run)
    run_task(task)
    text = Path(f"{task.output().uri}.kart.json").read_text()

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)["task_log"]["value"]


@pytest.mark.parametrize("value", [1, 0.5, "ü", None, [1, {"a": True}], np.float64(0.25)])
def test_the_task_log_keeps_json(value: Any) -> None:
    assert log_of(value) == value


@pytest.mark.parametrize("value", [np.int64(3), np.float32(0.5), np.bool_(True)])
def test_the_task_log_keeps_numbers_of_numpy(value: Any) -> None:
    assert log_of(value) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_sidecar_is_json_whatever_is_logged(value: float) -> None:
    log_of(value)


@pytest.mark.parametrize("value", [{("a", 1): 2}, {1, 2}, object(), "itself"], ids=["key", "set", "object", "itself"])
def test_what_is_no_json_is_logged_in_some_form(value: Any) -> None:
    if value == "itself":
        value = []
        value.append(value)
    assert log_of(value)


def test_coordinates_are_recorded() -> None:
    run_task(Number(), session=Session(coordinates={"dag_id": "d", "run_id": "r"}))
    assert sidecar_of(Number())["airflow"] == {"dag_id": "d", "run_id": "r"}
    sidecar = Number().output().sidecar()
    assert sidecar is not None
    assert sidecar.airflow_run == ("d", "r")
    assert run_task(Number()).reason.endswith(" UTC by d r")


# Secrets.


SECRET = "hunter2-correct-horse"


class Secretive(TaskOnKart[int]):
    token: str = StrParameter(visibility=ParameterVisibility.PRIVATE, significant=False)
    hidden: str = StrParameter(default="shown", visibility=ParameterVisibility.HIDDEN)

    def run(self) -> None:
        logger.warning("running %r", self)
        self.dump(len(self.token))


class Above(TaskOnKart[int]):
    below: Any = TaskInstanceParameter()

    def run(self) -> None:
        self.dump(self.load("below"))


@pytest.mark.parametrize("key", ["", "the key"])
def test_private_values_appear_nowhere(workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, key: str) -> None:
    monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", key)
    caplog.set_level(logging.DEBUG)
    build(Above(below=Secretive(token=SECRET)))
    files = [path for path in workspace.rglob("*") if path.is_file()]
    others = [path for path in files if path.name not in {"publishing.lock", "held"} and path.parent.name != ".kart-index"]
    assert len(others) == 5  # two artifacts with their sidecars, and the ledger
    assert len(others) < len(files)
    for path in files:
        assert SECRET.encode() not in path.read_bytes()
        assert SECRET not in str(path)
    assert SECRET not in caplog.text
    parameters = sidecar_of(Secretive(token=SECRET))["task"]["parameters"]
    digest = hmac.new(key.encode(), SECRET.encode(), hashlib.sha256).hexdigest() if key else None
    assert parameters["token"] == {"type": "StrParameter", "significant": False, "private": True, "digest": digest}
    assert parameters["hidden"]["value"] == "shown"


def test_private_values_do_not_appear_when_a_run_fails(caplog: Any) -> None:
    class Failing(Secretive):
        def run(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(MissingInputError) as caught:
        run_task(Above(below=Failing(token=SECRET)))
    assert SECRET not in str(caught.value)
    with pytest.raises(ZeroDivisionError) as failed:
        build(Above(below=Failing(token=SECRET)))
    assert SECRET not in str(failed.value) + "".join(getattr(failed.value, "__notes__", [])) + caplog.text


class Coroutine(TaskOnKart[int]):
    async def run(self) -> None:  # type: ignore[override]  # on purpose
        self.dump(1)


class AsyncGenerator(TaskOnKart[int]):
    async def run(self) -> Any:
        yield 1


@pytest.mark.parametrize("task", [Coroutine(), AsyncGenerator()], ids=repr)
def test_an_async_run_is_refused(workspace: Path, task: TaskOnKart[int]) -> None:
    with pytest.raises(ParameterError, match=r"run\(\) is async, and nobody awaits it; write def run\(self\)") as error:
        build(task)
    assert error.value.task == type(task).__qualname__


class PassesOn(TaskOnKart[Any]):
    reuse_equal_inputs = False

    def requires(self) -> Any:
        return Number()

    def output(self) -> Any:
        return {"own": self.make_target("passes/own.pkl"), "first": self.input()}

    def run(self) -> None:
        logger.warning("passes on")
        self.dump(self.load() + 1, "own")


def test_a_task_that_passes_an_input_on_beside_its_own_output_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert build(PassesOn()) == {"own": 2, "first": 1}
        assert PassesOn().complete()
    assert caplog.text.count("passes on") == 1
    build(Number(), rerun=["Number"])
    assert PassesOn().complete()
