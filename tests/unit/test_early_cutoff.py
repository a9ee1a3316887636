"""Early cut-off: a task that would run takes the artifact of an equal run, and never anything else."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airflow_kart import (
    BoolParameter,
    ExternalTask,
    IntParameter,
    ListParameter,
    ListTaskInstanceParameter,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    WrapperTask,
    build,
)
from airflow_kart.artifacts import index
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.formats import CsvFormat, GzipFormat, PickleFormat, TextFormat
from airflow_kart.runtime.runner import run_task
from airflow_kart.storage import LocalStore

RAN: list[str] = []
WORLD: dict[str, Any] = {}
"""What the sources read: the state of the world outside the graph."""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    RAN.clear()
    WORLD.clear()
    source()
    yield


class Source(TaskOnKart[Any]):
    code_version = os.environ.get("SOURCE_EDITION", "0")
    name: str = StrParameter(default="a")
    edition: int = IntParameter(default=0)

    def run(self) -> None:
        RAN.append("Source")
        self.dump(WORLD.get(self.name, 0))


class Step(TaskOnKart[Any]):
    of: TaskOnKart[Any] = TaskInstanceParameter(default=Source())
    add: int = IntParameter(default=1)

    def requires(self) -> Any:
        return self.of

    def run(self) -> None:
        RAN.append("Step")
        self.dump((self.load(), self.add, int(self.rng.integers(1 << 30)), random.random()))


class Pair(TaskOnKart[Any]):
    left: TaskOnKart[Any] = TaskInstanceParameter()
    right: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return {"left": self.left, "right": self.right}

    def output(self) -> Any:
        return {"sum": self.make_target("pair/sum.pkl"), "text": self.make_target("pair/text.txt")}

    def run(self) -> None:
        RAN.append("Pair")
        self.dump((self.load("left"), self.load("right")), "sum")
        self.dump(repr(self.load("left")), "text")


class Asks(TaskOnKart[Any]):
    of: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return self.of

    def run(self) -> Any:
        RAN.append("Asks")
        found = yield Source(name="asked", edition=self.load() if isinstance(self.load(), int) else 7)
        self.dump((self.load(), found.load()))


class Both(WrapperTask):
    of: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return [self.of, Step(of=self.of, add=9)]


class Total(TaskOnKart[Any]):
    of: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return {"both": Both(of=self.of), "of": self.of}

    def run(self) -> None:
        RAN.append("Total")
        self.dump(repr(self.load("both")))


def source(edition: int = 0, name: str = "a") -> TaskOnKart[Any]:
    """Return the source with an id of its own for each edition, as after an edit that changes nothing; workers see it too."""
    Source.code_version = os.environ["SOURCE_EDITION"] = str(edition)
    made = Source(name=name)
    assert made.unique_id
    return made


def chain(edition: int) -> TaskOnKart[Any]:
    task = Step(of=Step(of=source(edition)), add=2)
    assert task.unique_id
    return task


def ran(task: TaskOnKart[Any], **options: Any) -> list[str]:
    RAN.clear()
    build(task, **options)
    return list(RAN)


def sidecar(task: TaskOnKart[Any]) -> Sidecar:
    target = task.output()
    assert isinstance(target, Target)
    found = target.sidecar()
    assert found is not None
    return found


pytestmark = pytest.mark.usefixtures("workspace")


class TestCutOff:
    def test_equal_bytes_stand_in_for_all_runs_downstream(self) -> None:
        assert ran(chain(0)) == ["Source", "Step", "Step"]
        assert ran(chain(1)) == ["Source"]
        assert build(chain(1)) == build(chain(0))
        found = sidecar(chain(1))
        assert found.content["reused_from"]["unique_id"] == chain(0).unique_id
        assert found.content["reused_from"]["sha256"] == found.artifact.sha256
        assert found.content["upstream"][0]["unique_id"] == Step(of=source(1)).unique_id
        assert found.seconds == sidecar(chain(0)).seconds
        assert "its inputs are equal to those of" in found.content["run"]["reason"]
        assert os.path.samefile(chain(0).output().uri, chain(1).output().uri)

    def test_other_bytes_run(self) -> None:
        build(chain(0))
        WORLD["a"] = 1
        assert ran(chain(1)) == ["Source", "Step", "Step"]

    def test_what_is_reused_is_reused_again_and_names_the_first(self) -> None:
        build(chain(0))
        build(chain(1))
        shutil.rmtree(Path(chain(0).output().uri).parent / "x", ignore_errors=True)
        assert ran(chain(2)) == ["Source"]
        assert sidecar(chain(2)).content["reused_from"]["unique_id"] == chain(0).unique_id

    def test_several_outputs_come_together(self) -> None:
        build(Pair(left=Source(), right=Source(name="b")))
        other = Pair(left=source(1), right=Source(name="b"))
        assert ran(other) == ["Source", "Source"]
        assert build(other) == {"sum": (0, 0), "text": "0"}

    def test_one_output_that_is_gone_makes_the_task_run(self) -> None:
        first = Pair(left=Source(), right=Source(name="b"))
        build(first)
        Path(first.output()["text"].uri).unlink()
        assert ran(Pair(left=source(1), right=Source(name="b"))) == ["Source", "Source", "Pair"]

    def test_inputs_that_change_places_are_not_equal(self) -> None:
        WORLD["b"] = 1
        build(Pair(left=Source(), right=Source(name="b")))
        assert ran(Pair(left=Source(name="b"), right=Source())) == ["Pair"]

    def test_wrappers_count_by_what_they_group(self) -> None:
        build(Total(of=Source()))
        assert ran(Total(of=source(1))) == ["Source"]

    def test_a_task_that_asked_for_more_runs(self) -> None:
        build(Asks(of=Source()))
        assert ran(Asks(of=source(1))) == ["Source", "Asks", "Source"]

    def test_two_workers(self) -> None:
        build(Pair(left=chain(0), right=Source(name="b")), workers=2)
        task = Pair(left=chain(1), right=Source(name="b"))
        build(task, workers=2)
        assert "reused_from" in task.output()["sum"].sidecar().content

    def test_another_workspace_lends_its_artifacts(self, workspace: Path, tmp_path: Path) -> None:
        build(chain(0))
        with Workspace(str(tmp_path / "mine"), read_from=(str(workspace),)):
            assert ran(chain(1)) == ["Source"]
            assert Path(chain(1).output().uri).is_relative_to(tmp_path / "mine")

    def test_memory_and_other_stores_copy(self) -> None:
        with Workspace("memory://cutoff"):
            build(chain(0))
            assert ran(chain(1)) == ["Source"]
            assert build(chain(1)) == build(chain(0))

    def test_an_artifact_that_somebody_replaces_meanwhile_is_not_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sidecar that was read, with the bytes of another run."""
        first = Step(of=source(0))
        value = build(first)
        copied = LocalStore.copied

        def replaced_first(self: LocalStore, source: str, uri: str, **given: Any) -> Any:
            monkeypatch.undo()
            first.output().dump(("other", "bytes", "altogether"))
            return copied(self, source, uri, **given)

        monkeypatch.setattr(LocalStore, "copied", replaced_first)
        build(source(1))
        assert str(run_task(Step(of=source(1))).outcome) == "ran"
        assert build(Step(of=source(1))) == value

    def test_where_the_file_system_has_no_links_bytes_are_copied(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_given: object, **_options: object) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(os, "link", refuse)
        build(chain(0))
        assert ran(chain(1)) == ["Source"]
        assert not os.path.samefile(chain(0).output().uri, chain(1).output().uri)


class TestNotReused:
    def test_a_class_may_opt_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Step, "reuse_equal_inputs", False)
        build(chain(0))
        assert ran(chain(1)) == ["Source", "Step", "Step"]

    def test_a_workspace_may_opt_out_and_so_may_the_configuration(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build(chain(0))
        with Workspace(str(workspace), reuse_equal_inputs=False):
            assert ran(chain(1)) == ["Source", "Step", "Step"]
        monkeypatch.setenv("AIRFLOW__KART__REUSE_EQUAL_INPUTS", "False")
        assert ran(chain(2)) == ["Source", "Step", "Step"]
        monkeypatch.setenv("AIRFLOW__KART__REUSE_EQUAL_INPUTS", "perhaps")
        with pytest.raises(ConfigurationError, match="reuse_equal_inputs is 'perhaps'"):
            build(chain(3))

    def test_another_format_is_not_reused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        build(chain(0))
        monkeypatch.setattr(Step, "output", lambda self: self.make_target("step.pkl", format=GzipFormat(PickleFormat())))
        assert ran(chain(1)) == ["Source", "Step", "Step"]

    @pytest.mark.parametrize("kind", ["external", "own"])
    def test_equal_bytes_that_are_read_in_another_way_are_not_equal(
        self, kind: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A CSV does not say whether 1 is a number, and a file may be read as text, by pandas or by polars."""

        class Frame(TaskOnKart[pd.DataFrame]):
            as_text: bool = BoolParameter()

            def output(self) -> Target:
                return self.make_target("frame.csv")

            def run(self) -> None:
                self.dump(pd.DataFrame({"n": ["1"] if self.as_text else [1]}))

        class Raw(ExternalTask[pd.DataFrame]):
            way: int = IntParameter()

            def output(self) -> Target:
                ways = [None, TextFormat(), CsvFormat(column_types={"n": "string"})]
                return self.make_target("raw.csv", format=ways[self.way])

        class Polars(ExternalTask[pl.DataFrame]):
            def output(self) -> Target:
                return self.make_target("raw.csv")

        workspace.mkdir()
        (workspace / "raw.csv").write_text("n\n1\n")
        monkeypatch.setattr(Step, "run", lambda self: self.dump(repr(self.load())))
        tasks: list[TaskOnKart[Any]] = [Frame(as_text=False), Frame(as_text=True)]
        if kind == "external":
            tasks = [Raw(way=0), Raw(way=1), Raw(way=2), Polars()]
        for task in tasks:
            build(task)
            assert str(run_task(Step(of=task)).outcome) == "ran"

    def test_a_held_task_that_is_not_required_may_say_anything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Step, "requires", lambda _self: [])
        monkeypatch.setattr(Step, "run", lambda self: self.dump(self.of.unique_id))
        assert build(Step(of=source(0))) != build(Step(of=source(1)))

    @pytest.mark.parametrize("damage", ["bytes", "sidecar", "index", "nothing there"])
    def test_nothing_damaged_is_reused(self, damage: str, workspace: Path) -> None:
        build(chain(0))
        before = build(chain(0))
        artifact = Path(chain(0).output().uri)
        if damage == "bytes":
            artifact.write_bytes(artifact.read_bytes()[:-1])
        elif damage == "sidecar":
            file = Path(f"{artifact}.kart.json")
            file.write_bytes(file.read_bytes().replace(b'"rows"', b'"rowz"'))
        elif damage == "index":
            for entry in (workspace / ".kart-index").iterdir():
                key = entry.read_bytes()[3:35]
                entry.write_bytes(
                    random.choice(
                        [b"", b"\n{\n", b'\n["%b", 1]\n', b'\n["%b", "../../x"]\n', b'\n["%b", "/etc/passwd"]\n', b'\n["%b"']
                    ).replace(b"%b", key)
                )
        else:
            shutil.rmtree(workspace / ".kart-index")
        assert "Step" in ran(chain(1))
        assert build(chain(1)) == before

    def test_an_entry_that_points_elsewhere_is_not_believed(self, workspace: Path) -> None:
        build(chain(0))
        WORLD["a"] = 5
        other = Step(of=source(9), add=77)
        build(other)
        path = Path(other.output().uri).relative_to(workspace)
        for entry in (workspace / ".kart-index").iterdir():
            keys = [json.loads(line)[0] for line in entry.read_text().splitlines() if line]
            entry.write_text("".join(f'["{key}", "{path}"]\n' for key in keys))
        WORLD.clear()
        assert ran(chain(1)) == ["Source", "Step", "Step"]


class Title(TaskOnKart[str]):
    """Reads a parameter of a task that it holds."""

    of: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return self.of

    def run(self) -> None:
        held: Any = self.of.of if isinstance(self.of, Title) else self.of
        name = held.name
        self.dump(f"{name}: {self.load()}")


class Listed(TaskOnKart[Any]):
    """Loads held tasks in their own order."""

    parts: tuple[Any, ...] = ListTaskInstanceParameter()

    def requires(self) -> Any:
        return sorted(self.parts, key=lambda part: str(part.name))

    def run(self) -> None:
        self.dump([(part.name, self.load(part)) for part in self.parts])


class Numbered(TaskOnKart[Any]):
    """Is of the same bytes as others, in files of the same names, under other keys or in another format."""

    names: tuple[str, ...] = ListParameter(default=("eu", "us"))
    width: int = IntParameter(default=1)

    def output(self) -> Any:
        return {name: self.make_target(f"{number}.wide", format=Wide(self)) for number, name in enumerate(self.names)}

    def run(self) -> None:
        for number, name in enumerate(self.names):
            self.dump(number, name)


class Grouped(WrapperTask):
    names: tuple[str, ...] = ListParameter(default=("eu", "us"))

    def requires(self) -> Any:
        return {name: Source(name=str(number)) for number, name in enumerate(self.names)}


class Wide:
    """A format of the user's own, which keeps an option where nobody looks."""

    name = "wide"

    def __init__(self, of: Numbered) -> None:
        self._of = of

    def dump(self, obj: object, file: Any) -> None:
        file.write(str(obj).encode())

    def load(self, file: Any) -> Any:
        return file.read().decode() * self._of.width


class Given(TaskOnKart[Any]):
    of: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return self.of

    def run(self) -> None:
        self.dump(self.load())


class Spells(TaskOnKart[Any]):
    """Reads all parameters of a task that it holds; requires that task, a task downstream of that one, or another one."""

    of: TaskOnKart[Any] = TaskInstanceParameter()
    way: str = StrParameter(default="held")

    def requires(self) -> Any:
        others = {"held": self.of, "downstream": Step(of=self.of), "other": source_like(self.of)}
        return {"found": others[self.way], "world": Source(name="b")}

    def run(self) -> None:
        self.dump((spelt(self.of), self.load("found"), self.load("world")))


class Sets(TaskOnKart[Any]):
    """Requires held tasks in a dict of dicts, and dumps sets and dicts."""

    parts: tuple[Any, ...] = ListTaskInstanceParameter()
    by: str = StrParameter(default="name")

    def requires(self) -> Any:
        keys = [spelt(part) if self.by == "name" else str(number) for number, part in enumerate(self.parts)]
        return {"parts": dict(zip(keys, self.parts, strict=True)), "first": [self.parts[0]]}

    def run(self) -> None:
        found = self.load("parts")
        texts = {repr(value) for value in found.values()}
        self.dump((texts, {repr(value): frozenset(map(repr, (key, value))) for key, value in found.items()}, len(found)))


def spelt(task: TaskOnKart[Any]) -> str:
    """Return a task's class and parameters, and of the tasks that the task holds too, as a text."""
    held = {name: getattr(task, name) for name in task.get_parameters()}
    return f"{type(task).__name__}({ {n: spelt(v) if isinstance(v, TaskOnKart) else v for n, v in held.items()} })"


def source_like(task: TaskOnKart[Any]) -> TaskOnKart[Any]:
    """Return a source of another name than the one that a task comes from."""
    return Source(name="b" if "'a'" in spelt(task) else "a")


class TestEqualBytesOfUnequalInputs:
    """Bytes are equal in all of these, and ``run()`` sees something else."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (lambda: Title(of=Source(name="a")), lambda: Title(of=Source(name="b"))),
            (lambda: Title(of=Title(of=Source(name="a"))), lambda: Title(of=Title(of=Source(name="b")))),
            (
                lambda: Listed(parts=(Source(name="a"), Source(name="b"))),
                lambda: Listed(parts=(Source(name="b"), Source(name="a"))),
            ),
            (lambda: Given(of=Numbered(names=("eu", "us"))), lambda: Given(of=Numbered(names=("us", "eu")))),
            (lambda: Given(of=Grouped(names=("eu", "us"))), lambda: Given(of=Grouped(names=("us", "eu")))),
            (lambda: Given(of=Numbered(width=1)), lambda: Given(of=Numbered(width=2))),
        ],
    )
    def test_they_are_no_equal_runs(self, one: Any, other: Any, tmp_path: Path) -> None:
        build(one())
        found = build(other())
        with Workspace(str(tmp_path / "cold")):
            assert found == build(other())


class TestReruns:
    def test_equal_bytes_leave_all_downstream_complete(self) -> None:
        build(chain(0))
        assert ran(chain(0), rerun=["Source"]) == ["Source"]
        assert chain(0).complete()
        assert ran(chain(0)) == []

    def test_where_inputs_are_equal_no_byte_moves(self) -> None:
        with Workspace("memory://in-place"):
            build(chain(0))
            target = chain(0).output()
            before = target.store.stat(target.uri)
            assert ran(chain(0), rerun=["Source"]) == ["Source"]
            assert target.store.stat(target.uri) == before
            assert chain(0).complete()

    def test_other_bytes_run_exactly_what_is_downstream(self) -> None:
        task = Pair(left=chain(0), right=Source(name="b"))
        build(task)
        WORLD["a"] = 3
        assert ran(task, rerun=[source(0)]) == ["Source", "Step", "Step", "Pair"]
        assert ran(task) == []

    def test_a_plus_forces_everything_downstream(self) -> None:
        build(chain(0))
        assert ran(chain(0), rerun=["Source+"]) == ["Source", "Step", "Step"]
        with pytest.raises(ConfigurationError, match=r"no task matches 'Nobody'"):
            build(chain(0), rerun=["Nobody+"])

    def test_what_is_named_runs(self) -> None:
        build(chain(0))
        assert ran(chain(0), rerun=["Step"]) == ["Step", "Step"]
        assert ran(chain(0), rerun=[chain(0)]) == ["Step"]

    def test_a_class_that_always_runs_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        build(chain(0))
        monkeypatch.setattr(Source, "rerun", True)
        assert ran(chain(0)) == ["Source"]
        WORLD["a"] = 8
        assert ran(chain(0)) == ["Source", "Step", "Step"]

    def test_damaged_bytes_are_made_again_although_an_equal_copy_is_there(self) -> None:
        build(chain(0))
        value = build(chain(1))
        with Path(chain(1).output().uri).open("r+b") as file:  # of both: one is a link to the other
            file.write(b"\x00\x00")
        assert build(chain(1)) == value
        assert RAN.count("Step") >= 1

    def test_one_task_by_itself(self) -> None:
        build(chain(0))
        build(Step(of=source(1)))
        RAN.clear()
        assert str(run_task(chain(1)).outcome) == "reused"
        assert str(run_task(chain(1)).outcome) == "cached"
        assert str(run_task(chain(1), force=True, named=True).outcome) == "ran"


class File(ExternalTask[str]):
    name: str = StrParameter(default="a.txt")

    def output(self) -> Target:
        return self.make_target(self.name)


class Reader(TaskOnKart[Any]):
    def requires(self) -> Any:
        return File(name=WORLD.get("file", "a.txt"))

    def run(self) -> None:
        RAN.append("Reader")
        self.dump((self.load(), random.random()))


def reader(name: str) -> Reader:
    """Return a reader of a file that no parameter names."""
    WORLD["file"] = name
    made = Reader()
    assert made.unique_id
    WORLD.pop("file")
    return made


class TestExternalInputs:
    @pytest.fixture(autouse=True)
    def _files(self, workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        workspace.mkdir(exist_ok=True)
        for name in "ab":
            (workspace / f"{name}.txt").write_text("prices")
        monkeypatch.setattr("airflow_kart.artifacts.external._UNSETTLED", -1.0)
        self.index = workspace / ".kart-index"
        self.log = caplog
        caplog.set_level("INFO")

    def kept(self) -> str:
        return "".join(file.read_text() for file in self.index.iterdir())

    def hashed(self) -> int:
        count = self.log.text.count("for its checksum")
        self.log.clear()
        return count

    def test_equal_bytes_elsewhere_stand_in_and_have_equal_random_numbers(self, workspace: Path) -> None:
        value = build(Reader())
        assert ran(reader("b.txt")) == []
        assert build(reader("b.txt")) == value
        shutil.rmtree(self.index)
        with Workspace(str(workspace), reuse_equal_inputs=False):
            assert build(Reader(), rerun=["Reader"]) == value
            assert build(Reader(), rerun=["Reader"]) == value
        (workspace / "b.txt").write_text("others")
        assert ran(reader("b.txt"), rerun=["File"]) == ["Reader"]

    def test_a_touched_or_copied_file_reruns_nothing(self, workspace: Path) -> None:
        build(Reader())
        os.utime(workspace / "a.txt")
        assert ran(Reader(), rerun=["File"]) == []
        shutil.copy(workspace / "b.txt", workspace / "c.txt")
        (workspace / "c.txt").replace(workspace / "a.txt")
        assert ran(Reader(), rerun=["File"]) == []

    def test_a_file_is_hashed_once(self, workspace: Path) -> None:
        build(Reader())
        assert self.hashed() == 1
        build(Reader(), rerun=["*"])
        build(Pair(left=Reader(), right=File()))
        assert self.hashed() == 0
        kept = {file: file.read_bytes() for file in self.index.iterdir()}
        for damaged in (b"b.txt", b'"', b'", "', b"\n"):
            for file, content in kept.items():
                file.write_bytes(content.replace(b"a.txt", damaged))
            index._REMEMBERED.clear()  # as in another process
            build(Reader(), rerun=["*"])
            assert self.hashed() == 1
        changed = (workspace / "a.txt").stat()
        (workspace / "a.txt").write_text("PRICES")  # of the same length, and then of the same time
        os.utime(workspace / "a.txt", ns=(changed.st_atime_ns, changed.st_mtime_ns))
        assert build(Reader(), rerun=["File"])[0] == "PRICES"
        assert self.hashed() == 1

    def test_a_file_that_may_change_within_its_time_is_hashed_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_kart.artifacts.external._UNSETTLED", 60.0)
        build(Reader())
        assert ran(reader("b.txt")) == []
        assert self.hashed() == 2
        assert "txt" not in self.kept()

    def test_a_file_that_run_opens_by_its_path_and_that_is_replaced_meanwhile_is_not_known(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(task: Reader) -> None:
            (workspace / "a.txt").write_text("replaced")
            task.dump(Path(task.input().uri).read_text())

        monkeypatch.setattr(Reader, "run", run)
        assert build(Reader()) == "replaced"
        found = sidecar(Reader())
        assert "content_key" not in found.content
        assert list(found.inputs.values()) == [None]

    def test_a_file_that_changes_while_it_is_hashed_is_neither_known_nor_equal(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build(Reader())
        opened = LocalStore.open

        def changed_after(self: LocalStore, uri: str) -> Any:
            stream = opened(self, uri)
            if uri.endswith("b.txt"):
                monkeypatch.undo()
                (workspace / "b.txt").write_text("others")
            return stream

        monkeypatch.setattr(LocalStore, "open", changed_after)
        other = reader("b.txt")
        assert ran(other) == ["Reader"]
        assert build(other)[0] == "others"
        assert "content_key" not in sidecar(other).content
        assert "b.txt" not in self.kept()

    def test_a_class_that_reuses_nothing_hashes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Reader, "reuse_equal_inputs", False)
        build(Reader())
        assert ran(reader("b.txt")) == ["Reader"]
        assert self.hashed() == 0

    def test_a_workspace_for_reading_only_is_looked_in(self, workspace: Path, tmp_path: Path) -> None:
        build(Reader())
        with Workspace(str(tmp_path / "mine"), read_from=(str(workspace),)):
            assert ran(reader("b.txt")) == []


EDITED = """
from __future__ import annotations
from airflow_kart import StrParameter, TaskOnKart

def helper(value):
    return {0}

def other():
    return {1}

class Made(TaskOnKart):
    name: str = StrParameter()

    def requires(self):
        return Source(name=self.name)

    def run(self):
        self.dump(("made", helper(self.load())))

class Over(TaskOnKart):
    name: str = StrParameter()

    def requires(self):
        return Made(name=self.name)

    def run(self):
        self.dump((self.load(), other(), int(self.rng.integers(1 << 30))))

class AutoMade(Made):
    code_version = "auto"

class AutoOver(Over):
    code_version = "auto"

    def requires(self):
        return AutoMade(name=self.name)
"""
HELPERS = ("value * 2", "2 * value", "value + value", "value * 3")
OTHERS = ("1", "2 - 1", "2")
NAMES = st.sampled_from("ab")
AGAIN = st.sampled_from([("Source",), ("Source+",), ("S*",), ("*",)])


class Machine(RuleBasedStateMachine):
    """Edits of code, reruns, overlays, losses, builds at once and killed ones: ``build()`` returns what an empty workspace would give."""

    folder: ClassVar[Path]

    @initialize()
    def begin(self) -> None:
        self.base = self.folder / uuid.uuid4().hex
        self.base.mkdir()
        self.world: dict[str, Any] = {"a": 0, "b": 0}
        self.count = 0
        self.killed = False
        self.code_is_edited(0, 0)

    @contextlib.contextmanager
    def within(self, overlay: bool = False) -> Iterator[None]:
        WORLD.clear()
        WORLD.update(self.world)
        first = Workspace(str(self.base / "first"), on_changed_code="rerun")
        second = replace(first, directory=str(self.base / "second"), read_from=(first.directory,))
        with second if overlay else first:
            yield

    def task(self, kind: int, name: str, edition: int, add: int) -> TaskOnKart[Any]:
        one = source(edition, name)
        step = Step(of=one, add=add)
        tasks: list[TaskOnKart[Any]] = [
            step,
            Pair(left=step, right=one),
            Step(of=Pair(left=one, right=step), add=add),
            Total(of=step),
            Asks(of=one),
            self.module.Over(name=name),
            self.module.AutoOver(name=name),
            Step(of=self.module.AutoMade(name=name), add=add),
            Spells(of=[one, step][add], way=("held", "downstream", "other")[edition]),
            Step(of=Spells(of=self.module.Made(name=name), way=("held", "downstream")[add]), add=edition),
            Sets(parts=(step, one, source(edition, "b"))[add:], by=("name", "number", "number")[edition]),
            Step(of=Sets(parts=(self.module.AutoMade(name=name), step), by="number"), add=add),
        ]
        return tasks[kind]

    def cold(self, task: TaskOnKart[Any]) -> Any:
        self.count += 1
        with self.within(), Workspace(str(self.base / f"cold{self.count}"), reuse_equal_inputs=False):
            return build(task)

    @rule(
        kind=st.integers(0, 11),
        name=NAMES,
        edition=st.integers(0, 2),
        add=st.integers(0, 1),
        again=AGAIN,
        overlay=st.booleans(),
    )
    def build_it(self, kind: int, name: str, edition: int, add: int, again: Any, overlay: bool) -> None:
        """The world of a source is what it was when the source ran last; so each build asks its sources again."""
        task = self.task(kind, name, edition, add)
        with self.within(overlay):
            found = build(task, rerun=again)
        assert found == self.cold(task)

    @rule(
        kinds=st.lists(st.integers(0, 11), min_size=2, max_size=3),
        name=NAMES,
        add=st.integers(0, 1),
        again=AGAIN,
        overlay=st.booleans(),
    )
    def several_build_at_once(self, kinds: list[int], name: str, add: int, again: Any, overlay: bool) -> None:
        tasks = [self.task(kind, name, 0, add) for kind in kinds]
        with self.within(overlay):
            children = [in_child(task, again) for task in tasks]
        for task, (child, answers) in zip(tasks, children, strict=True):
            found, error = pickle.load(answers)
            os.waitpid(child, 0)
            assert error is None or error.startswith("ObjectChangedError: another run replaced inputs"), error
            if error is not None:  # the other build has asked the sources again: refused, and right the next time
                with self.within(overlay):
                    found = build(task)
            assert found == self.cold(task)

    @rule(kind=st.integers(0, 11), name=NAMES, again=AGAIN, overlay=st.booleans(), milliseconds=st.integers(0, 25))
    def a_build_is_killed(self, kind: int, name: str, again: Any, overlay: bool, milliseconds: int) -> None:
        with self.within(overlay):
            child, answers = in_child(self.task(kind, name, 0, 0), again)
        time.sleep(milliseconds / 1000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        answers.close()
        self.killed = True

    @rule(helper=st.integers(0, len(HELPERS) - 1), other=st.integers(0, len(OTHERS) - 1))
    def code_is_edited(self, helper: int, other: int) -> None:
        file = self.base / f"edit{uuid.uuid4().hex}.py"
        file.write_text(EDITED.format(HELPERS[helper], OTHERS[other]), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("edited_pipeline", file)
        assert spec is not None and spec.loader is not None
        self.module = sys.modules["edited_pipeline"] = importlib.util.module_from_spec(spec)
        vars(self.module)["Source"] = Source
        spec.loader.exec_module(self.module)

    @rule(name=NAMES, value=st.integers(0, 2))
    def the_world_changes(self, name: str, value: int) -> None:
        self.world[name] = value

    @rule(which=st.sampled_from(["*.pkl", "*.kart.json", ".kart-index"]), part=st.integers(0, 3))
    def things_are_lost(self, which: str, part: int) -> None:
        for number, path in enumerate(sorted(self.base.rglob(which))):
            if number % 4 == part:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @invariant()
    def nothing_is_half_done(self) -> None:
        if hasattr(self, "base") and not self.killed:
            assert not [path for path in self.base.rglob(".kart-uploads/*") if path.suffix != ".lock"]

    def teardown(self) -> None:
        sys.modules.pop("edited_pipeline", None)
        if hasattr(self, "base"):
            shutil.rmtree(self.base)


def in_child(task: TaskOnKart[Any], again: Any) -> tuple[int, Any]:
    """Build in a child process; return its id, and the stream of its pickled answer."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, os.fdopen(read, "rb")
    try:
        found, error = None, None
        try:
            found = build(task, rerun=again)
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"
        with os.fdopen(write, "wb") as answers:
            pickle.dump((found, error), answers)
    finally:
        os._exit(0)


def test_a_build_returns_what_an_empty_workspace_would_give(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Machine.folder = tmp_path
    steps = int(os.environ.get("KART_STEPS", "160"))
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=max(steps // 20, 1), stateful_step_count=20, deadline=None)
    )
