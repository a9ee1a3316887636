"""Garbage collection: what nothing keeps goes, whole tasks at a time, and nothing reachable is ever lost."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from airflow_kart import (
    ExternalTask,
    IntParameter,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    WrapperTask,
    adopt,
    build,
)
from airflow_kart.artifacts import index
from airflow_kart.artifacts.sidecar import read_sidecar, sidecar_uri
from airflow_kart.audit.garbage import Conditions, Garbage
from airflow_kart.audit.records import held
from airflow_kart.audit.removal import take_away
from airflow_kart.exceptions import ConfigurationError, IdentityError, MissingArtifactError, StorageError
from airflow_kart.locks import Holder, locks_for
from airflow_kart.storage import LocalStore
from airflow_kart.tasks.graph import Graph

NOW = dt.timedelta()
RAN: list[str] = []
WORLD: dict[str, Any] = {}


class Source(TaskOnKart[Any]):
    name: str = StrParameter(default="a")
    label: str = StrParameter(default="")

    def run(self) -> None:
        RAN.append("Source")
        if WORLD.get("fails"):
            raise ValueError("asked to fail")
        self.dump(WORLD.get(self.name, 0), custom_labels={"release": self.label} if self.label else {})


class Pair(TaskOnKart[Any]):
    of: TaskOnKart[Any] = TaskInstanceParameter(default=Source())

    def requires(self) -> Any:
        return {"of": self.of}

    def output(self) -> Any:
        return {"sum": self.make_target("pair/sum.pkl"), "text": self.make_target("pair/text.txt")}

    def run(self) -> None:
        RAN.append("Pair")
        self.dump(self.load("of"), "sum")
        self.dump(repr(self.load("of")), "text")


class Both(WrapperTask):
    of: TaskOnKart[Any] = TaskInstanceParameter()

    def requires(self) -> Any:
        return [self.of, Pair(of=self.of)]


class Total(TaskOnKart[Any]):
    """Requires a wrapper, holds a task that it does not require, and asks for one while it runs."""

    of: TaskOnKart[Any] = TaskInstanceParameter()
    held: TaskOnKart[Any] = TaskInstanceParameter(default=Source(name="held"))
    depth: int = IntParameter(default=1)

    def requires(self) -> Any:
        return {"both": Both(of=self.of)}

    def run(self) -> Any:
        RAN.append("Total")
        asked = yield Source(name="asked")
        self.dump((self.load("both"), asked.load(), self.depth))


class Latest(TaskOnKart[Any]):
    """Always at one place, whatever its parameters."""

    of: TaskOnKart[Any] = TaskInstanceParameter(default=Source())

    def requires(self) -> Any:
        return self.of

    def output(self) -> Target:
        return self.make_target("fixed/latest.pkl", use_unique_id=False)

    def run(self) -> None:
        RAN.append("Latest")
        self.dump(("latest", self.load()))


class Follows(TaskOnKart[Any]):
    def requires(self) -> Any:
        return Source(name=WORLD.get("followed", "a"))

    def run(self) -> None:
        self.dump(self.load())


class Prices(ExternalTask[Any]):
    def output(self) -> Target:
        return self.make_target("fixed/prices.txt", use_unique_id=False)


class Reader(TaskOnKart[Any]):
    def requires(self) -> Any:
        return Prices()

    def output(self) -> Target:
        return self.make_target("fixed/reader.pkl")

    def run(self) -> None:
        self.dump(self.load())


@pytest.fixture(autouse=True)
def _clean() -> None:
    RAN.clear()
    WORLD.clear()


@pytest.fixture
def ws(workspace: Path) -> Workspace:
    return Workspace(str(workspace))


def everything(directory: Path) -> set[str]:
    """The files of a workspace, but for hidden ones."""
    files = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {str(path) for path in files if not any(part.startswith(".kart") for part in path.parts)}


def collect(workspace: Workspace, **conditions: Any) -> Garbage:
    garbage = Garbage(workspace, Conditions(**{"grace": NOW, **conditions}))
    garbage.remove()
    return garbage


def there(workspace: Workspace) -> dict[str, int]:
    """The number of artifacts by class."""
    found: dict[str, int] = {}
    for one in workspace.artifacts():
        name = one.task_class.rpartition(".")[2]
        found[name] = found.get(name, 0) + 1
    return found


def test_without_a_condition_nothing_is_decided(ws: Workspace) -> None:
    build(Pair())
    with pytest.raises(ConfigurationError, match="nothing says what stays"):
        Garbage(ws, Conditions())
    with pytest.raises(ConfigurationError, match="newest 1 or more"):
        Garbage(ws, Conditions(keep_last=0))


@pytest.mark.parametrize(
    "wrong",
    [{"keep": ["Trane"]}, {"labels": ["release"]}, {"keep_ids": {"DAG x": ["0" * 32]}}, {"keep": ["Source(name=b)"]}],
)
def test_a_condition_that_keeps_nothing_is_an_error(ws: Workspace, wrong: dict[str, Any]) -> None:
    build(Pair())
    with pytest.raises(MissingArtifactError):
        Garbage(ws, Conditions(**wrong, keep_last=1))


def test_what_stays_keeps_everything_upstream(ws: Workspace) -> None:
    build(Source(name="held"))
    total = Total(of=Source(name="b"))
    build(total)
    build(Pair(of=Source(name="c")))
    build(Total(of=Source(name="b"), depth=2))
    garbage = collect(ws, keep=["Total(depth=1)"])
    assert there(ws) == {"Total": 1, "Pair": 2, "Source": 3}
    assert {piece.stays for piece in garbage.pieces if piece.task.endswith("Source")} == {"", "upstream of Total"}
    RAN.clear()
    build(total)
    assert RAN == []
    assert ws.artifacts("Total").latest().task() == total
    assert not index.all_texts(ws).keys() - {one.row.content_key for one in ws.artifacts()}
    collect(ws, keep=["Total(depth=1)"], upstream=False)
    assert there(ws) == {"Total": 1}
    build(Total(of=Source(name="b"), depth=3))
    assert there(ws)["Source"] == 3 - 1


def test_ages_numbers_labels_and_names(ws: Workspace) -> None:
    for name in "abcde":
        build(Source(name=name, label="1" if name == "a" else "2" if name == "b" else ""))
    newest = [one.parameters["name"] for one in ws.artifacts("Source").newest()]
    assert newest == list("edcba")

    def going(**conditions: Any) -> str:
        found = Garbage(ws, Conditions(**{"grace": NOW, **conditions})).going
        names = {one.unique_id: one.parameters["name"] for one in ws.artifacts()}
        return "".join(sorted(names[piece.unique_id] for piece in found))

    assert going(keep_last=2) == "abc"
    assert going(keep_last=2, labels=["release"]) == "c"
    assert going(labels=["release=2"]) == "acde"
    assert going(keep_last=2, younger_than=dt.timedelta(hours=1)) == ""
    assert going(younger_than=NOW) == "abcde"
    assert going(only=["Source(name=a)", "Source(name=e)"]) == "ae"
    assert going(only=["Source(name=a)", "Source(name=e)"], keep_last=1) == "a"
    assert going(only=["*"], keep=["Source(name=c)"]) == "abde"
    assert going(keep_ids={"a graph": Graph.of([Pair(of=Source(name="d"))]).nodes}) == "abce"
    assert going(keep_last=1, grace=dt.timedelta(hours=1)) == ""
    same = Graph.of([Source(name="d")]).nodes
    assert going(keep_ids={"a graph": same, "an equal one": same}) == "abce"


def test_what_is_named_goes_only_if_nothing_that_stays_needs_it(ws: Workspace) -> None:
    build(Pair())
    (one,) = Garbage(ws, Conditions(only=["Source"], grace=NOW)).pieces[:1]
    assert {piece.stays for piece in Garbage(ws, Conditions(only=["Source"], grace=NOW)).pieces} == {
        "not named",
        "upstream of Pair",
    }
    assert one.stays
    first = ws.artifacts("Pair").latest()
    assert [piece.task[-4:] for piece in collect(ws, only=[first.uri]).pieces if piece.gone] == ["Pair"]  # both outputs
    assert there(ws) == {"Source": 1}


def test_the_grace_period_counts_from_the_last_use_and_from_the_last_writing(ws: Workspace) -> None:
    build(Source())
    build(Source(name="b"))
    for path in Path(ws.directory).rglob("Source*.kart.json"):
        _backdate(path, "2020-01-01T00:00:00+00:00")
    hour: dict[str, Any] = {"grace": dt.timedelta(hours=1), "upstream": False, "younger_than": NOW}
    assert len(Garbage(ws, Conditions(**hour)).going) == 2
    build(Pair(of=Source(name="b")))
    assert len(Garbage(ws, Conditions(**hour)).going) == 1
    assert len(Garbage(ws, Conditions(**hour, keep=["Pair"])).going) == 1  # what is kept has used its input lately, too
    os.utime(sidecar_uri(Source().output().uri))
    assert Garbage(ws, Conditions(**hour)).going == []


def _backdate(path: Path, moment: str) -> None:
    content = json.loads(path.read_text())
    content["run"]["finished_at"] = moment
    content["schema_version"] = 1  # without a digest
    path.write_text(json.dumps(content))
    os.utime(path, (1e9, 1e9))


def test_what_a_run_holds_or_has_replaced_meanwhile_is_left(ws: Workspace) -> None:
    for name in "abc":
        build(Source(name=name))
    hold = locks_for(ws).acquire(Source(name="a").unique_id, Holder("a run"))
    garbage = Garbage(ws, Conditions(younger_than=NOW, grace=NOW))
    assert len(garbage.going) == 3
    build(Source(name="b"), rerun=["Source"])
    garbage.remove()
    assert sorted(piece.left.partition(" by ")[0] for piece in garbage.going) == [
        "another run replaced it meanwhile",
        "it is being made",
    ]
    hold.release()  # type: ignore[union-attr]
    assert there(ws) == {"Source": 2}
    garbage.remove()  # the other one is another version still
    assert there(ws) == {"Source": 1}


def test_what_somebody_asked_for_stays(ws: Workspace) -> None:
    build(Pair())
    WORLD["fails"] = True
    with pytest.raises(ValueError, match="asked to fail"):
        build(Pair(), rerun=["*"])
    before = everything(Path(ws.directory))
    garbage = collect(ws, younger_than=NOW)
    assert {piece.stays for piece in garbage.pieces} == {"was asked to run again"}
    assert everything(Path(ws.directory)) == before


def test_damaged_and_orphaned_files_go_and_others_stay(ws: Workspace, workspace: Path) -> None:
    (workspace / "fixed").mkdir(parents=True)
    (workspace / "fixed/prices.txt").write_text("1")
    build(Reader())
    build(Latest())
    for name in "bcdef":
        build(Source(name=name))
    uris = {name: Path(Source(name=name).output().uri) for name in "bcdefg"}
    uris["b"].unlink()
    uris["c"].write_bytes(b"")
    Path(sidecar_uri(str(uris["d"]))).unlink()
    Path(sidecar_uri(str(uris["e"]))).write_bytes(b"{")
    uris["g"].write_bytes(b"of a killed writer")
    newer = Path(sidecar_uri(str(uris["f"])))
    newer.write_bytes(b"{}")
    strange = [
        workspace / "fixed/other.csv",
        workspace / "fixed" / f"{'a' * 32}.jpg",
        workspace / "mine" / f"x_{'a' * 32}.jpg",
    ]
    strange[2].parent.mkdir()
    for path in strange:
        path.write_text("not ours")
    upload = LocalStore().upload(str(uris["g"]))
    kept = list(workspace.rglob("fixed/*"))
    garbage = collect(ws, keep_last=9)
    faults = {piece.fault: piece.gone for piece in garbage.pieces if piece.fault and not piece.stays}
    assert faults == dict.fromkeys(["no artifact, only a sidecar", "another size", "no sidecar", "unreadable"], True)
    assert sorted(path for path in uris.values() if path.exists()) == []
    assert all(path.exists() for path in [*strange, *kept])
    assert there(ws) == {"Reader": 1, "Latest": 1, "Source": 1}
    assert garbage.uploads == []
    upload.discard()


def test_a_pin_keeps_an_artifact_with_everything_upstream(ws: Workspace) -> None:
    with ws:
        build(Pair(of=Source()))
        build(Source(name="b"))
        one = ws.artifacts("Pair").latest()
        one.pin("ann")
        pin = one.pinned
        assert pin is not None and pin.by == "ann" and pin.at[:2] == "20"
        with pytest.raises(ConfigurationError, match="nothing says what stays"):
            Garbage(ws, Conditions())
        garbage = collect(ws, only=["*"])
        assert there(ws) == {"Pair": 2, "Source": 1}
        assert sorted(piece.stays for piece in garbage.pieces if piece.stays) == ["pinned", "upstream of Pair"]
        collect(ws, only=["Source"], upstream=False)
        collect(ws, keep=["Pair"], upstream=False)
        assert there(ws) == {"Pair": 2, "Source": 1}, "a pin keeps what is upstream whatever else is said"
        with pytest.raises(StorageError, match="pinned"):
            one.remove()
        build(Pair(of=Source()), rerun=("*",))
        assert ws.artifacts("Pair").latest().pinned, "an artifact made again is of the same task"
        one.unpin()
        one.unpin()
        collect(ws, only=["*"])
        assert there(ws) == {}
        with pytest.raises(MissingArtifactError):
            one.pin()
        assert one.pinned is None


def test_a_pin_of_this_moment_counts_and_one_that_nobody_can_read_keeps(ws: Workspace, workspace: Path) -> None:
    with ws:
        build(Source())
        build(Source(name="b"))
    first, second = ws.artifacts().newest()
    late = Garbage(ws, Conditions(only=["*"], grace=NOW))
    first.pin()
    with held(locks_for(ws), second.unique_id, "a run"), pytest.raises(StorageError, match="is being made"):
        second.pin()
    late.remove()
    assert [piece.left for piece in late.pieces if not piece.gone] == ["it is pinned"]
    folder = workspace / ".kart-pins"
    (folder / first.unique_id).write_text("{" * 100_000)
    assert first.pinned == ("", "")
    collect(ws, only=["*"])
    assert there(ws) == {"Source": 1}
    folder.rename(workspace / "elsewhere")
    folder.write_text("no folder")
    with pytest.raises(StorageError, match="pins"):
        Garbage(ws, Conditions(only=["*"], grace=NOW))


@pytest.mark.parametrize("place", ["memory://late-pins", "{}/late"])
def test_a_pin_of_this_moment_keeps_everything_upstream(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = Workspace(place.format(tmp_path))
    monkeypatch.setattr("airflow_kart.audit.garbage._BETWEEN_LOOKS", 0.0)
    monkeypatch.setenv("AIRFLOW__KART__CHECK_THREADS", "1")
    with ws:
        build(Total(of=Source()))
        build(Latest(of=Source(name="b")))
        late = Garbage(ws, Conditions(only=["*"], grace=NOW))
        pins = ws.artifacts("Total").newest()

        def slowly(store: Any, locks: Any, directory: str, unique_id: str, outputs: Any, **more: Any) -> None:
            if unique_id == Latest(of=Source(name="b")).unique_id:  # the removal has begun
                pins.pop().pin("ann")
            take_away(store, locks, directory, unique_id, outputs, **more)

        monkeypatch.setattr("airflow_kart.audit.garbage.take_away", slowly)
        late.pieces.sort(key=lambda piece: not piece.task.endswith("Latest"))
        late.remove()
        left = {piece.left for piece in late.pieces if not piece.gone}
        assert left == {"it is pinned", "a pinned artifact needs it"}
        assert there(ws) == {"Total": 1, "Pair": 2, "Source": 2}
        RAN.clear()
        build(Total(of=Source()))
        assert RAN == []


def test_a_pin_of_what_the_list_lacks_keeps_all_and_one_that_comes_too_late_says_so(
    ws: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    with ws:
        build(Source())
        late = Garbage(ws, Conditions(only=["*"], grace=NOW))
        build(Both(of=Source()))
        pair = ws.artifacts("Pair").latest()
        pair.pin()
        assert "not all of what it was made from" not in caplog.text
        late.remove()
        assert [piece.left for piece in late.pieces] == ["a pinned artifact needs it"]
        build(Total(of=Source()))
        pair.unpin()
        collect(ws, only=["Source", "Pair"], upstream=False)
        ws.artifacts("Total").latest().pin()
    assert "not all of what it was made from is there: " in caplog.text
    assert "/Source_" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "linked folder", "pipe"])
def test_the_name_of_a_pin_is_all_that_counts_and_no_link_is_read(ws: Workspace, tmp_path: Path, kind: str) -> None:
    with ws:
        build(Source())
    record, outside = ws.artifacts().latest(), tmp_path / "outside"
    name = Path(ws.directory, ".kart-pins", record.unique_id)
    outside.mkdir()
    (outside / name.name).write_text('{"by": "a secret", "at": "2026"}')
    if kind == "linked folder":
        name.parent.symlink_to(outside)
    else:
        name.parent.mkdir()
        make: dict[str, Callable[[], object]] = {
            "folder": name.mkdir,
            "link": lambda: name.symlink_to(outside / name.name),
            "dangling": lambda: name.symlink_to(tmp_path / "nowhere"),
            "pipe": lambda: os.mkfifo(name),
        }
        make[kind]()
    assert record.pinned == ("", "")
    with pytest.raises(StorageError, match="pinned"):
        record.remove()
    assert [piece.stays for piece in collect(ws, only=["*"]).pieces] == ["pinned"]


def test_a_pin_is_set_in_the_workspace_of_the_artifact(ws: Workspace, tmp_path: Path) -> None:
    over = Workspace(str(tmp_path / "over"), read_from=(ws.directory,))
    with ws:
        build(Source())
    with pytest.raises(ConfigurationError, match="only reads"):
        over.artifacts().latest().pin()
    ws.artifacts().latest().pin()
    assert over.artifacts().latest().pinned


def test_a_sidecar_that_cannot_be_read_stops_everything(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    build(Pair())
    uri = sidecar_uri(Pair().output()["sum"].uri)
    read = LocalStore.read

    def refused(self: LocalStore, asked: str) -> Any:
        if asked == uri:
            raise StorageError("no access", uri=uri)
        return read(self, asked)

    monkeypatch.setattr(LocalStore, "read", refused)
    with pytest.raises(StorageError):
        Garbage(ws, Conditions(younger_than=NOW, grace=NOW))


def test_a_sidecar_of_a_newer_version_stays(ws: Workspace) -> None:
    build(Source())
    uri = Source().output().uri
    found = read_sidecar(LocalStore(), uri)
    assert found is not None
    Path(sidecar_uri(uri)).write_bytes(replace(found, content={**found.content, "artifact": [5]}).to_bytes())
    (piece,) = collect(ws, younger_than=NOW).pieces
    assert piece.stays == "its sidecar is of another version of this package"
    assert Path(uri).exists()


def test_emptied_folders_go(ws: Workspace, workspace: Path) -> None:
    build(Pair())
    build(Latest())
    mine = workspace / "empty"
    mine.mkdir()
    busy = LocalStore().upload(str(workspace / "pair/other.pkl"))
    collect(ws, keep=["Latest"])
    assert sorted(path.name for path in workspace.iterdir() if not path.name.startswith(".")) == sorted(
        ["empty", "fixed", "pair", Path(Source().output().uri).relative_to(workspace).parts[0]]
    )
    busy.write(b"x")
    busy.publish()
    os.unlink(workspace / "pair/other.pkl")
    collect(ws, keep_last=1)
    assert not (workspace / "pair").exists()
    assert mine.exists()
    rows = len(list((workspace / ".kart-catalogue").glob("*.ndjson")))
    collect(ws, younger_than=NOW)
    assert everything(workspace) == set()
    assert len(list((workspace / ".kart-catalogue").glob("*.ndjson"))) < rows
    build(Pair())
    assert there(ws) == {"Pair": 2, "Source": 1}


def test_the_upload_of_a_killed_process_goes(ws: Workspace, workspace: Path) -> None:
    build(Source())
    code = f"""
import os
from airflow_kart.storage import LocalStore
upload = LocalStore().upload({str(workspace / "x/large.bin")!r})
upload.write(b"half")
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    (left,) = (workspace / "x/.kart-uploads").iterdir()
    assert len(Garbage(ws, Conditions(keep_last=1)).uploads) == 0  # in the grace period
    assert [upload.uri for upload in collect(ws, keep_last=1).uploads] == [str(left)]
    assert not left.exists()
    assert not (workspace / "x").exists()


def test_a_reused_copy_keeps_only_itself(ws: Workspace) -> None:
    build(Follows())
    WORLD["followed"] = "b"
    build(Follows())
    collect(ws, keep=[Follows().unique_id])
    assert there(ws) == {"Follows": 1, "Source": 1}
    assert ws.artifacts("Follows").latest().outcome == "reused"
    assert ws.artifacts("Follows").latest().load() == 0


def test_a_moved_workspace_keeps_what_a_wrapper_leads_to(ws: Workspace, tmp_path: Path) -> None:
    build(Total(of=Source()))
    shutil.move(ws.directory, tmp_path / "moved")
    moved = Workspace(str(tmp_path / "moved"))
    assert Garbage(moved, Conditions(keep=["Total"], grace=NOW)).going == []


def test_a_workspace_that_is_only_read_is_never_touched(ws: Workspace, workspace: Path, tmp_path: Path) -> None:
    build(Pair())
    before = everything(workspace)
    mine = Workspace(str(tmp_path / "mine"), read_from=(ws.directory,))
    with mine:
        build(Total(of=Source()))
        build(Source(name="b"))
    collect(mine, keep=["Total"])
    assert there(mine) == {"Total": 1, "Pair": 2, "Source": 2}  # asked, and the one of the other workspace
    collect(mine, keep=["Pair"])  # which is elsewhere
    assert everything(Path(mine.directory)) == set()
    assert everything(workspace) == before


def test_leftovers_of_a_copy_go_and_the_artifact_stays(ws: Workspace, workspace: Path) -> None:
    target = Source().output()
    build(Source())
    folder = Path(target.uri).parent
    shutil.copytree(folder, workspace / "copy")
    (workspace / "copy" / Path(target.uri).name).unlink()
    found = collect(ws, keep_last=5)
    assert [piece.fault for piece in found.pieces if piece.gone] == ["no artifact, only a sidecar"]
    assert Source().complete()


def test_a_hidden_folder_is_no_other_folder(ws: Workspace, workspace: Path) -> None:
    build(Source())
    folder = Path(Source().output().uri).parent
    hidden = workspace / f".{folder.name}"
    hidden.mkdir()
    (hidden / "notes.txt").write_text("somebody's")
    before = everything(workspace)
    collect(ws, keep_last=5)
    assert everything(workspace) >= {path for path in before if "kart-" not in path}


def test_a_link_to_a_folder_stops_everything(ws: Workspace, workspace: Path, tmp_path: Path) -> None:
    build(Source())
    (tmp_path / "elsewhere").mkdir()
    (workspace / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="is a symbolic link to a folder"):
        Garbage(ws, Conditions(keep_last=1))


@pytest.mark.parametrize("reads", [False, True])
def test_a_workspace_inside_of_another_stays(ws: Workspace, workspace: Path, reads: bool) -> None:
    inner = Workspace(str(workspace / "team"))
    with inner:
        build(Source())
        list(inner.artifacts())
    if reads:
        for folder in (workspace / "team").glob(".kart-*"):
            shutil.rmtree(folder)
        ws = replace(ws, read_from=(inner.directory,))
    found = collect(ws, keep=["Source"])
    assert {piece.stays for piece in found.pieces} <= {"of another workspace", "kept: Source"}
    with inner:
        assert Source().complete()


def test_another_namespace_stays(workspace: Path) -> None:
    mine, other = (Workspace(str(workspace), namespace=name) for name in ("mine", "other"))
    for each in (mine, other):
        with each:
            build(Source())
            build(Follows())
    found = collect(mine, keep=["Source"])
    assert {piece.task.partition(".")[0] for piece in found.pieces if piece.gone} == {"mine"}
    with other:
        assert Follows().complete()


def test_an_external_file_named_by_a_digest_stays(ws: Workspace, workspace: Path) -> None:
    build(Source())
    folder = Path(Source().output().uri).parent
    delivery = folder / f"delivery_{'0' * 32}.csv"
    delivery.write_text("a,b")
    os.utime(delivery, (1e9, 1e9))
    collect(ws, keep=["Source"])
    assert delivery.exists()


def test_a_build_after_the_removal_of_an_input_heals(ws: Workspace) -> None:
    build(Pair())
    collect(ws, only=["Source"], upstream=False)
    assert there(ws) == {"Pair": 2}
    RAN.clear()
    build(Total(of=Source()))
    assert sorted(RAN) == ["Source", "Source", "Total"]


def test_a_killed_collection_leaves_nothing_that_the_next_one_does_not_find(ws: Workspace, workspace: Path) -> None:
    for number in range(4):
        build(Pair(of=Source(name=f"n{number}")))
        build(Latest(of=Source(name=f"n{number}")))
    keep: dict[str, Any] = {"keep": ["Source(name=n2)"], "grace": NOW}
    whole = workspace.with_name("whole")
    shutil.copytree(workspace, whole)
    for removals in range(24):
        shutil.rmtree(workspace)
        shutil.copytree(whole, workspace)
        child = os.fork()
        if not child:
            _die_after(removals)
            Garbage(ws, Conditions(**keep)).remove()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        files = everything(workspace)
        sidecars = {name for name in files if name.endswith(".kart.json")}
        assert files - sidecars <= {name.removesuffix(".kart.json") for name in sidecars}  # no artifact without its sidecar
        assert ws.artifacts("Source(name=n2)").latest().is_whole
        collect(ws, **keep)
        assert there(ws) == {"Source": 1}
        assert len(everything(workspace)) == 2
        assert not (workspace / "pair").exists()
        assert index.all_texts(ws).keys() <= {one.row.content_key for one in ws.artifacts()}


def _die_after(removals: int) -> None:
    """Kill this process at the removal of its next file."""
    left, unlink = iter(range(removals)), os.unlink

    def dying(*arguments: Any, **more: Any) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        unlink(*arguments, **more)

    os.unlink = dying


EDITED = """
from __future__ import annotations
from airflow_kart import StrParameter, TaskOnKart

def helper():
    return {0}

class Made(TaskOnKart):
    code_version = "{1}"
    name: str = StrParameter()

    def requires(self):
        return Source(name=self.name)

    def run(self):
        self.dump(("made", self.load(), helper()))

class Warned(Made):
    code_version = None

class Over(TaskOnKart):
    name: str = StrParameter()

    def requires(self):
        return [Made(name=self.name), Warned(name=self.name)]

    def run(self):
        self.dump(self.load())
"""
NAMES = st.sampled_from(["a", "b", "held"])
KINDS = st.integers(0, 9)


class Documents:
    """The sidecars of a directory as JSON, and what they say of each other: a second, plain account of what gc has to know."""

    def __init__(self, directory: Path) -> None:
        self.files = {name: (directory / name).read_bytes() for name in everything(directory)} if directory.exists() else {}
        self.sidecars: dict[str, Any] = {}
        for name, data in self.files.items():
            if name.endswith(".kart.json"):
                self.sidecars[name.removesuffix(".kart.json")] = json.loads(data)

    def of_task(self, unique_id: str) -> set[str]:
        return {name for name, found in self.sidecars.items() if found["task"]["unique_id"] == unique_id}

    def is_whole(self, name: str) -> bool:
        return len(self.files.get(name, b"gone")) == self.sidecars[name]["artifact"]["bytes"] and name in self.files

    def required(self, name: str) -> set[str]:
        found = self.sidecars[name]
        held = [one["value"] for one in found["task"]["parameters"].values() if isinstance(one.get("value"), dict)]
        ids = [one["unique_id"] for one in [*found["upstream"], *held]]
        uris = [each["uri"] for one in found["upstream"] for each in one["artifacts"]]
        by_uri = {other for other in self.sidecars for uri in uris if uri.endswith(f"/{other}")}
        return by_uri.union(*map(self.of_task, ids))

    def closure(self, names: set[str]) -> set[str]:
        found, left = set[str](), list(names)
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += [*self.of_task(self.sidecars[name]["task"]["unique_id"]), *self.required(name)]
        return found


def kind_of_file(name: str) -> str:
    """Return the name of an artifact's file without its unique id."""
    return re.sub("_[0-9a-f]{32}", "", name)


class Machine(RuleBasedStateMachine):
    """Runs, reruns, failures, adoptions, overlays, labels, losses and collections: what is reachable stays, all else goes."""

    folder: ClassVar[Path]

    @initialize()
    def begin(self) -> None:
        RAN.clear()
        WORLD.clear()
        self.base = self.folder / uuid.uuid4().hex
        self.base.mkdir()
        self.first = Workspace(str(self.base / "first"))
        self.second = Workspace(str(self.base / "second"), read_from=(self.first.directory,))
        self.version = 0
        self.code_is_edited(0)

    def task(self, kind: int, name: str, label: str = "") -> TaskOnKart[Any]:
        one = Source(name=name, label=label)
        make: list[Callable[[], TaskOnKart[Any]]] = [
            lambda: one,
            lambda: Pair(of=one),
            lambda: Total(of=one),
            lambda: Total(of=one, held=Pair(of=Source(name="b" if name == "a" else "a"))),
            lambda: Latest(of=one),
            lambda: Latest(of=Total(of=one)),
            Follows,
            lambda: self.module.Made(name=name),
            lambda: self.module.Over(name=name),
            lambda: Pair(of=self.module.Made(name=name)),
        ]
        return make[kind]()

    @rule(
        kind=KINDS,
        name=NAMES,
        label=st.sampled_from(["", "", "1", "2"]),
        overlay=st.booleans(),
        again=st.sampled_from([(), ("*",)]),
    )
    def build_it(self, kind: int, name: str, label: str, overlay: bool, again: Any) -> None:
        with self.second if overlay else self.first:
            build(self.task(kind, name, label), rerun=again)

    @rule(kind=KINDS, name=NAMES, overlay=st.booleans())
    def a_rerun_fails(self, kind: int, name: str, overlay: bool) -> None:
        WORLD["fails"] = True
        with self.second if overlay else self.first, contextlib.suppress(ValueError):
            build(self.task(kind, name), rerun=("*",))
        WORLD.pop("fails")

    @rule(name=st.sampled_from(["a", "b", "followed"]), value=st.sampled_from("ab"))
    def the_world_changes(self, name: str, value: str) -> None:
        WORLD[name] = value

    @rule(helper=st.integers(0, 2))
    def code_is_edited(self, helper: int) -> None:
        self.version += 1
        file = self.base / f"edit{self.version}.py"
        file.write_text(EDITED.format(helper, self.version % 3), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("collected_pipeline", file)
        assert spec is not None and spec.loader is not None
        self.module = sys.modules["collected_pipeline"] = importlib.util.module_from_spec(spec)
        vars(self.module)["Source"] = Source
        spec.loader.exec_module(self.module)

    @rule(which=st.sampled_from(["Made", "Warned"]), overlay=st.booleans())
    def somebody_adopts(self, which: str, overlay: bool) -> None:
        with self.second if overlay else self.first, contextlib.suppress(ConfigurationError, IdentityError):
            adopt(getattr(self.module, which), reason="it does not matter")

    @rule(part=st.integers(0, 9), sidecars=st.booleans(), cut=st.booleans())
    def something_is_lost(self, part: int, sidecars: bool, cut: bool) -> None:
        for number, path in enumerate(sorted(self.base.rglob("*.kart.json" if sidecars else "*.pkl"))):
            if number % 10 == part:
                path.unlink() if sidecars or not cut else path.write_bytes(b"")

    @rule(number=st.integers(0, 20), overlay=st.booleans(), takes_away=st.sampled_from([False, False, True]))
    def somebody_pins(self, number: int, overlay: bool, takes_away: bool) -> None:
        workspace = self.second if overlay else self.first
        for record in workspace.artifacts().newest()[number : number + 1]:
            with contextlib.suppress(ConfigurationError, MissingArtifactError):  # of the other workspace; lost
                (record.unpin if takes_away else record.pin)()

    @rule()
    def pins_are_damaged(self) -> None:
        for path in self.base.glob("*/.kart-pins/" + "[0-9a-f]" * 32):
            path.write_bytes(b"\xff{")

    @rule(
        overlay=st.booleans(),
        others=st.lists(st.tuples(KINDS, NAMES), min_size=1, max_size=3),
        roots=st.lists(st.tuples(KINDS, NAMES), min_size=1, max_size=2),
        as_graph=st.booleans(),
        upstream=st.booleans(),
        pinned=st.integers(0, 3),
    )
    def all_but_roots_is_collected(self, overlay: bool, others: Any, roots: Any, pinned: int, **conditions: bool) -> None:
        with self.second if overlay else self.first:
            for root in (*roots, *others):
                build(self.task(*root))
        if pinned:
            self.somebody_pins(pinned - 1, overlay, takes_away=False)
        self.collect(overlay=overlay, roots=roots, **conditions)

    @rule(
        overlay=st.booleans(),
        roots=st.lists(st.tuples(KINDS, NAMES), max_size=1),
        last=st.sampled_from([None, 1, 2]),
        label=st.sampled_from([None, None, "release", "release=1"]),
        only=st.sampled_from([(), (), ("Source",), ("Pair", "Total"), ("*",)]),
        upstream=st.sampled_from([True, True, False]),
        hours=st.sampled_from([0, 0, 0, 0, 1]),
    )
    def garbage_is_collected(self, overlay: bool, **conditions: Any) -> None:
        with self.second if overlay else self.first:
            for number in range(4 if conditions["last"] else 0):
                build(self.task(number // 2, "ab"[number % 2]))
        self.collect(overlay=overlay, as_graph=False, **conditions)

    def collect(
        self,
        *,
        overlay: bool,
        roots: Any,
        as_graph: bool,
        upstream: bool,
        last: Any = None,
        label: Any = None,
        only: Any = (),
        hours: int = 0,
    ) -> None:
        workspace, other = (self.second, self.first) if overlay else (self.first, self.second)
        there = Documents(Path(other.directory))
        with workspace:
            tasks = [self.task(*root) for root in roots]
            here = Documents(Path(workspace.directory))
            graph = Graph.of(tasks)
            complete = {one for one, node in graph.nodes.items() if all(target.state().complete for target in node.targets)}
        given: dict[str, Any] = (
            {"keep_ids": {"a graph": graph.nodes}} if as_graph and roots else {"keep": [t.unique_id for t in tasks]}
        )
        conditions = Conditions(
            **given,
            keep_last=last,
            labels=[label] if label else [],
            only=only,
            upstream=upstream,
            grace=dt.timedelta(hours=hours),
        )
        try:
            garbage = Garbage(workspace, conditions)
        except (ConfigurationError, MissingArtifactError):
            assert Documents(Path(workspace.directory)).files.items() >= here.files.items()
            return
        garbage.remove()
        assert [piece.left for piece in garbage.going] == []
        after = Documents(Path(workspace.directory))
        assert Documents(Path(other.directory)).files == there.files
        if hours:
            assert after.files == here.files
            return
        named = set(graph.nodes) if as_graph else {task.unique_id for task in tasks}
        folders = [workspace.directory, *([other.directory] if overlay else [])]
        pins = {path.name for folder in folders for path in Path(folder).glob(".kart-pins/" + "[0-9a-f]" * 32)}
        named |= pins
        seeds = self.seeds(here, named, last, label, only)
        wanted = {one for name in seeds for one in self.whole_task(here, name)}
        if not upstream:
            asked = {name for name in here.sidecars if "replaces" in here.sidecars[name]}
            wanted |= {one for name in asked for each in here.required(name) for one in self.whole_task(here, each)}
        deep = seeds if upstream else set().union(*map(here.of_task, pins))
        reachable = self.through(here, there, named if upstream else pins) if overlay else set()
        wanted |= here.closure(deep | reachable)
        kept = {name for name in here.files if name.removesuffix(".kart.json") in wanted}
        unknown = {name for name in here.files if not name.endswith(".kart.json") and name not in here.sidecars}
        assert {name: after.files.get(name) for name in kept} == {name: here.files[name] for name in kept}
        assert after.files.keys() - kept - unknown == set()
        if only or any(name in wanted for name in unknown):
            return
        kinds = {kind_of_file(name.removesuffix(".kart.json")) for name in here.files if name.endswith(".kart.json")}
        left = {name for name in after.files.keys() & unknown if "_" in name and not self.is_input(here, there, name)}
        left = {name for name in left if not any(pin in name for pin in pins)}
        assert not {name for name in left if kind_of_file(name) in kinds}  # one without its like may be anybody's
        if upstream and as_graph:
            with workspace:
                again = {one for one, node in graph.nodes.items() if all(target.state().complete for target in node.targets)}
            assert again >= complete

    def seeds(self, here: Documents, named: set[str], last: Any, label: Any, only: Any) -> set[str]:
        found = {name for name, one in here.sidecars.items() if one["task"]["unique_id"] in named or "replaces" in one}
        if label:
            of, _, value = label.partition("=")
            labels = {name: one["artifact"]["labels"] for name, one in here.sidecars.items()}
            found |= {name for name, one in labels.items() if of in one and value in ("", one[of])}
        whole = [name for name in here.sidecars if all(map(here.is_whole, self.whole_task(here, name)))]
        by_class: dict[str, dict[str, str]] = {}
        for name in whole:
            task = here.sidecars[name]["task"]
            moments = by_class.setdefault(task["class"], {})
            moment = here.sidecars[name]["run"]["finished_at"]
            moments[task["unique_id"]] = max(moments.get(task["unique_id"], ""), moment)
        for moments in by_class.values() if last else ():
            for unique_id in sorted(moments, key=lambda one: moments[one], reverse=True)[:last]:
                found |= here.of_task(unique_id)
        if only and "*" not in only:
            found |= {n for n, one in here.sidecars.items() if one["task"]["class"].rpartition(".")[2] not in only}
        return found

    def whole_task(self, here: Documents, name: str) -> set[str]:
        return here.of_task(here.sidecars[name]["task"]["unique_id"])

    def through(self, here: Documents, there: Documents, named: set[str]) -> set[str]:
        """Return what is reached from named artifacts of the workspace that is only read, by way of either workspace."""
        found, left = set[str](), [(False, name) for one in named for name in there.of_task(one)]
        left += [(True, name) for one in named for name in here.of_task(one)]
        seen = set[tuple[bool, str]]()
        while left:
            is_here, name = left.pop()
            if (is_here, name) in seen:
                continue
            seen.add((is_here, name))
            if is_here:
                found.add(name)
            document = (here if is_here else there).sidecars[name]
            both = Documents.__new__(Documents)
            for side, place in ((True, here), (False, there)):
                both.sidecars, both.files = {**place.sidecars, name: document}, place.files
                left += [(side, one) for one in both.required(name) if one in place.sidecars]
                left += [(side, one) for one in place.of_task(document["task"]["unique_id"])]
        return found

    def is_input(self, here: Documents, there: Documents, name: str) -> bool:
        documents = [*here.sidecars.values(), *there.sidecars.values()]
        uris = (each["uri"] for one in documents for required in one["upstream"] for each in required["artifacts"])
        return any(uri.rpartition("/")[2] == name.rpartition("/")[2] for uri in uris)

    def teardown(self) -> None:
        sys.modules.pop("collected_pipeline", None)
        if hasattr(self, "base"):
            shutil.rmtree(self.base)


def test_nothing_reachable_is_lost_and_what_is_unreachable_goes(tmp_path: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    Machine.folder = tmp_path
    steps = int(os.environ.get("KART_STEPS", "100"))
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=max(steps // 20, 1), stateful_step_count=20, deadline=None)
    )


@pytest.mark.parametrize("place", ["memory://garbage", "file://{}/with%20space", "{}/plain/", "{}/a b/ü"])
def test_every_place(place: str, tmp_path: Path) -> None:
    ws = Workspace(place.format(tmp_path))
    with ws:
        build(Total(of=Source()))
        build(Pair(of=Source(name="b")))
        kept = collect(ws, keep=["Total"])
        assert sorted(piece.stays.partition(":")[0] for piece in kept.pieces if piece.gone) == ["", ""]
        assert there(ws) == {"Total": 1, "Pair": 2, "Source": 2}
        RAN.clear()
        build(Total(of=Source()))
    assert RAN == []
    collect(ws, younger_than=NOW)
    assert there(ws) == {}
    assert list(ws.store.list(f"{ws.directory.rstrip('/')}/")) == []
