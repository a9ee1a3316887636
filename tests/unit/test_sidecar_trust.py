"""A sidecar is not believed: one that was changed after it was written, or is not as the schema says, makes nothing wrong."""

from __future__ import annotations

import copy
import functools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from airflow_kart import IntParameter, StrParameter, Target, TaskInstanceParameter, TaskOnKart, build
from airflow_kart.artifacts.sidecar import document, read_sidecar, validation
from airflow_kart.exceptions import CorruptArtifactError, KartError, MissingArtifactError
from airflow_kart.storage import LocalStore
from airflow_kart.views import table, tree

FRAME = pd.DataFrame({"number": [1, 2, 3], "text": ["1", "2", "003"], "day": pd.date_range("2024-01-01", periods=3)})


@pytest.fixture(autouse=True)
def _in_workspace(workspace: Path) -> None:
    pass


class Source(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)


class Frame(TaskOnKart[pd.DataFrame]):
    kind: str = StrParameter(default="csv")
    n: int = IntParameter(default=3)
    source: TaskOnKart[int] = TaskInstanceParameter(default=Source())
    modification_time_check = True

    def requires(self) -> TaskOnKart[int]:
        return self.source

    def output(self) -> Target:
        return self.make_target(f"frame.{self.kind}")

    def run(self) -> None:
        self.load()
        self.dump(FRAME)


def sidecar_of(task: TaskOnKart[Any]) -> Path:
    return Path(f"{task.output().uri}.kart.json")


def as_version_1(data: bytes, change: Callable[[dict[str, Any]], object] = lambda _content: None) -> bytes:
    """Return a sidecar as one from before there were digests, changed."""
    content = {**json.loads(data), "schema_version": 1}
    del content["digest"]
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_no_flipped_bit_is_believed(kind: str) -> None:
    task = Frame(kind=kind)
    build(task)
    file, target = sidecar_of(task), task.output()
    good = file.read_bytes()
    numbers = random.Random(0)
    for position in [*range(0, len(good), 7), *range(len(good) - 90, len(good))]:
        data = bytearray(good)
        data[position] ^= 1 << numbers.randrange(8)
        file.write_bytes(data)
        assert not target.exists(), bytes(data[max(0, position - 20) : position + 20])
        with pytest.raises(CorruptArtifactError):
            target.load()


def test_a_sidecar_that_was_edited_by_hand_does_not_count() -> None:
    build(Frame())
    file = sidecar_of(Frame())
    file.write_text(file.read_text().replace('"csv"', '"tsv"', 1))
    assert "was changed after it was written: its digest does not fit" in Frame().output().state().reason
    assert build(Frame()).equals(FRAME)


def test_a_digest_cannot_be_left_out() -> None:
    build(Frame())
    file = sidecar_of(Frame())
    content = json.loads(file.read_text())
    for taken in ({"digest"}, {"digest", "publication"}):
        file.write_text(json.dumps({name: part for name, part in content.items() if name not in taken}))
        assert not Frame().output().exists()


def test_a_sidecar_from_before_there_were_digests_counts() -> None:
    build(Frame())
    file = sidecar_of(Frame())
    file.write_bytes(as_version_1(file.read_bytes()))
    assert Frame().output().exists()
    assert Frame().output().load().equals(FRAME)
    assert build(Frame()).equals(FRAME)


WRONG: dict[str, tuple[tuple[str | int, ...], object]] = {
    "upstream artifacts": (("upstream", 0, "artifacts"), -0.5),
    "upstream uri": (("upstream", 0, "artifacts", 0, "uri"), {"a": 1}),
    "upstream key": (("upstream", 0, "key"), "a"),
    "upstream": (("upstream",), {"a": 1}),
    "columns": (("artifact", "columns"), [[]]),
    "column type": (("artifact", "columns", "number"), 5),
    "rows": (("artifact", "rows"), {"a": 1}),
    "rows below zero": (("artifact", "rows"), -1),
    "bytes as bool": (("artifact", "bytes"), True),
    "options": (("artifact", "options"), None),
    "labels": (("artifact", "labels"), {"a": 1}),
    "sha256": (("artifact", "sha256"), "0" * 63),
    "xxh3": (("artifact", "xxh3"), "g" * 32),
    "seconds": (("run", "seconds"), float("inf")),
    "seconds below zero": (("run", "seconds"), -1),
    "finished_at": (("run", "finished_at"), "yesterday"),
    "finished_at without a zone": (("run", "finished_at"), "2024-01-01T00:00:00"),
    "class": (("task", "class"), -0.5),
    "parameters": (("task", "parameters"), []),
    "parameter": (("task", "parameters", "n"), 1),
    "parameter without a value": (("task", "parameters", "n"), {"type": "IntParameter"}),
    "task": (("task",), "x"),
    "unique_id": (("task", "unique_id"), None),
    "airflow": (("airflow",), []),
    "run_id": (("airflow",), {"dag_id": "a", "run_id": 5}),
    "publication": (("publication",), "x"),
    "replaces": (("replaces",), ["x"]),
    "more publications than artifacts": (("replaces_publications",), [None]),
    "damaged": (("damaged",), {"sha256": 1}),
    "task_log": (("task_log",), []),
    "log_tail": (("log_tail",), [1]),
    "unknown part": (("optionr",), 1),
    "unknown field": (("artifact", "optionr"), 1),
    "nested": (("task_log",), {"deep": json.loads("[" * 150 + "]" * 150)}),
    "version as bool": (("schema_version",), True),
    "version as float": (("schema_version",), 1.0),
}


@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG)
def test_a_part_that_is_not_as_the_schema_says_makes_an_artifact_incomplete(path: tuple[Any, ...], value: object) -> None:
    build(Frame())
    file = sidecar_of(Frame())

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    file.write_bytes(as_version_1(file.read_bytes(), change))
    state = Frame().output().state()
    assert not state.complete
    assert "sidecar" in state.reason
    assert "missing: " in tree(Frame())
    assert not table(Frame())["complete"][0]
    for use in (Frame().output().load, lambda: Frame.restore(Frame().unique_id)):
        with pytest.raises((CorruptArtifactError, MissingArtifactError)):
            use()
    assert build(Frame()).equals(FRAME)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["artifact"].update(options={"separator": {"a": 1}}),
        lambda content: content["artifact"].update(options={"separator": ""}),
        lambda content: content["artifact"].update(options={"encoding": [5]}),
        lambda content: content["artifact"].update(options={"encoding": "klingon"}),
        lambda content: content["artifact"].update(columns={"number": "datetime64[xx]", "text": "", "day": "?"}),
        lambda content: content["artifact"].update(type="nowhere.Nothing"),
    ],
)
def test_an_option_that_no_format_takes_is_a_clear_error(change: Any) -> None:
    build(Frame())
    file = sidecar_of(Frame())
    file.write_bytes(as_version_1(file.read_bytes(), change))
    try:
        Frame().output().load()
    except KartError as error:
        assert error.uri == Frame().output().uri  # some of the changes do no harm


@pytest.mark.parametrize(
    "change",
    [
        lambda task: task.pop("class"),
        lambda task: task.pop("parameters"),
        lambda task: task["parameters"]["source"].update(value="x"),
        lambda task: task["parameters"]["source"].update(value={"task": 5}),
        lambda task: task["parameters"]["source"].update(value={}),
        lambda task: task["parameters"]["source"].update(value=[{"task": None}]),
        lambda task: task["parameters"]["source"]["value"].pop("unique_id"),
        lambda task: task["parameters"]["n"].update(value={"a": []}),
    ],
)
def test_a_task_that_cannot_be_restored_is_a_clear_error(change: Any) -> None:
    build(Frame())
    file = sidecar_of(Frame())
    file.write_bytes(as_version_1(file.read_bytes(), lambda content: change(content["task"])))
    with pytest.raises(KartError):
        Frame.restore(Frame().unique_id)


def test_a_sidecar_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    build(Frame())
    monkeypatch.setattr(document, "_WRITTEN", {})  # as in another process
    size = sidecar_of(Frame()).stat().st_size
    monkeypatch.setattr(document, "_LONGEST", size - 1)
    assert f"is too long: {size:,} bytes" in Frame().output().state().reason
    monkeypatch.setattr(document, "_LONGEST", size)
    assert Frame().output().exists()


def test_written_sidecars_are_forgotten_before_python_ends(tmp_path: Path) -> None:
    script = """
import atexit
atexit.register(lambda: print(before, len(document._WRITTEN)))  # the first to be registered is the last to be called
from airflow_kart import TaskOnKart, build
from airflow_kart.artifacts.sidecar import document

class One(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)

build(One(), workspace_directory="w", progress=False)
before = len(document._WRITTEN)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1", "0"]


@pytest.mark.parametrize("version", [0, 3, -1, True, 1.0, 2.0, "1", "2", None, [1]])
def test_a_sidecar_of_another_schema_version_does_not_count(version: object) -> None:
    build(Frame())
    file = sidecar_of(Frame())
    file.write_bytes(as_version_1(file.read_bytes(), lambda content: content.update(schema_version=version)))
    state = Frame().output().state()
    assert not state.complete
    assert f"has schema version {version!r}; this airflow_kart reads version 1 to 2" in state.reason


@pytest.mark.parametrize("kinds", ["{", "[", "{["], ids=["objects", "arrays", "both in turn"])
def test_a_sidecar_is_nested_as_deep_as_it_may_be(kinds: str) -> None:
    build(Frame())
    file = sidecar_of(Frame())
    good = file.read_bytes()
    for levels, complete in (
        (validation._DEEPEST - 2, True),
        (validation._DEEPEST - 1, False),
    ):  # the document and the value are levels too
        value: object = 1
        for level in reversed(range(levels)):
            value = {"a": value} if level == 0 or kinds[level % len(kinds)] == "{" else [value]
        file.write_bytes(as_version_1(good, functools.partial(dict.update, task_log=value)))
        data = file.read_bytes()  # as many braces as brackets, whatever a count of both makes of that
        missing = data.count(b"{") - data.count(b"[") - 1
        siblings: list[object] = [{}] * -missing if missing < 0 else [[]] * missing
        assert isinstance(value, dict)
        file.write_bytes(as_version_1(good, functools.partial(dict.update, task_log={"b": siblings, **value})))
        assert Frame().output().exists() is complete


def test_what_is_read_is_what_was_written() -> None:
    build(Frame())
    uri = Frame().output().uri
    before = sidecar_of(Frame()).read_bytes()
    sidecar = read_sidecar(LocalStore(), uri)
    assert sidecar is not None
    assert sidecar.to_bytes() == before
    assert "digest" not in sidecar.content
    marked = sidecar.replacing(sidecar.publications)
    assert marked.to_bytes() != before
    sidecar_of(Frame()).write_bytes(marked.to_bytes())
    assert read_sidecar(LocalStore(), uri) == copy.copy(marked)
