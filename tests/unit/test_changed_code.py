"""Artifacts whose code has changed since they were made: said, made again, or reused, as the reader asks."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import Workspace, build
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.code import changed_parts
from airflow_kart.runtime.plan import make_plan
from airflow_kart.tasks.graph import Graph
from airflow_kart.views import graphviz, mermaid, table, tree

HELPER = """
def normalise(value):
    return value + 1
"""
PIPELINE = """
from __future__ import annotations
from airflow_kart import IntParameter, TaskOnKart
from changing_helper import normalise

RAN = []

class Clean(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    def run(self):
        RAN.append("Clean")
        self.dump(normalise(self.n))

class Other(TaskOnKart[int]):
    def run(self):
        RAN.append("Other")
        self.dump(1)

class Train(TaskOnKart[int]):
    def requires(self):
        return {"a": Clean(n=1), "b": Clean(n=2), "other": Other()}
    def run(self):
        RAN.append("Train")
        self.dump(self.load("a") + self.load("b"))

class Use(TaskOnKart[int]):
    factor = 1
    def requires(self):
        return Train()
    def run(self):
        RAN.append("Use")
        self.dump(self.factor * self.load())

class Asks(TaskOnKart[int]):
    def run(self):
        RAN.append("Asks")
        found = yield Clean(n=1)
        self.dump(found.load())
"""
NAMES = ("changing_helper", "changing_pipeline")


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Iterator[Callable[..., Any]]:
    """Load the pipeline, with texts replaced, as a new process does after an edit."""
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "code").mkdir()

    def loaded(*edits: tuple[str, str]) -> Any:
        for name, text in zip(NAMES, (HELPER, PIPELINE), strict=True):
            for before, after in edits:
                text = text.replace(before, after)
            (tmp_path / "code" / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(NAMES[1])

    yield loaded
    for name in NAMES:
        sys.modules.pop(name, None)


EDITED = ("value + 1", "value + 1 + 1")  # of another length: Python tells files by size and second


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def changed(task: Any) -> list[str]:
    return make_plan(Graph.of([task])).changed_code()


def test_nothing_is_said_of_code_that_is_as_it_was(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    build(load().Use())
    pipeline = load(('"""', '"""'), ("def normalise(value):", "# a comment\ndef normalise(value):"))
    assert build(pipeline.Use()) == 5
    assert (pipeline.RAN, warnings_of(caplog), changed(pipeline.Use())) == ([], [], [])
    assert "changed" not in tree(pipeline.Use())


def test_an_edit_far_upstream_is_said_once_with_the_changed_definitions(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    build(load().Use())
    pipeline = load(EDITED)
    assert build(pipeline.Use()) == 5
    assert pipeline.RAN == []
    (warning,) = warnings_of(caplog)
    assert warning.startswith(
        "Use is cached, but the code of Clean, which went into Use, has changed since: changing_helper.normalise (1 of 4 parts); "
    )


def test_an_edit_of_the_class_itself_names_its_method(load: Any) -> None:
    build(load().Use())
    pipeline = load(("self.factor *", "2 *"), ("factor = 1", "factor = 3"))
    assert changed(pipeline.Use()) == ["Use is cached, but its code has changed since: Use.factor, Use.run (2 of 4 parts)"]


def test_a_changed_base_or_decorator_names_the_class(load: Any) -> None:
    build(load().Other())
    pipeline = load(("class Other(TaskOnKart[int])", "class Mixin: pass\nclass Other(Mixin, TaskOnKart[int])"))
    (line,) = changed(pipeline.Other())
    assert line.startswith("Other is cached, but its code has changed since: Mixin, Other (2 of ")


def test_views_say_so(load: Any) -> None:
    build(load().Use())
    pipeline = load(EDITED)
    lines = tree(pipeline.Use()).splitlines()
    assert lines[0].endswith("but the code of Clean, upstream, has changed since")
    assert [line for line in lines if "Clean[" in line and not line.endswith("but its code has changed since")] == []
    assert [line for line in lines if "Other[" in line and "changed" in line] == []
    assert "the code of Clean, upstream, has changed since" in mermaid(pipeline.Use())
    assert "its code has changed since" in graphviz(pipeline.Clean())
    reasons = dict(zip(table(pipeline.Use())["class"], table(pipeline.Use())["reason"], strict=True))
    assert reasons["Use"].endswith(", but the code of Clean, upstream, has changed since")
    assert "changed" not in reasons["Other"]


def test_rerun_makes_again_what_the_change_reaches_and_nothing_else(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    build(load().Use())
    pipeline = load(EDITED)
    assert build(pipeline.Use(), on_changed_code="rerun") == 7
    assert pipeline.RAN == ["Clean", "Clean", "Train", "Use"]
    pipeline.RAN.clear()
    assert build(pipeline.Use(), on_changed_code="rerun") == 7
    assert (pipeline.RAN, changed(pipeline.Use()), warnings_of(caplog)) == ([], [], [])


def test_rerun_reaches_all_consumers_of_code_whose_intermediate_is_gone(load: Any) -> None:
    build(load().Use())
    pipeline = load(EDITED)
    train = pipeline.Train().output()
    Path(train.uri).unlink()
    assert build(pipeline.Use(), on_changed_code="rerun") == 7
    assert pipeline.RAN == ["Clean", "Clean", "Train", "Use"]


def test_consumers_of_what_was_made_again_by_itself_run_too(load: Any) -> None:
    """Somebody made the upstream again with the new code; what was made from the old one is still old."""
    build(load().Use())
    pipeline = load(EDITED)
    build(pipeline.Clean(n=1), on_changed_code="rerun")
    pipeline.RAN.clear()
    assert build(pipeline.Use(), on_changed_code="rerun") == 7
    assert pipeline.RAN == ["Clean", "Train", "Use"]


@pytest.mark.parametrize("workers", [1, 2])
def test_rerun_in_processes(load: Any, workers: int) -> None:
    build(load().Use())
    assert build(load(EDITED).Use(), on_changed_code="rerun", workers=workers) == 7


def test_ignore_says_nothing(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    build(load().Use())
    assert build(load(EDITED).Use(), on_changed_code="ignore") == 5
    assert warnings_of(caplog) == []


def test_the_option_and_the_workspace_say_what_happens(
    load: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    build(load().Use())
    monkeypatch.setenv("AIRFLOW__KART__ON_CHANGED_CODE", "rerun")
    pipeline = load(EDITED)
    with Workspace(str(workspace), on_changed_code="ignore"):
        assert pipeline.Use().complete()
        assert build(pipeline.Use()) == 5
    assert not pipeline.Use().complete()
    assert pipeline.Other().complete()
    assert build(pipeline.Use()) == 7
    assert warnings_of(caplog) == []
    monkeypatch.setenv("AIRFLOW__KART__ON_CHANGED_CODE", "shout")
    with pytest.raises(ConfigurationError, match="on_changed_code is 'shout'; set it to one of warn, rerun, ignore"):
        build(pipeline.Use())
    with pytest.raises(ConfigurationError, match="on_changed_code is 'never'; use one of warn, rerun, ignore"):
        build(pipeline.Use(), on_changed_code="never")


def test_tasks_that_run_asks_for_count(load: Any) -> None:
    build(load().Asks())
    pipeline = load(EDITED)
    assert changed(pipeline.Asks())[1:] == ["Asks is cached, but the code of Clean, which went into Asks, has changed since"]
    sidecar = pipeline.Asks().output().sidecar()
    assert list(sidecar.content["upstream_code"]) == ["changing_pipeline.Clean"]
    assert "Clean, upstream" in tree(pipeline.Asks())
    assert build(pipeline.Asks(), on_changed_code="rerun") == 3


def test_an_artifact_of_an_earlier_version_tells_nothing(load: Any) -> None:
    task = load().Other()
    build(task)
    sidecar = task.output().sidecar()
    content = {name: part for name, part in sidecar.content.items() if name != "upstream_code"}
    content["source"] = {**content["source"], "fingerprint": None}
    Path(f"{task.output().uri}.kart.json").write_bytes(Sidecar(sidecar.artifact, content).to_bytes())
    assert changed(load(("dump(1)", "dump(2)")).Other()) == []


def test_a_task_of_an_overlay_tells_too(load: Any, workspace: Path, tmp_path: Path) -> None:
    build(load().Use())
    pipeline = load(EDITED)
    with Workspace(str(tmp_path / "mine"), read_from=(str(workspace),)):
        assert len(changed(pipeline.Use())) == 1
        assert build(pipeline.Use(), on_changed_code="rerun") == 7
        assert changed(pipeline.Use()) == []
    assert len(changed(pipeline.Use())) == 1


class TestCodeVersionOfAll:
    def test_auto_is_for_classes_that_say_nothing(self, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        edits = ("class Other(TaskOnKart[int]):", 'class Other(TaskOnKart[int]):\n    code_version = "1"')
        before = load(edits)
        plain, other = before.Clean().unique_id, before.Other().unique_id
        monkeypatch.setenv("AIRFLOW__KART__CODE_VERSION", "auto")
        pipeline = load(edits)
        first = pipeline.Clean().unique_id
        assert first != plain
        assert pipeline.Other().unique_id == other
        assert load(edits, EDITED).Clean().unique_id != first
        assert load(edits).Clean().unique_id == first
        assert (
            load(edits, ("class Clean(TaskOnKart[int]):", "class Clean(TaskOnKart[int]):\n    code_version = None"))
            .Clean()
            .unique_id
            == plain
        )

    def test_another_word_is_an_error(self, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__KART__CODE_VERSION", "1")
        with pytest.raises(ConfigurationError, match="code_version is '1'; set it to one of none, auto"):
            _ = load().Clean().unique_id


def test_changed_parts() -> None:
    before = {"a.C": "1", "a.C.run": "2", "a.C.x": "3", "a.f": "4"}
    assert changed_parts(before, before) == ([], 3)
    assert changed_parts(before, {**before, "a.C": "9", "a.C.run": "9"}) == (["a.C.run"], 3)
    assert changed_parts(before, {**before, "a.C": "9"}) == (["a.C"], 4)
    assert changed_parts(before, {**before, "a.f": "9", "b.g": "1"}) == (["a.f", "b.g"], 4)
    assert changed_parts({**before, "b.g": "1"}, before) == (["b.g"], 4)
