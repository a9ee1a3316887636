from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pytest
import xxhash
from harness.owner import Owner
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart import IntParameter, Target, TaskOnKart
from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import CorruptArtifactError, FormatError, MissingArtifactError, StorageError, TargetError
from airflow_kart.formats import format_for
from airflow_kart.formats.large_frame import LargeFrameFormat
from airflow_kart.formats.text import TextFormat
from airflow_kart.storage import LocalStore, ObjectContent

SMALL = "small"
LARGE = "large " * 2_000_000  # above 8 MiB the checksum is computed beside the reading, not before
VALUES = pytest.mark.parametrize("value", [SMALL, LARGE], ids=["small", "large"])


def target_at(path: Path, store: Any = None, owner: Any = None) -> Target:
    return Target(str(path), format_for(path.name), store or LocalStore(), owner or Owner())


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return target_at(tmp_path / "a.json")


def sidecar_file(target: Target) -> Path:
    return Path(f"{target.uri}.kart.json")


def edit(target: Target, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a sidecar, as one of version 1, which has no digest that would show the change."""
    content = json.loads(sidecar_file(target).read_text())
    del content["digest"]
    content["schema_version"] = 1
    change(content)
    sidecar_file(target).write_text(json.dumps(content))


def test_nothing_is_there_at_first(target: Target) -> None:
    assert not target.exists()
    assert target.state().reason == "no artifact"
    assert target.sidecar() is None
    assert not target.state().readable
    assert target.remove() is False
    with pytest.raises(
        MissingArtifactError, match=r"there is no complete artifact at .*/a\.json; run the task that makes it"
    ):
        target.load()


def test_labels_are_text_whatever_is_given(target: Target) -> None:
    labels: Any = {"rows": 3, "team": None, "auc": 0.5, "ok": True, 1: "a", "day": dt.date(2024, 1, 2), "text": "ü"}
    target.dump(SMALL, custom_labels=labels)
    expected = {"rows": "3", "team": "None", "auc": "0.5", "ok": "True", "1": "a", "day": "2024-01-02", "text": "ü"}
    found = target.sidecar()
    assert found is not None
    assert found.artifact.labels == expected
    assert json.loads(sidecar_file(target).read_text())["artifact"]["labels"] == expected


@pytest.mark.parametrize("labels", ["team", ["team"], {"team"}, 3])
def test_labels_are_a_mapping(target: Target, labels: Any) -> None:
    with pytest.raises(TargetError, match=rf"the custom_labels of .*a\.json are a {type(labels).__name__}; give a dict"):
        target.dump(SMALL, custom_labels=labels)


@VALUES
def test_what_was_dumped_is_complete(target: Target, value: str) -> None:
    target.dump(value)
    assert target.exists()
    assert target.state().reason == "complete"
    assert target.state().sidecar == target.sidecar()
    assert target.load() == value


def test_the_sidecar_describes_the_bytes(target: Target) -> None:
    target.dump(SMALL)
    data = Path(target.uri).read_bytes()
    content = json.loads(sidecar_file(target).read_text())
    assert content["schema_version"] == 2
    assert content["artifact"] == {
        "uri": target.uri,
        "format": "json",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "xxh3": xxhash.xxh3_128_hexdigest(data),
        "type": "builtins.str",
        "rows": None,
        "columns": None,
        "options": {},
        "labels": {},
    }
    assert content["task"] == {"unique_id": "a" * 32}
    assert content["run"]["finished_at"].endswith("+00:00")
    assert content["environment"]["pid"] == os.getpid()
    assert "replaces" not in content


def test_an_artifact_without_its_sidecar_does_not_count(target: Target) -> None:
    target.dump(SMALL)
    sidecar_file(target).unlink()
    assert target.state().reason == "no artifact"
    with pytest.raises(
        MissingArtifactError, match="a file is there, but its sidecar is not: its publication was interrupted"
    ):
        target.load()


@VALUES
def test_a_sidecar_without_its_artifact_does_not_count(target: Target, value: str) -> None:
    target.dump(value)
    Path(target.uri).unlink()
    assert target.state().reason == "the artifact is gone, only its sidecar is there"
    with pytest.raises(MissingArtifactError, match=r"the artifact .*/a\.json is gone; run the task"):
        target.load()


@VALUES
def test_a_truncated_artifact_does_not_count(target: Target, value: str) -> None:
    target.dump(value)
    size = os.path.getsize(target.uri)
    os.truncate(target.uri, size - 3)
    assert target.state().reason == f"the artifact has {size - 3} bytes, its sidecar says {size}"
    with pytest.raises(CorruptArtifactError, match=r"was changed after it was published"):
        target.load()


@VALUES
@pytest.mark.parametrize("extension", ["json", "pkl", "txt"])
def test_an_altered_artifact_is_not_loaded(tmp_path: Path, value: str, extension: str) -> None:
    target = target_at(tmp_path / f"a.{extension}")
    target.dump(value)
    with open(target.uri, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\xff")
    assert target.exists()
    with pytest.raises(
        CorruptArtifactError, match=r"its SHA-256 is [0-9a-f]{64}, its sidecar says [0-9a-f]{64}; run the task"
    ):
        target.load()


def alter(target: Target) -> None:
    """Change bytes and keep the size, as a power failure without fsync may leave a file."""
    path = Path(target.uri)
    path.write_bytes(b"\0" * path.stat().st_size)


@VALUES
@pytest.mark.parametrize("extension", ["json", "pkl", "txt"])
def test_an_artifact_that_a_load_found_damaged_is_incomplete(tmp_path: Path, value: str, extension: str) -> None:
    target = target_at(tmp_path / f"a.{extension}")
    target.dump(value)
    alter(target)
    assert target.exists()
    with pytest.raises(CorruptArtifactError):
        target.load()
    state = target.state()
    assert not state.complete
    assert not state.readable
    assert "the artifact is damaged: on 20" in state.reason
    with pytest.raises(CorruptArtifactError):
        target.load()
    target.dump(value)
    assert target.exists()
    assert target.load() == value


def test_parts_that_are_damaged_make_an_artifact_incomplete(tmp_path: Path) -> None:
    target = Target(str(tmp_path / "a.zip"), LargeFrameFormat(), LocalStore(), Owner())
    target.dump(pd.DataFrame({"a": [1, 2]}))
    alter(target)
    with pytest.raises(CorruptArtifactError):
        next(target.load_parts())
    assert not target.exists()


def test_a_damaged_artifact_that_is_restored_loads(target: Target) -> None:
    target.dump(SMALL)
    good = Path(target.uri).read_bytes()
    alter(target)
    with pytest.raises(CorruptArtifactError):
        target.load()
    Path(target.uri).write_bytes(good)
    assert target.load() == SMALL
    assert not target.exists()  # the mark stays until the next run


@pytest.mark.parametrize("wrong", [1, 2])
def test_a_garbled_transfer_heals_by_one_more_read(tmp_path: Path, wrong: int) -> None:
    class Garbled(LocalStore):
        reads = 0

        def read(self, uri: str) -> Any:
            self.reads += not uri.endswith(".kart.json")
            if uri.endswith(".kart.json") or self.reads > wrong:
                return super().read(uri)
            return ObjectContent(f"garbled {self.reads}".encode(), "")

    target_at(tmp_path / "a.json").dump(SMALL)
    reader = target_at(tmp_path / "a.json", Garbled())
    if wrong == 1:
        assert reader.load() == SMALL
    else:
        with pytest.raises(CorruptArtifactError):
            reader.load()
    assert reader.exists()  # bytes that differ from read to read are not damaged where they are kept


def test_damage_that_is_found_while_a_writer_mends_it_marks_nothing(tmp_path: Path) -> None:
    target = target_at(tmp_path / "a.json")
    target.dump(SMALL)
    alter(target)

    class Late(LocalStore):
        def upload(self, uri: str, **options: Any) -> Any:
            target.dump("mended")
            return super().upload(uri, **options)

    with pytest.raises(CorruptArtifactError):
        target_at(tmp_path / "a.json", Late()).load()
    assert target.exists()
    assert target.load() == "mended"


def test_damage_in_a_workspace_that_cannot_be_written_to_is_an_error_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class ReadOnly(LocalStore):
        def upload(self, uri: str, **options: Any) -> Any:
            raise StorageError(f"could not write {uri}: permission denied")

    target = target_at(tmp_path / "a.json")
    target.dump(SMALL)
    alter(target)
    with pytest.raises(CorruptArtifactError, match="kart_rerun"):
        target_at(tmp_path / "a.json", ReadOnly()).load()
    assert target.exists()
    assert "still counts as complete" in caplog.text


@VALUES
def test_right_bytes_that_the_format_cannot_read_are_a_format_error(tmp_path: Path, value: str) -> None:
    class Unreadable(TextFormat):
        def load(self, stream: BinaryIO) -> str:
            raise FormatError("the bytes are odd")

    text = target_at(tmp_path / "a.txt")
    text.dump(value)
    with pytest.raises(FormatError, match=r"could not load .*/a\.txt: the bytes are odd"):
        Target(text.uri, Unreadable(), LocalStore(), Owner()).load()


def test_an_artifact_of_another_format_is_not_complete(tmp_path: Path) -> None:
    target_at(tmp_path / "a.txt").dump("x")
    as_json = Target(str(tmp_path / "a.txt"), format_for("a.json"), LocalStore(), Owner())
    assert as_json.state().reason == "the artifact was written in the format text, the target is json"
    with pytest.raises(MissingArtifactError, match="written in the format text"):
        as_json.load()


def test_an_artifact_is_read_with_the_options_it_was_written_with(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Encoded(TextFormat):
        encoding: str = "utf-8"

        def dump(self, obj: Any, stream: Any) -> None:
            stream.write(obj.encode(self.encoding))

        def load(self, stream: BinaryIO) -> str:
            return stream.read().decode(self.encoding)

    uri = str(tmp_path / "a.txt")
    written = Target(uri, Encoded("utf-16"), LocalStore(), Owner())
    written.dump("grün")
    sidecar = written.sidecar()
    assert sidecar is not None
    assert sidecar.artifact.options == {"encoding": "utf-16"}
    assert Target(uri, Encoded(), LocalStore(), Owner()).load() == "grün"
    assert Target(uri, Encoded("latin-1"), LocalStore(), Owner()).load() == "grün"


NOT_SIDECARS: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "not unicode": b"\xff\xfe\xfa",
    "half": b'{"schema_version": 1, "artifact": {',
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "no version": b"{}",
    "old version": b'{"schema_version": 0}',
    "new version": b'{"schema_version": 3}',
    "no digest": b'{"schema_version": 2}',
    "text version": b'{"schema_version": "1"}',
    "no artifact": b'{"schema_version": 1}',
    "artifact is a list": b'{"schema_version": 1, "artifact": []}',
    "artifact is empty": b'{"schema_version": 1, "artifact": {}}',
}


@pytest.mark.parametrize("text", NOT_SIDECARS.values(), ids=NOT_SIDECARS)
def test_what_is_no_sidecar_does_not_count(target: Target, text: bytes) -> None:
    target.dump(SMALL)
    sidecar_file(target).write_bytes(text)
    state = target.state()
    assert not state.complete
    assert "sidecar" in state.reason
    assert not target.state().readable
    with pytest.raises(CorruptArtifactError, match="the sidecar"):
        target.load()
    target.dump("again")
    assert target.load() == "again"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("uri", 1),
        ("uri", None),
        ("format", []),
        ("bytes", "5"),
        ("bytes", None),
        ("bytes", 1.5),
        ("sha256", 3),
        ("type", None),
    ],
)
def test_a_sidecar_with_a_wrong_part_does_not_count(target: Target, name: str, wrong: object) -> None:
    target.dump(SMALL)
    edit(target, lambda content: content["artifact"].update({name: wrong}))
    assert f"its artifact is not as the schema says ({name})" in target.state().reason
    with pytest.raises(CorruptArtifactError):
        target.load()


@pytest.mark.parametrize("wrong", [5, True, "abc", {"a": 1}, [1], [[]]])
def test_a_sidecar_with_wrong_replacements_does_not_count(target: Target, wrong: object) -> None:
    target.dump(SMALL)
    edit(target, lambda content: content.update(replaces=wrong))
    assert not target.state().complete


def test_a_sidecar_that_is_nested_without_end_does_not_count(target: Target) -> None:
    target.dump(SMALL)
    sidecar_file(target).write_bytes(b"[" * 200_000)
    assert not target.exists()


@given(
    data=st.binary(max_size=100)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_no_sidecar_whatever_it_holds_breaks_a_look(tmp_path: Path, data: bytes) -> None:
    target = target_at(tmp_path / "a.json")
    target.dump(SMALL)
    sidecar_file(target).write_bytes(data)
    assert not target.exists()
    with pytest.raises(CorruptArtifactError):
        target.load()


def test_the_sidecar_of_another_artifact_does_not_count(target: Target, tmp_path: Path) -> None:
    other = target_at(tmp_path / "b.json")
    for each in (target, other):
        each.dump(SMALL)
    sidecar_file(other).replace(sidecar_file(target))
    assert target.state().reason == "the sidecar names another artifact, b.json"
    with pytest.raises(MissingArtifactError, match=r"cannot be used: the sidecar names another artifact"):
        target.load()


def test_the_artifact_of_another_task_does_not_count(target: Target) -> None:
    target.dump(SMALL)
    same_file = target_at(Path(target.uri), owner=Owner("b" * 32))
    assert same_file.state().reason == f"the artifact was made by another task id, {'a' * 32}"
    assert not same_file.state().readable
    with pytest.raises(MissingArtifactError, match="was made by another task id"):
        same_file.load()
    same_file.dump("mine")
    assert not target.exists()
    assert same_file.load() == "mine"


def test_a_workspace_may_be_moved(target: Target, tmp_path: Path) -> None:
    target.dump(SMALL)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in (Path(target.uri), sidecar_file(target)):
        file.rename(moved / file.name)
    assert target_at(moved / "a.json").load() == SMALL


def test_looking_changes_nothing(target: Target) -> None:
    target.dump(SMALL)
    os.truncate(target.uri, 2)
    before = {path: path.read_bytes() for path in Path(target.uri).parent.rglob("*") if path.is_file()}
    for look in (target.state, target.exists, target.sidecar):
        look()
    assert {path: path.read_bytes() for path in Path(target.uri).parent.rglob("*") if path.is_file()} == before


def test_removing_takes_both_files(target: Target) -> None:
    target.dump(SMALL)
    assert target.remove() is True
    assert target.remove() is False
    assert not Path(target.uri).exists()
    assert not sidecar_file(target).exists()


def test_targets_are_equal_by_uri(tmp_path: Path) -> None:
    assert target_at(tmp_path / "a.json") == target_at(tmp_path / "a.json", owner=Owner("b" * 32))
    assert target_at(tmp_path / "a.json") != target_at(tmp_path / "b.json")
    assert len({target_at(tmp_path / "a.json"), target_at(tmp_path / "a.json")}) == 1


def test_what_differs_in_anything_but_the_uri_is_equal_and_the_words_are_few(tmp_path: Path) -> None:
    target = target_at(tmp_path / "a.json")
    for other in (
        replace(target, others=(target_at(tmp_path / "b.json"),)),
        replace(target, owner=None),
        replace(target, store=LocalStore()),
        replace(target, checks=Checks(fail_on_empty=True)),
        replace(target, format=format_for("a.pkl")),
    ):
        assert other == target
        assert hash(other) == hash(target)
        assert repr(other) == f"Target(uri={target.uri!r}, format={other.format!r})"


@pytest.mark.parametrize("left", ["artifact", "sidecar"])
def test_removing_takes_what_there_is(target: Target, left: str) -> None:
    target.dump(SMALL)
    (sidecar_file(target) if left == "artifact" else Path(target.uri)).unlink()
    assert target.remove() is True
    assert target.remove() is False
    assert not Path(target.uri).exists()
    assert not sidecar_file(target).exists()


def test_only_a_complete_artifact_is_marked_for_recomputation(target: Target) -> None:
    target.begin_replacement()
    assert not sidecar_file(target).exists()
    target.dump(SMALL)
    os.truncate(target.uri, 2)
    before = sidecar_file(target).read_bytes()
    target.begin_replacement()
    assert sidecar_file(target).read_bytes() == before
    target.dump(SMALL)
    target.begin_replacement()
    marked = sidecar_file(target).read_bytes()
    target.begin_replacement()
    assert sidecar_file(target).read_bytes() == marked
    assert target.load() == SMALL
    assert not target.exists()


def test_other_workspaces_count_where_the_own_has_nothing_to_read(tmp_path: Path) -> None:
    own, first, second = (target_at(tmp_path / name / "a.json") for name in ("own", "first", "second"))
    both = replace(own, others=(first, second))
    assert both.state() == own.state()
    assert both.located() is both
    second.dump("second")
    Path(first.uri).parent.mkdir()
    Path(first.uri).write_text('"no sidecar"')
    state = both.state()
    assert (state.complete, state.reason) == (True, f"in {tmp_path}/second")
    assert both.located() is second
    assert both.load() == "second"
    own.dump("own")
    assert (both.state(), both.load(), both.located()) == (own.state(), "own", both)
    own.begin_replacement()  # readable, but not complete: the other workspace does not count
    assert not both.exists()
    assert (both.state(), both.load(), both.located()) == (own.state(), "own", both)


def test_what_cannot_be_dumped_leaves_the_old_artifact(target: Target, leftovers: Any) -> None:
    target.dump(SMALL)
    with pytest.raises(FormatError, match=r"could not dump to .*/a\.json: the json format cannot write"):
        target.dump(object())
    assert target.load() == SMALL
    assert leftovers(Path(target.uri).parent) == []


class Fixed(TaskOnKart[int]):
    n: int = IntParameter()

    def output(self) -> Target:
        return self.make_target("fixed.json", use_unique_id=False)


def test_tasks_that_share_a_file_see_only_their_own(workspace: Path) -> None:
    one, two = Fixed(n=1), Fixed(n=2)
    one.dump(1)
    assert one.complete()
    assert not two.complete()
    two.dump(2)
    assert not one.complete()
    assert two.output().load() == 2
    with pytest.raises(MissingArtifactError):
        one.output().load()
    assert sorted(path.name for path in workspace.iterdir() if path.is_file()) == ["fixed.json", "fixed.json.kart.json"]


class Scripted(LocalStore):
    """A store that does something just before a step: what a concurrent process may do then."""

    def __init__(self, **before: Callable[[], object]) -> None:
        super().__init__()
        self._before = before
        self._opened = 0

    def _before_opening(self, uri: str) -> None:
        if not uri.endswith(".kart.json"):
            self._opened += 1
            self._before.pop(f"open_{self._opened}", lambda: None)()

    def open(self, uri: str) -> Any:
        self._before_opening(uri)
        return super().open(uri)

    def read(self, uri: str) -> Any:
        self._before_opening(uri)
        return super().read(uri)

    def stat(self, uri: str) -> Any:
        self._before.pop("stat", lambda: None)()
        return super().stat(uri)


@VALUES
def test_a_replacement_between_sidecar_and_artifact_is_noticed(tmp_path: Path, value: str) -> None:
    writer = target_at(tmp_path / "a.json")
    writer.dump(value)
    reader = target_at(tmp_path / "a.json", Scripted(open_1=lambda: writer.dump(value + "!")))
    assert reader.load() == value + "!"


def test_an_artifact_is_readable_all_the_time_it_is_replaced(tmp_path: Path) -> None:
    writer = target_at(tmp_path / "a.json")
    writer.dump("old")
    reader = target_at(tmp_path / "a.json", Scripted(stat=lambda: writer.dump("newer")))
    assert reader.state().readable


def test_a_replacement_that_is_taken_back_is_no_corruption(tmp_path: Path) -> None:
    writer = target_at(tmp_path / "a.json")
    writer.dump("old")

    class Store(LocalStore):
        done = False

        def read(self, uri: str) -> Any:
            if uri.endswith(".kart.json") or self.done:
                return super().read(uri)
            self.done = True
            writer.dump("new")
            content = super().read(uri)
            writer.dump("old")
            return content

    store = Store()
    assert target_at(tmp_path / "a.json", store).load() == "old"
    assert store.done


def test_the_recorded_checksum_is_that_of_what_was_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    target_at(path).dump(LARGE)
    loaded: list[tuple[Any, str]] = []

    class ReadWhilePublishing(LocalStore):
        def upload(self, uri: str, **options: Any) -> Any:
            upload = super().upload(uri, **options)
            if not uri.endswith(".kart.json"):
                upload.publish = functools.partial(read, upload.publish)  # type: ignore[method-assign]
            return upload

    def read(publish: Callable[[Any], str], expected: Any) -> str:
        versions: list[str] = []
        with Publication({}) as publication:
            found = target_at(path, Scripted(open_1=lambda: versions.append(publish(expected)))).load()
        loaded.append((found, publication.input_checksums[str(path)]))
        return versions[0]

    target_at(path, ReadWhilePublishing()).dump(LARGE + "new")
    ((found, recorded),) = loaded
    assert recorded == hashlib.sha256(json.dumps(found).encode() + b"\n").hexdigest()
