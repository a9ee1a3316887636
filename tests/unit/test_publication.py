from __future__ import annotations

import contextvars
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import Target
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import ConfigurationError, FormatError, StorageError
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore


def target_at(path: Path) -> Target:
    return Target(str(path), format_for(path.name), LocalStore())


@pytest.fixture
def targets(tmp_path: Path) -> list[Target]:
    return [target_at(tmp_path / f"{name}.json") for name in "ab"]


def test_outputs_appear_together_when_published(targets: list[Target], leftovers: Any, tmp_path: Path) -> None:
    with Publication({target.uri: target.store for target in targets}) as publication:
        assert publication.missing == [target.uri for target in targets]
        for number, target in enumerate(targets):
            target.dump(number)
            assert not target.exists()
        assert publication.missing == []
        sidecars = publication.publish({"task": {"unique_id": "x"}})
    assert [target.load() for target in targets] == [0, 1]
    assert [sidecar.artifact.uri for sidecar in sidecars] == [target.uri for target in targets]
    assert leftovers(tmp_path) == []


def test_what_is_not_published_is_discarded(targets: list[Target], leftovers: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Publication({target.uri: target.store for target in targets}):
        targets[0].dump(1)
        raise ZeroDivisionError
    assert not targets[0].exists()
    assert leftovers(tmp_path) == []
    assert Publication.current() is None


def test_the_last_of_two_dumps_counts(targets: list[Target], leftovers: Any, tmp_path: Path) -> None:
    with Publication({targets[0].uri: targets[0].store}) as publication:
        targets[0].dump("first")
        targets[0].dump("second")
        publication.publish({})
    assert targets[0].load() == "second"
    assert leftovers(tmp_path) == []


def test_a_dump_that_fails_leaves_the_one_before(targets: list[Target], leftovers: Any, tmp_path: Path) -> None:
    with Publication({targets[0].uri: targets[0].store}) as publication:
        targets[0].dump("first")
        with pytest.raises(FormatError):
            targets[0].dump(object())
        publication.publish({})
    assert targets[0].load() == "first"
    assert leftovers(tmp_path) == []


def test_other_targets_are_published_at_once(targets: list[Target]) -> None:
    with Publication({targets[0].uri: targets[0].store}):
        targets[1].dump("elsewhere")
        assert targets[1].load() == "elsewhere"
    assert not targets[0].exists()


def test_what_was_loaded_is_recorded(targets: list[Target]) -> None:
    targets[0].dump("input")
    with Publication({targets[1].uri: targets[1].store}) as publication:
        targets[0].load()
    sidecar = targets[0].sidecar()
    assert sidecar is not None
    assert publication.input_checksums == {targets[0].uri: sidecar.artifact.sha256}


def test_publications_nest(targets: list[Target]) -> None:
    with Publication({targets[0].uri: targets[0].store}) as outer:
        with Publication({targets[1].uri: targets[1].store}) as inner:
            assert Publication.current() is inner
        assert Publication.current() is outer


def test_a_publication_that_is_refused_leaves_no_upload(targets: list[Target], leftovers: Any, tmp_path: Path) -> None:
    Path(targets[0].uri).mkdir(parents=True)
    with pytest.raises(StorageError, match="a directory is in the way"):
        targets[0].dump(1)
    assert leftovers(tmp_path) == []


def test_while_it_is_replaced_an_artifact_is_readable_but_not_complete(tmp_path: Path) -> None:
    target = target_at(tmp_path / "a.json")
    seen = []

    class Watched(LocalStore):
        def upload(self, uri: str, **options: Any) -> Any:
            seen.append((target.exists(), target.state().readable, target.load() if target.state().readable else None))
            return super().upload(uri, **options)

    target.dump("old")
    Target(target.uri, target.format, Watched()).dump("new")
    assert seen == [(True, True, "old"), (True, True, "old"), (False, True, "new")]
    assert target.exists()
    assert target.load() == "new"


def test_the_same_bytes_again_need_no_replacement(tmp_path: Path) -> None:
    target = target_at(tmp_path / "a.json")
    uploads = []

    class Watched(LocalStore):
        def upload(self, uri: str, **options: Any) -> Any:
            uploads.append(uri)
            return super().upload(uri, **options)

    for _ in range(2):
        Target(target.uri, target.format, Watched()).dump("same")
    assert uploads == [target.uri, f"{target.uri}.kart.json"] * 2


READ = """
import pathlib, sys
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.artifacts.target import Target
target = Target(sys.argv[1], format_for("a.txt"), LocalStore())
seen = set()
count = 0
print("ready", flush=True)
while not pathlib.Path(sys.argv[2]).exists():
    value = target.load()
    assert len(value) == 5000 + int(value[:4]) and set(value[4:]) == {"x"}, value[:20]
    seen.add(value[:4])
    count += 1
print(count, len(seen))
"""


def test_readers_always_load_one_whole_value(tmp_path: Path, loops: Any, python: Any) -> None:
    target = target_at(tmp_path / "a.txt")

    def value(number: int) -> str:
        return f"{number:04}" + "x" * (4996 + number)

    def read() -> None:
        found = target.load()
        assert found == value(int(found[:4]))

    end = tmp_path / "end"
    said: list[str] = []
    process = threading.Thread(target=lambda: said.append(python("-c", READ, target.uri, end)))
    target.dump(value(0))
    process.start()
    try:
        with loops(read, read) as reading:
            for number in range(1, 201):
                target.dump(value(number))
            while reading.rounds < 50:
                pass
    finally:
        end.touch()
        process.join()
    assert target.load() == value(200)
    assert said
    assert int(said[0].split()[1]) > 0


# Each step runs in a fork of one process, so that dozens of deaths take about a second.
DEATHS = """
import json, os, pathlib, shutil, signal, sys
from airflow_kart import Target, TaskOnKart, build
from airflow_kart.exceptions import MissingArtifactError
from airflow_kart.formats import format_for
from airflow_kart.runtime.runner import run_task
from airflow_kart.tasks.provenance import TaskOwner
from airflow_kart.storage import LocalStore
from airflow_kart.tasks.provenance import TaskOwner

FILE = os.path.abspath("first/a.txt")

class DyingStore(LocalStore):
    \"\"\"Kills its process just before, or just after, the n-th publishing.\"\"\"
    def __init__(self, when):
        super().__init__()
        self.when, self.count = when, 0
    def upload(self, uri, **options):
        upload = super().upload(uri, **options)
        publish = upload.publish
        def counted(expected):
            self.count += 1
            if self.when == f"before-{self.count}":
                os.kill(os.getpid(), signal.SIGKILL)
            version = publish(expected)
            if self.when == f"after-{self.count}":
                os.kill(os.getpid(), signal.SIGKILL)
            return version
        upload.publish = counted
        return upload

class Task(TaskOnKart):
    value, store = "recovered", LocalStore()
    def output(self):
        return Target(FILE, format_for(FILE), self.store, owner=TaskOwner(self))
    def run(self):
        self.dump(self.value)

def dump(value, when):
    Task.value, Task.store = value, DyingStore(when)
    run_task(Task(), force=True)

def look():
    target = Task().output()
    complete, readable = target.exists(), target.state().readable
    try:
        found = target.load()
    except MissingArtifactError:
        found = None
    built = build(Task())
    left = [str(path) for path in pathlib.Path("ws").rglob("*") if path.is_file() and ".kart-uploads" in path.parts and path.suffix != ".lock"]
    pathlib.Path("seen.json").write_text(json.dumps([complete, readable, found, built, left]))

def in_a_fork(work, *arguments):
    child = os.fork()
    if not child:
        code = 1
        try:
            work(*arguments)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def after(*steps):
    shutil.rmtree("ws", ignore_errors=True)
    for value, when in steps:
        assert in_a_fork(dump, value, when) == (0 if when == "never" else -9), (value, when)
    assert in_a_fork(look) == 0
    return json.loads(pathlib.Path("seen.json").read_text())

look()  # loads what the forks need
FILE = os.path.abspath("ws/a.txt")
print(json.dumps([after(*steps) for steps in json.loads(sys.argv[1])]))
"""
MOMENTS = [f"{side}-{number}" for number in (1, 2, 3) for side in ("before", "after")]


@pytest.fixture
def after(python: Any, script: Any) -> Any:
    """Dump values one after the other, each dying at its moment; then look: complete, readable, loaded, built, leftovers."""
    file = script("deaths.py", DEATHS)
    return lambda *lives: json.loads(python(file, json.dumps(lives)))


def test_a_replacement_can_die_anywhere(after: Any) -> None:
    seen = dict(zip(MOMENTS, after(*([["old!", "never"], ["new", when]] for when in MOMENTS)), strict=True))
    assert [found[:4] for found in seen.values()] == [
        [True, True, "old!", "old!"],
        [False, True, "old!", "recovered"],
        [False, True, "old!", "recovered"],
        [False, True, "new", "recovered"],
        [False, True, "new", "recovered"],
        [True, True, "new", "new"],
    ]
    assert [found[4] for found in seen.values() if found[3] == "recovered"] == [[]] * 4


def test_a_first_publication_can_die_anywhere(after: Any) -> None:
    *broken, whole = after(*([["new", when]] for when in MOMENTS[:4]))
    assert broken == [[False, False, None, "recovered", []]] * 3
    assert whole == [True, True, "new", "new", []]


def test_dying_again_and_again_leaves_something_readable(after: Any) -> None:
    deaths = [["old", "never"], ["second", "after-1"], ["third", "after-1"], ["fourth", "after-2"], ["old", "before-3"]]
    seen = after(*(deaths[:count] for count in range(2, 6)))
    assert [found[2] for found in seen] == ["old", "old", "fourth", "old"]
    assert [found[:2] for found in seen] == [[False, True]] * 4
    assert {found[3] for found in seen} == {"recovered"}


@pytest.mark.parametrize("runs", [0, 1, 2, 3])
def test_a_thread_of_its_own_finds_the_only_run_that_expects_an_output(runs: int, tmp_path: Path) -> None:
    target, other = target_at(tmp_path / "a.json"), target_at(tmp_path / "b.json")

    def ask() -> object:
        try:
            return Publication.expecting(target.uri)
        except ConfigurationError as error:
            return str(error)

    with ExitStack() as entered, ThreadPoolExecutor(1) as pool:
        entered.enter_context(Publication({other.uri: other.store}))
        expecting = [entered.enter_context(Publication({target.uri: target.store})) for _ in range(runs)]
        found = pool.submit(contextvars.Context().run, ask).result()
    if runs > 1:
        assert found == (
            f"two runs in this process make {target.uri} and cannot tell whose thread this is; dump in run()'s own"
        )
    else:
        assert found is (expecting[0] if expecting else None)
