"""Adoption: artifacts stay good after a change of code that does not matter, on record, and can be taken back."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_kart import Workspace, adopt, build, undo_adoption
from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.audit.adoption import shares
from airflow_kart.audit.reindex import reindex
from airflow_kart.exceptions import (
    ConfigurationError,
    CorruptArtifactError,
    IdentityError,
    TaskFailedError,
    UnequalArtifactError,
)
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.runtime.plan import make_plan
from airflow_kart.storage.local import LocalStore, LocalUpload
from airflow_kart.tasks.graph import Graph

PIPELINE = """
from __future__ import annotations
import random
from airflow_kart import (
    ExternalTask, IntParameter, ParameterVisibility, StrParameter, TaskInstanceParameter, TaskOnKart, WrapperTask
)

RAN = []

class Source(TaskOnKart[int]):
    code_version = "auto"
    def run(self):
        RAN.append("Source")
        self.dump(5)

class Train(TaskOnKart[float]):
    code_version = "auto"
    depth: int = IntParameter(default=1)
    source: TaskOnKart[int] = TaskInstanceParameter(default=Source())
    password: str = StrParameter(default="none", significant=False, visibility=ParameterVisibility.PRIVATE)
    def run(self):
        RAN.append("Train")
        value = self.load("source") * self.depth
        self.dump((value, random.random(), int(self.rng.integers(1 << 60))))

class Pair(TaskOnKart[object]):
    code_version = "auto"
    n: int = IntParameter(default=1)
    def output(self):
        return {"b": self.make_target("pair/b.pkl"), "a": self.make_target("pair/a.pkl")}
    def run(self):
        RAN.append("Pair")
        count = self.n
        self.dump(count, "a")
        self.dump(-count, "b")

class Plain(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    def run(self):
        RAN.append("Plain")
        count = self.n
        self.dump(count)

class Sum(TaskOnKart[object]):
    def requires(self):
        return [Source(), Plain()]
    def run(self):
        RAN.append("Sum")
        self.dump(sum(self.load()))

class Use(TaskOnKart[object]):
    of: TaskOnKart[object] = TaskInstanceParameter()
    def run(self):
        RAN.append("Use")
        self.dump(repr(self.load("of")))

class Dropped(ExternalTask):
    code_version = "auto"
    def output(self):
        return self.make_target("dropped.txt", use_unique_id=False)

class Group(WrapperTask):
    code_version = "auto"
    def requires(self):
        return [Source(), Dropped()]

class Asks(TaskOnKart[object]):
    code_version = "auto"
    def requires(self):
        return {"group": Group(), "dropped": Dropped()}
    def run(self):
        RAN.append("Asks")
        found = yield Plain(n=3)
        value = (self.load("dropped"), found.load())
        self.dump(value)

class Counted(TaskOnKart[int]):
    code_version = "1"
    n: int = IntParameter(default=1)
    def output(self):
        return self.make_target(f"counted/{self.n}.json", use_unique_id=False)
    def run(self):
        RAN.append("Counted")
        self.dump(self.n)
"""
RENAMED = (("value", "product"), ("count", "number"))
"""An edit without consequence."""

SCHEMA = jsonschema.Draft202012Validator(
    json.loads(resources("airflow_kart.artifacts.sidecar").joinpath("sidecar.schema.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)
Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Iterator[Load]:
    """Load the pipeline, with texts replaced, as a new process does after an edit."""
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "code").mkdir()

    def loaded(*edits: tuple[str, str]) -> Any:
        text = PIPELINE
        for before, after in edits:
            assert before in text
            text = text.replace(before, after)
        (tmp_path / "code" / "adopted_pipeline.py").write_text(text)
        sys.modules.pop("adopted_pipeline", None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "code" / "__pycache__", ignore_errors=True)
        return importlib.import_module("adopted_pipeline")

    yield loaded
    sys.modules.pop("adopted_pipeline", None)
    for written in workspace.rglob("*.kart.json"):
        SCHEMA.validate(json.loads(written.read_text()))


def ran(module: Any, task: Any, **options: Any) -> list[str]:
    module.RAN.clear()
    build(task, **options)
    return list(module.RAN)


def sidecar(task: Any) -> Sidecar:
    target = task.output()
    found = (target["a"] if isinstance(target, dict) else target).sidecar()
    assert found is not None
    return found  # type: ignore[no-any-return]


def outcomes(found: list[Any]) -> list[str]:
    return sorted(one.outcome for one in found)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and ".kart-" not in str(path)}


class TestOtherId:
    def test_an_artifact_gets_the_new_id_by_a_link_and_a_sidecar_that_says_why(self, load: Load) -> None:
        old = load()
        first = old.Train()
        before = [build(first), build(old.Train(depth=2))]
        new = load(*RENAMED)
        assert new.Train().unique_id != first.unique_id
        found = adopt(new.Train, reason="renamed a variable", by="me")
        assert [(one.outcome, one.reason) for one in found] == [("adopted", "renamed a variable")] * 2
        assert {one.new_id for one in found} == {new.Train(depth=depth).unique_id for depth in (1, 2)}
        assert [build(new.Train(depth=depth)) for depth in (1, 2)] == before
        assert not new.RAN
        assert os.path.samefile(first.output().uri, new.Train().output().uri)
        made, copy = sidecar(first), sidecar(new.Train())
        record = copy.adoptions[0]
        assert record["by"] == "me"
        assert (record["unique_id"], record["uri"], record["sha256"]) == (
            first.unique_id,
            first.output().uri,
            made.artifact.sha256,
        )
        assert record["old"] == {"code_version": "auto", "fingerprint": made.made_with.fingerprint}
        assert record["new"] == {"code_version": "auto", "fingerprint": copy.made_with.fingerprint}
        assert copy.made_with.fingerprint != made.made_with.fingerprint
        assert copy.content["run"] == made.content["run"]
        assert copy.content["publication"] == made.content["publication"]
        plan = make_plan(Graph.of([new.Train()]))
        assert plan.tasks[new.Train().unique_id].reason.endswith(", adopted by me: renamed a variable")
        assert outcomes(adopt(new.Train, reason="again")) == ["there", "there"]

    def test_downstream_nothing_runs(self, load: Load) -> None:
        old = load()
        build(old.Use(of=old.Train()))
        new = load(*RENAMED)
        adopt(new.Train, reason="renamed")
        assert ran(new, new.Use(of=new.Train())) == []
        assert sidecar(new.Use(of=new.Train())).is_reused

    def test_equal_runs_are_found_by_the_content_key_of_the_present_code(self, load: Load) -> None:
        build(load().Train())
        adopt("Train", reason="renamed") if load(*RENAMED) else None
        new = sys.modules["adopted_pipeline"].Train()
        assert new.output().exists()
        newer = load(*RENAMED, ("self.dump(5)", "self.dump(2 + 3)"))
        assert ran(newer, newer.Train()) == ["Source"]
        assert sidecar(newer.Train()).content["reused_from"]["unique_id"] == new.unique_id

    def test_an_undo_reaches_equal_runs_of_adopted_artifacts(self, load: Load) -> None:
        build(load().Train())
        real = ("* self.depth", "* self.depth + 1000")
        adopt(load(real).Train, reason="by mistake")
        edited = load(real, ("self.dump(5)", "self.dump(2 + 3)"))
        assert ran(edited, edited.Train()) == ["Source"]
        assert outcomes(undo_adoption(edited.Train)) == ["undone", "undone"]
        assert ran(edited, edited.Train()) == ["Train"]
        assert build(edited.Train())[0] == 1005

    def test_a_later_change_runs(self, load: Load) -> None:
        build(load().Train())
        adopt(load(*RENAMED).Train, reason="renamed")
        real = load(*RENAMED, ("* self.depth", "+ self.depth"))
        assert ran(real, real.Train()) == ["Train"]

    def test_a_chain_of_adoptions_keeps_every_record(self, load: Load) -> None:
        first = load()
        made = build(first.Train())
        for text in ("product", "result"):
            module = load(("value", text))
            assert outcomes(adopt(module.Train, reason=text, verify=1)) == ["adopted"]
        assert build(module.Train()) == made
        assert [record["reason"] for record in sidecar(module.Train()).adoptions] == ["product", "result"]

    def test_a_raised_version_of_the_code(self, load: Load) -> None:
        old = load()
        build(old.Counted())
        new = load(('code_version = "1"', 'code_version = "2"'))
        assert outcomes(adopt(new.Counted, reason="a comment")) == ["adopted"]
        assert ran(new, new.Counted()) == []
        undo_adoption(new.Counted)
        assert ran(old, old.Counted()) == []

    def test_auto_from_now_on(self, load: Load) -> None:
        build(load().Plain())
        new = load(("class Plain(TaskOnKart[int]):", 'class Plain(TaskOnKart[int]):\n    code_version = "auto"'))
        assert outcomes(adopt(new.Plain, reason="auto")) == ["adopted"]
        assert ran(new, new.Plain()) == []

    def test_several_outputs_are_adopted_together(self, load: Load, workspace: Path) -> None:
        pair = load().Pair()
        build(pair)
        new = load(*RENAMED)
        assert outcomes(adopt(new.Pair, reason="renamed")) == ["adopted"]
        assert ran(new, new.Pair()) == []
        assert build(new.Pair()) == {"a": 1, "b": -1}
        assert [new.Pair().output()[name].sidecar().content["output"]["number"] for name in "ba"] == [0, 1]
        (workspace / "pair" / f"a_{pair.unique_id}.pkl").unlink()
        copies = new.Pair().output()
        newer = load(("count", "other"))
        found = adopt(newer.Pair, reason="renamed", versions=["all"])
        assert outcomes(found) == ["adopted", "there"]
        undo_adoption(newer.Pair)
        found = undo_adoption(newer.Pair)
        assert outcomes(found) == ["kept", "kept"]  # both outputs, though only one is the last copy
        assert all("this is the last copy" in one.reason for one in found)
        assert copies["a"].exists() and copies["b"].exists()
        for name in "ab":
            copies[name].remove()
        found = adopt(newer.Pair, reason="renamed")
        assert outcomes(found) == ["skipped"]
        assert f"a_{pair.unique_id}.pkl: the artifact is gone" in found[0].reason
        assert not newer.Pair().output()["b"].exists()

    def test_inputs_of_other_ids_must_be_there_with_equal_bytes(self, load: Load) -> None:
        build(load().Train())
        new = load(("self.dump(5)", "self.dump(2 + 3)"), *RENAMED)
        (found,) = adopt(new.Train, reason="renamed")
        assert "its input Source(), " not in found.reason
        assert found.outcome == "skipped"
        assert "has another id now, and no artifact of equal bytes there; adopt or run Source first" in found.reason
        adopt(new.Source, reason="the same sum")
        assert outcomes(adopt(new.Train, reason="renamed")) == ["adopted"]
        assert ran(new, new.Train()) == []
        fingerprints = sidecar(new.Train()).content["upstream_code"]["adopted_pipeline.Source"]
        assert fingerprints == [sidecar(new.Source()).made_with.fingerprint]
        other = load(("self.dump(5)", "self.dump(6)"), ("value", "result"))
        build(other.Source())
        assert outcomes(adopt(other.Train, reason="renamed")) == ["skipped"]

    def test_external_inputs_wrappers_and_tasks_that_a_run_asked_for(self, load: Load, workspace: Path) -> None:
        workspace.mkdir(exist_ok=True)
        (workspace / "dropped.txt").write_text("text")
        os.utime(workspace / "dropped.txt", (1, 1))
        made = build(load().Asks())
        new = load(*RENAMED, ('"dropped.txt", ', '"dropped.txt",  '), ("[Source(), Dropped()]", "[Source(), *[Dropped()]]"))
        (found,) = adopt(new.Asks, reason="renamed")
        assert found.outcome == "adopted"
        assert sidecar(new.Asks()).content["upstream"][-1]["dynamic"] is True
        assert "content_key" not in sidecar(new.Asks()).content
        assert build(new.Asks()) == made
        assert not new.RAN

    def test_a_workspace_that_was_moved(self, load: Load, workspace: Path, tmp_path: Path) -> None:
        old = load()
        build(old.Use(of=old.Plain()))
        build(old.Pair())
        workspace.rename(tmp_path / "moved")
        new = load(*RENAMED)
        with Workspace(str(tmp_path / "moved")):
            assert outcomes(adopt(new.Plain, reason="x") + adopt(new.Pair, reason="x")) == ["adopted"] * 3
            assert ran(new, new.Use(of=new.Plain()), on_changed_code="rerun") == []
            assert ran(new, new.Pair()) == []
            assert outcomes(undo_adoption("Plain")) == ["undone"] * 2
        assert not workspace.exists()


def test_marks_follow_a_moved_workspace(load: Load, workspace: Path, tmp_path: Path) -> None:
    plain, pair = (load().Plain(), load().Pair())
    build(plain)
    build(pair)
    workspace.rename(tmp_path / "moved")
    with Workspace(str(tmp_path / "moved")):
        plain.output().begin_replacement()
        assert not plain.complete()
        damaged = pair.output()["a"]
        size = os.path.getsize(damaged.uri)
        Path(damaged.uri).write_bytes(bytes(size))
        with pytest.raises(CorruptArtifactError):
            damaged.load()
        assert not pair.complete()
    assert not workspace.exists()


class TestSkipped:
    def test_other_formats_and_options(self, load: Load) -> None:
        build(load().Counted())
        new = load(("counted/{self.n}.json", "counted/{self.n}.txt"), ('"1"', '"2"'))
        (found,) = adopt(new.Counted, reason="x")
        assert found.outcome == "skipped"
        assert "1.txt: no artifact" in found.reason

    def test_other_options(self, load: Load) -> None:
        build(load().Pair())
        new = load(
            *RENAMED,
            ("import random", "import random\nfrom airflow_kart.formats import GzipFormat, PickleFormat"),
            ('"pair/b.pkl"', '"pair/b.pkl", format=GzipFormat(PickleFormat())'),
        )
        (found,) = adopt(new.Pair, reason="x")
        assert found.outcome == "skipped"
        assert "was written in the format" in found.reason

    def test_a_parameter_that_is_gone(self, load: Load) -> None:
        old = load()
        build(old.Pair(n=1))
        build(old.Pair(n=2))
        new = load(
            (
                "    n: int = IntParameter(default=1)\n    def output(self):\n        return {",
                "    n = 1\n    def output(self):\n        return {",
            )
        )
        assert {one.reason for one in adopt(new.Pair, reason="x")} == {
            "its parameter n is gone, or does not count any more: tasks of other values would be one"
        }

    def test_a_new_parameter_has_its_default(self, load: Load) -> None:
        build(load().Plain(n=2))
        new = load(
            ("class Plain(TaskOnKart[int]):", "class Plain(TaskOnKart[int]):\n    more: int = IntParameter(default=3)")
        )
        assert outcomes(adopt(new.Plain, reason="x")) == ["adopted"]
        assert ran(new, new.Plain(n=2)) == []
        assert ran(new, new.Plain(n=2, more=4)) == ["Plain"]

    def test_what_was_asked_for_again_or_is_damaged(self, load: Load) -> None:
        old = load()
        tasks = [old.Train(depth=depth) for depth in (1, 2, 3)]
        for task in tasks:
            build(task)
        tasks[0].output().begin_replacement()
        with open(tasks[1].output().uri, "ab") as file:
            file.write(b"x")
        new = load(*RENAMED)
        held = locks_for(Workspace.current()).acquire(new.Train(depth=3).unique_id, Holder("a run"))
        assert not isinstance(held, Taken)
        reasons = " ".join(one.reason for one in adopt(new.Train, reason="x"))
        held.release()
        assert "it was asked to run again" in reasons
        assert "bytes, its sidecar says" in reasons
        assert "it is being made by process" in reasons
        assert outcomes(adopt(new.Train, reason="x")) == ["adopted", "skipped", "skipped"]

    def test_of_several_versions_the_newest(self, load: Load) -> None:
        build(load().Train(depth=1))
        second = load(("* self.depth", "+ self.depth"))
        build(second.Train(depth=2))
        third = load(("* self.depth", "+ self.depth"), *RENAMED)
        found = adopt(third.Train, reason="renamed")
        assert [one.outcome for one in sorted(found, key=lambda one: one.outcome)] == ["adopted", "skipped"]
        assert any("made by an earlier version of the code" in one.reason for one in found)
        assert ran(third, third.Train(depth=2)) == []
        assert ran(third, third.Train(depth=1)) == ["Train"]

    def test_nothing_to_say(self, load: Load) -> None:
        new = load()
        for said in ({"reason": " "}, {"reason": "x", "versions": [""]}):
            with pytest.raises(ConfigurationError, match="why the change does not matter"):
                adopt(new.Train, **said)
        for named in (new.Train, "adopted_pipeline.Train"):
            with pytest.raises(IdentityError, match=r"has no artifact of adopted_pipeline\.Train"):
                adopt(named, reason="x")
        with pytest.raises(IdentityError, match="no artifact of such a class"):
            adopt("Trane", reason="x")

    @pytest.mark.parametrize("name", ["Train", "Plain"])
    def test_the_same_command_twice_adopts_no_older_code(self, load: Load, name: str) -> None:
        parameter = {"Train": "depth", "Plain": "n"}[name]
        build(getattr(load(("* self.depth", "- self.depth"), ("count = self.n", "count = -self.n")), name)(**{parameter: 1}))
        old = load()
        tasks = [getattr(old, name)(**{parameter: number}) for number in (2, 3)]
        for task in tasks:
            build(task)
        blocking = getattr(load(*RENAMED), name)(**{parameter: 3})  # the first command leaves one task over
        held = locks_for(Workspace.current()).acquire(blocking.unique_id, Holder("a run"))
        assert not isinstance(held, Taken)
        cls = type(blocking)
        assert outcomes(adopt(cls, reason="renamed")) == ["adopted", "skipped", "skipped"]
        held.release()
        again = adopt(cls, reason="renamed")
        assert {one.task: one.outcome for one in again}[f"{name}({parameter}=3)"] == "adopted"
        for reason in ("renamed", "another"):
            found = {one.task: one.outcome for one in adopt(cls, reason=reason)}
            assert found[f"{name}({parameter}=1)"] == "skipped"
            assert "adopted" not in found.values()

    def test_where_the_newest_artifact_has_the_present_code_nothing_is_adopted_unasked(self, load: Load) -> None:
        build(load().Train(depth=1))
        new = load(*RENAMED)
        build(new.Train(depth=2))
        assert outcomes(adopt(new.Train, reason="renamed")) == ["skipped"]
        assert outcomes(adopt(new.Train, reason="renamed", versions=["all"])) == ["adopted"]

    def test_versions_are_whole_and_fingerprints_may_be_short(self, load: Load) -> None:
        for version in ("10", "1"):
            old = load(('code_version = "1"', f'code_version = "{version}"'))
            build(old.Counted(n=len(version)))
        fingerprints = {n: sidecar(old.Counted(n=n)).made_with.fingerprint or "" for n in (1, 2)}
        new = load(('code_version = "1"', 'code_version = "11"'))
        for versions in ([], ["1"], [fingerprints[1][:4]]):
            found = {one.task: one.outcome for one in adopt(new.Counted, reason="x", versions=versions, dry_run=True)}
            assert found == {"Counted(n=1)": "adopted", "Counted(n=2)": "skipped"}
        short = [fingerprints[1][:3]]
        assert outcomes(adopt(new.Counted, reason="x", versions=short)) == ["skipped"] * 2

    def test_an_adoption_upstream_makes_no_artifact_newer(self, load: Load) -> None:
        for n, edits in ((1, ()), (2, [("repr(self.load", "str(self.load"), *RENAMED])):
            old = load(*edits)
            build(old.Use(of=old.Plain(n=n)))
        new = load(("repr(self.load", "str(self.load"), *RENAMED)
        assert outcomes(adopt(new.Plain, reason="renamed", versions=["all"])) == ["adopted"] * 2
        newest = sidecar(new.Use(of=new.Plain(n=2))).made_with.fingerprint
        last = load(("repr(self.load", "format(self.load"), *RENAMED)
        found = {one.uri: one.outcome for one in adopt(last.Use, reason="the same text")}
        assert found == {
            last.Use(of=last.Plain(n=1)).output().uri: "skipped",
            last.Use(of=last.Plain(n=2)).output().uri: "adopted",
        }
        assert sidecar(last.Use(of=last.Plain(n=2))).adoptions[-1]["old"]["fingerprint"] == newest


class TestSameId:
    @pytest.mark.parametrize("policy", ["warn", "rerun"])
    def test_the_sidecar_gets_the_present_code(self, load: Load, policy: str, caplog: pytest.LogCaptureFixture) -> None:
        old = load()
        made = build(old.Use(of=old.Plain()))
        new = load(*RENAMED)
        found = adopt(new.Plain, reason="renamed", by="me")
        assert [one.task for one in found] == ["Plain(n=1)", "Use()"]
        with caplog.at_level(logging.WARNING, logger="airflow_kart"):
            assert ran(new, new.Use(of=new.Plain()), on_changed_code=policy) == []
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert sidecar(new.Plain()).adoptions[0]["before"]["source"]["fingerprint"]
        assert build(new.Use(of=new.Plain())) == made
        real = load(*RENAMED, ("number = self.n", "number = self.n + 1"))
        assert ran(real, real.Use(of=real.Plain()), on_changed_code="rerun") == ["Plain", "Use"]

    def test_undone(self, load: Load, workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
        old = load()
        build(old.Use(of=old.Plain()))
        before = [sidecar(old.Plain()).content, sidecar(old.Use(of=old.Plain())).content]
        new = load(*RENAMED)
        adopt(new.Plain, reason="renamed")
        assert outcomes(undo_adoption(new.Plain)) == ["undone", "undone"]
        assert [sidecar(old.Plain()).content, sidecar(old.Use(of=old.Plain())).content] == before
        with caplog.at_level(logging.WARNING, logger="airflow_kart"):
            build(new.Use(of=new.Plain()))
        assert "has changed since" in caplog.text
        with pytest.raises(IdentityError, match="has no adoption of"):
            undo_adoption("Plain")


class TestVerified:
    def test_equal_bytes_with_the_random_numbers_of_then(self, load: Load) -> None:
        old = load()
        for depth in range(4):
            build(old.Train(depth=depth))
        new = load(*RENAMED)
        found = adopt(new.Train, reason="renamed", verify=3)
        assert outcomes(found) == ["adopted"] * 4
        assert new.RAN == ["Train"] * 3
        assert sidecar(new.Train()).adoptions[0]["verified"] == 3

    @pytest.mark.parametrize("name", ["Train", "Plain"])
    def test_other_bytes_adopt_nothing(self, load: Load, workspace: Path, name: str) -> None:
        old = load()
        for number in (1, 2):
            build(old.Train(depth=number))
            build(old.Plain(n=number))
        before = files(workspace)
        new = load(("* self.depth", "* self.depth + 1"), ("count = self.n", "count = self.n + 1"))
        with pytest.raises(UnequalArtifactError, match=r"has the SHA-256 [0-9a-f]{64}, and now [0-9a-f]{64}. Nothing was"):
            adopt(getattr(new, name), reason="x", verify=1)
        assert files(workspace) == before

    def test_a_dry_run_changes_nothing(self, load: Load, workspace: Path) -> None:
        build(load().Train())
        before = files(workspace)
        new = load(*RENAMED)
        assert outcomes(adopt(new.Train, reason="x", dry_run=True)) == ["adopted"]
        assert files(workspace) == before
        adopt(new.Train, reason="x")
        after = files(workspace)
        assert outcomes(undo_adoption(new.Train, dry_run=True)) == ["undone"]
        assert files(workspace) == after != before


def killed(call: Callable[[], object], steps: int) -> bool:
    """Call in a child process that is killed before it writes or removes one file more than some; return whether it was."""
    left = iter(range(steps))

    def dying(function: Any) -> Any:
        def called(*arguments: Any, **more: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **more)

        return called

    child = os.fork()
    if not child:
        try:
            LocalUpload.publish, LocalStore.remove = dying(LocalUpload.publish), dying(LocalStore.remove)  # type: ignore[method-assign]
            call()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


class TestUndone:
    def test_copies_go(self, load: Load, workspace: Path) -> None:
        old = load()
        for depth in (1, 2):
            build(old.Train(depth=depth))
        build(old.Pair())
        before = files(workspace)
        new = load(*RENAMED)
        adopt(new.Train, reason="renamed")
        adopt(new.Pair, reason="renamed")
        assert outcomes(undo_adoption("Pair")) == ["undone"] * 2
        assert outcomes(undo_adoption("adopted_pipeline.Train")) == ["undone"] * 2
        assert files(workspace) == before
        assert ran(new, new.Pair()) == ["Pair"]

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_a_pinned_copy_stays(self, load: Load, workspace: Path, dry_run: bool) -> None:
        old = load()
        for depth in (1, 2):
            build(old.Train(depth=depth))
        before = files(workspace)
        new = load(*RENAMED)
        adopt(new.Train, reason="renamed")
        (copy,) = (one for one in Workspace(str(workspace)).artifacts() if one.unique_id == new.Train(depth=2).unique_id)
        copy.pin("ann")
        found = undo_adoption(new.Train, dry_run=dry_run)
        assert {one.uri == copy.uri: (one.outcome, one.reason[:12]) for one in found} == {
            True: ("kept", "it is pinned"),
            False: ("undone", "was adopted "),
        }
        assert new.Train(depth=2).output().exists()
        copy.unpin()
        undo_adoption(new.Train)
        assert files(workspace) == before

    def test_what_a_run_has_replaced_stays_and_so_does_what_was_made_of_it(self, load: Load) -> None:
        old = load()
        for depth in (1, 2):
            build(old.Train(depth=depth))
        new = load(*RENAMED)
        adopt(new.Train, reason="renamed")
        build(new.Use(of=new.Train(depth=2)))
        build(new.Train(depth=1), rerun=["Train"])
        found = undo_adoption(new.Train)
        assert outcomes(found) == ["kept", "undone"]
        assert next(one.reason for one in found if one.outcome == "kept").startswith("it was made from adopted artifacts")
        assert new.Train(depth=1).output().exists()
        assert new.Use(of=new.Train(depth=2)).output().exists()
        assert not new.Train(depth=2).output().exists()

    def test_one_record_at_a_time(self, load: Load) -> None:
        build(load().Plain())
        contents = [sidecar(load().Plain()).content]
        for edits in (RENAMED, (), RENAMED):
            module = load(*edits)
            assert outcomes(adopt(module.Plain, reason="the same")) == ["adopted"]
            contents.append(sidecar(module.Plain()).content)
        for before in reversed(contents[:-1]):
            assert outcomes(undo_adoption(module.Plain)) == ["undone"]
            assert sidecar(module.Plain()).content == before

    def test_what_was_made_of_artifacts_that_stay_at_their_ids_is_listed(self, load: Load) -> None:
        old = load()
        build(old.Plain())
        build(old.Use(of=old.Plain(n=2)))
        new = load(*RENAMED)
        adopt(new.Plain, reason="by mistake")
        build(new.Use(of=new.Plain()))
        use = new.Use(of=new.Plain())
        for dry_run in (True, False):
            found = undo_adoption(new.Plain, dry_run=dry_run)
            assert outcomes(found) == ["kept", "undone", "undone", "undone"]
            kept = next(one for one in found if one.outcome == "kept")
            assert (kept.unique_id, kept.uri) == (use.unique_id, use.output().uri)

    def test_equal_runs_of_artifacts_that_stay_at_their_ids_go(self, load: Load, workspace: Path) -> None:
        old = load()
        first = old.Use(of=old.Source())
        build(first)
        content, before = sidecar(first).content, files(workspace)
        real = ('repr(self.load("of"))', 'repr(self.load("of")) + "!"')
        adopt(load(real).Use, reason="by mistake")
        new = load(real, ("self.dump(5)", "self.dump(2 + 3)"))
        task = new.Use(of=new.Source())
        assert ran(new, task) == ["Source"]
        assert outcomes(undo_adoption(new.Use, dry_run=True)) == ["undone", "undone"]
        assert outcomes(undo_adoption(new.Use)) == ["undone", "undone"]
        assert sidecar(first).content == content
        assert files(workspace) - before == {
            f"adopted_pipeline/Source_{new.Source().unique_id}.pkl{end}" for end in ("", ".kart.json")
        }
        assert ran(new, task) == ["Use"]
        assert build(task) == "5!"

    def test_the_last_equal_run_of_an_artifact_that_stays_at_its_id_stays(self, load: Load) -> None:
        old = load()
        first = old.Use(of=old.Source())
        build(first)
        real = ('repr(self.load("of"))', 'str(self.load("of"))')
        adopt(load(real).Use, reason="equal")
        new = load(real, ("self.dump(5)", "self.dump(2 + 3)"))
        task = new.Use(of=new.Source())
        build(task)
        first.output().remove()
        assert outcomes(undo_adoption(new.Use)) == ["kept"]
        assert task.output().exists()

    def test_an_equal_run_downstream_stays_with_the_code_of_then(self, load: Load) -> None:
        old = load()
        first = old.Sum()
        build(first)
        real = ("count = self.n\n        self.dump(count)", "count = self.n + 1\n        self.dump(count)")
        adopt(load(real).Plain, reason="by mistake")
        new = load(real, ("self.dump(5)", "self.dump(2 + 3)"))
        second = new.Sum()
        assert ran(new, second) == ["Source"]
        before = sidecar(first).content["adopted"][0]["before"]["upstream_code"]
        assert outcomes(undo_adoption(new.Plain)) == ["undone"] * 3
        for made in (first, second):
            assert sidecar(made).unique_id == made.unique_id
            assert sidecar(made).content["upstream_code"]["adopted_pipeline.Plain"] == before["adopted_pipeline.Plain"]
            assert "adopted" not in sidecar(made).content
        assert ran(new, new.Sum(), on_changed_code="rerun") == ["Plain", "Sum"]

    def test_what_was_made_of_readers_is_listed(self, load: Load) -> None:
        old = load()
        build(old.Use(of=old.Plain()))
        new = load(*RENAMED)
        adopt(new.Plain, reason="by mistake")
        top = new.Use(of=new.Use(of=new.Plain()))
        build(top)
        found = undo_adoption(new.Plain)
        assert outcomes(found) == ["kept", "undone", "undone"]
        assert [one.uri for one in found if one.outcome == "kept"] == [top.output().uri]

    @pytest.mark.parametrize("way", ["other ids", "same ids"])
    def test_a_killed_undo_goes_on(self, load: Load, workspace: Path, tmp_path: Path, way: str) -> None:
        old = load()
        name = "Train" if way == "other ids" else "Plain"
        tasks = [of(depth=n) if of.__name__ == "Train" else of(n=n) for n in (1, 2) for of in (getattr(old, name),)]
        for task in [*tasks, old.Sum()]:
            build(task)
        real = [
            ("* self.depth", "* self.depth + 1000"),
            ("count = self.n\n        self.dump(count)", "self.dump(self.n + 1)"),
        ]
        new = load(*real)
        adopt(getattr(new, name), reason="by mistake")
        edited = load(*real, ("self.dump(5)", "self.dump(2 + 3)"))
        cls = getattr(edited, name)
        for n in (1, 2):
            build(edited.Use(of=cls(**{"depth" if name == "Train" else "n": n})))
        build(edited.Sum())
        shutil.copytree(workspace, tmp_path / "kept")

        def undone(found: list[Any]) -> tuple[list[str], dict[str, bytes]]:
            kept = sorted(f"{one.uri} {one.reason}" for one in found if one.outcome == "kept")
            return kept, {path: (workspace / path).read_bytes() for path in files(workspace)}

        expected = undone(undo_adoption(cls))
        assert len(expected[0]) == 2
        for steps in range(12):
            shutil.rmtree(workspace)
            shutil.copytree(tmp_path / "kept", workspace)
            if not killed(lambda: undo_adoption(cls), steps):
                break
            assert undone(undo_adoption(cls)) == expected, steps
        assert steps >= 4

    def test_the_last_copy_stays(self, load: Load) -> None:
        old = load()
        tasks = [old.Train(depth=depth) for depth in (1, 2)]
        for task in tasks:
            build(task)
        new = load(*RENAMED)
        adopt(new.Train, reason="renamed")
        tasks[0].output().remove()
        assert outcomes(undo_adoption(new.Train)) == ["kept", "undone"]
        assert new.Train(depth=1).output().exists()


class TestCodeUpstream:
    def test_only_artifacts_made_with_the_adopted_code_name_the_present_one(self, load: Load) -> None:
        other = ("count = self.n", "count = self.n * 1000")
        first = load()
        build(first.Use(of=first.Plain(n=1)))
        second = load(*RENAMED)
        adopt(second.Plain, reason="renamed")
        first = load()
        build(first.Use(of=first.Plain(n=2)), on_changed_code="ignore")
        third = load(other)
        build(third.Use(of=third.Plain(n=3)), on_changed_code="ignore")
        last = load(other, *RENAMED)
        adopt(last.Plain, reason="renamed")
        uses = [last.Use(of=last.Plain(n=n)) for n in (1, 2, 3)]
        assert [build(use, on_changed_code="rerun") for use in uses] == ["1000", "2000", "3000"]

    @pytest.mark.parametrize("text", ["self.dump((self.load('p'), value))", "self.dump(((yield Plain(n=1)).load(), value))"])
    def test_other_inputs_and_yielded_ones_stay_as_recorded(self, load: Load, text: str) -> None:
        more = """
class Both(TaskOnKart[object]):
    def requires(self):
        return {"p": Plain(n=1), "s": Source()} if "yield" not in TEXT else {"s": Source()}
    def run(self):
        value = self.load("s")
        """
        both = ("class Counted", f"TEXT = {text!r}\n{more}{text}\n\nclass Counted")
        old = load(both)
        assert build(old.Both()) == (1, 5)
        edits = both, *RENAMED[:1], ("count = self.n", "count = self.n + 1"), ("self.dump(5)", "self.dump(2 + 3)")
        new = load(*edits)
        build(new.Plain(n=1), on_changed_code="rerun")
        adopt(new.Source, reason="the same sum")
        assert outcomes(adopt(new.Both, reason="renamed")) == ["adopted"]
        code = sidecar(new.Both()).content["upstream_code"]
        assert code["adopted_pipeline.Source"] == [sidecar(new.Source()).made_with.fingerprint]
        assert build(new.Both(), on_changed_code="rerun") == (2, 5)


@pytest.mark.parametrize("name", ["Train", "Plain"])
def test_digests_of_private_values_stay(load: Load, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", "k" * 40)
    secret = ('n: int = IntParameter(default=1)\n    def run(self):\n        RAN.append("Plain")',) * 2
    password = '    password: str = StrParameter(default="", significant=False, visibility=ParameterVisibility.PRIVATE)\n'
    edit = (secret[0], password.strip() + "\n    " + secret[1])
    old = load(edit)
    task = getattr(old, name)(password="hunter2")
    build(task)
    digest = sidecar(task).content["task"]["parameters"]["password"]["digest"]
    new = load(edit, *RENAMED)
    assert outcomes(adopt(getattr(new, name), reason="renamed")) == ["adopted"]
    part = sidecar(getattr(new, name)()).content["task"]["parameters"]["password"]
    assert (part["digest"], sidecar(getattr(new, name)()).adoptions != []) == (digest, True)


KILLED = """
import os, sys
from airflow_kart import Workspace, adopt
from airflow_kart.storage.local import LocalUpload
sys.path.insert(0, sys.argv[1])
import adopted_pipeline as pipeline
left = int(sys.argv[3])
def dying(function):
    def called(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **more)
    return called
LocalUpload.publish = dying(LocalUpload.publish)
with Workspace(sys.argv[2]):
    adopt(pipeline.Pair, reason="renamed")
    adopt(pipeline.Plain, reason="renamed")
os._exit(0)
"""


@pytest.mark.parametrize("publications", [1, 3, 5, 9, 11])
def test_a_killed_adoption_leaves_nothing_half_and_another_one_goes_on(
    load: Load, workspace: Path, tmp_path: Path, python: Callable[..., str], publications: int
) -> None:
    old = load()
    made = [build(task) for n in (1, 2) for task in (old.Pair(n=n), old.Use(of=old.Plain(n=n)))]
    new = load(*RENAMED)
    python("-c", KILLED, tmp_path / "code", workspace, publications, exits=9)
    complete = [new.Pair(n=n).complete() for n in (1, 2)]
    assert complete.count(True) == publications // 4 if publications < 8 else all(complete)
    assert all(new.Use(of=new.Plain(n=n)).complete() for n in (1, 2))
    found = adopt(new.Pair, reason="renamed") + adopt(new.Plain, reason="renamed")
    assert "skipped" not in outcomes(found)
    tasks = [task for n in (1, 2) for task in (new.Pair(n=n), new.Use(of=new.Plain(n=n)))]
    assert [build(task, on_changed_code="rerun") for task in tasks] == made
    assert not new.RAN
    assert "kept" not in outcomes(undo_adoption(new.Pair))
    assert not any(new.Pair(n=n).complete() for n in (1, 2))


class TestReindex:
    def test_equal_runs_are_found_without_the_index_of_then(self, load: Load, workspace: Path) -> None:
        old = load()
        build(old.Train())
        build(old.Pair())
        shutil.rmtree(workspace / ".kart-index")
        found = reindex()
        assert found == (0, 3, 0)
        assert reindex().right == 3
        newer = load(("self.dump(5)", "self.dump(2 + 3)"))
        assert ran(newer, newer.Train()) == ["Source"]

    def test_entries_that_point_to_nothing_go(self, load: Load, workspace: Path) -> None:
        old = load()
        build(old.Train())
        build(old.Pair())
        old.Train().output().remove()
        (workspace / "pair" / f"a_{old.Pair().unique_id}.pkl").unlink()
        found = reindex()
        assert found == (1, 0, 2)


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few artifacts be as many as it takes for several processes."""
    monkeypatch.setattr(shares, "_WORTH_A_PROCESS", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.mark.usefixtures("in_processes")
class TestInSeveralProcesses:
    def test_all_artifacts_are_adopted(self, load: Load) -> None:
        old = load()
        made = {depth: build(old.Train(depth=depth)) for depth in range(7)}
        build(old.Plain())
        new = load(*RENAMED)
        told: list[tuple[int, int]] = []
        found = adopt(new.Train, reason="renamed", tell=lambda done, of: told.append((done, of)))
        assert [one.task for one in found] == [f"Train(depth={depth})" for depth in reversed(range(7))]
        assert (outcomes(found), told[-1]) == (["adopted"] * 7, (7, 7))
        assert {depth: build(new.Train(depth=depth)) for depth in range(7)} == made
        assert new.RAN == []
        assert outcomes(undo_adoption(new.Train)) == ["undone"] * 7

    def test_the_same_ids_get_the_present_code(self, load: Load) -> None:
        old = load()
        for number in range(6):
            build(old.Use(of=old.Plain(n=number)))
        new = load(*RENAMED)
        assert outcomes(adopt(new.Plain, reason="renamed")) == ["adopted"] * 12  # those downstream name the code, too
        assert make_plan(Graph.of([new.Use(of=new.Plain(n=number)) for number in range(6)])).changed_code() == []

    def test_of_artifacts_that_become_one_the_newest_is_adopted(self, load: Load, workspace: Path) -> None:
        edit = (
            'return self.make_target(f"counted/{self.n}.json", use_unique_id=False)',
            'return self.make_target("counted.json")',
        )
        for version, sign, numbers in (("1", "-", range(12)), ("2", "+", reversed(range(12)))):
            old = load(
                edit,
                ('code_version = "1"', f'code_version = "{version}"'),
                ("self.dump(self.n)", f"self.dump({sign}self.n)"),
            )
            for n in numbers:
                build(old.Counted(n=n))
        new = load(edit, ('code_version = "1"', 'code_version = "3"'))
        found = adopt(new.Counted, reason="x", versions=["all"])
        assert [one.outcome for one in found] == ["adopted"] * 12 + ["there"] * 12
        assert [build(new.Counted(n=n)) for n in range(12)] == list(range(12))

    def test_groups_stay_together(self) -> None:
        found = list(
            shares.in_shares(lambda number: (number, os.getpid()), range(12), [number // 3 % 2 for number in range(12)])
        )
        assert [number for number, _ in found] == list(range(12))
        assert len({process for number, process in found if number // 3 % 2}) == 1
        assert len({process for _, process in found}) == 2

    def test_results_come_in_order_and_errors_come_through(self) -> None:
        assert list(shares.in_shares(lambda number: (number, os.getpid() == own), range(9))) == [
            (number, False) for number in range(9)
        ]

        def fail(number: int) -> int:
            if number == 4:
                raise CorruptArtifactError("no good", uri="/x")
            return number

        with pytest.raises(CorruptArtifactError, match="no good") as caught:
            list(shares.in_shares(fail, range(9)))
        assert caught.value.uri == "/x"

    def test_a_process_that_dies_is_an_error(self) -> None:
        with pytest.raises(TaskFailedError, match="a process died"):
            list(shares.in_shares(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == 5 else number, range(9)))

    def test_beside_other_threads_nothing_is_forked(self) -> None:
        gate = threading.Event()
        other = threading.Thread(target=gate.wait)
        other.start()
        try:
            assert list(shares.in_shares(lambda _: os.getpid(), range(9))) == [own] * 9
        finally:
            gate.set()
            other.join()


own = os.getpid()
