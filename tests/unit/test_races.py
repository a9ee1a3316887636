"""Several runs of one task that publish at the same time, with and without turns, and writers that die on the way."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.owner import Owner
from harness.store_conformance import put

from airflow_kart import Target
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import ArtifactError, StorageError
from airflow_kart.formats import format_for
from airflow_kart.storage import ANY, LocalStore, MemoryStore, Store

UNIQUE_ID = "a" * 32


class Died(BaseException):
    """What a process that is killed does not live to see."""


class Remote(MemoryStore):
    """A store as on a network: no turns, requests take a while, and a writer may die between any two of them."""

    turns_exclude = False

    def __init__(self) -> None:
        super().__init__()
        self.lives = threading.local()
        self.slow = 0.0

    @contextlib.contextmanager
    def publishing(self, uris: Iterable[str]) -> Iterator[None]:
        yield

    def stat(self, uri: str) -> Any:
        self._request()
        return super().stat(uri)

    def read(self, uri: str) -> Any:
        self._request()
        return super().read(uri)

    def put(self, key: str, data: bytes, expected: Any) -> str:
        self._request()
        version = super().put(key, data, expected)
        self._request()
        return version

    def _request(self) -> None:
        left = getattr(self.lives, "left", None)
        if left is not None:
            self.lives.left = left - 1
            if left <= 0:
                raise Died
        if self.slow:
            time.sleep(random.uniform(0, self.slow))


def target_in(store: Store, name: str = "memory://races/a.json", owner: Any = None) -> Target:
    return Target(name, format_for(name), store, owner or Owner())


def run(store: Store, value: Any, names: list[str], between: Any = None, owner: Any = None) -> Publication:
    targets = [target_in(store, name, owner) for name in names]
    with Publication({target.uri: store for target in targets}) as publication:
        for target in targets:
            target.dump(value)
        if between is not None:
            between()
        publication.publish((owner or Owner()).describe({}))
    return publication


A, B = "memory://races/a.json", "memory://races/b.json"


@pytest.fixture(params=["memory", "remote", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    stores: dict[str, Store] = {"memory": MemoryStore(), "remote": Remote(), "local": LocalStore()}
    return stores[request.param]


@pytest.fixture
def names(store: Store, tmp_path: Path) -> list[str]:
    return [str(tmp_path / "a.json"), str(tmp_path / "b.json")] if isinstance(store, LocalStore) else [A, B]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_kart.artifacts.publication._PATIENCE", 0.3)


def test_what_another_run_published_meanwhile_stays(store: Store, names: list[str]) -> None:
    late = run(store, "late", names, between=lambda: run(store, "first", names))
    assert late.adopted
    assert [target_in(store, name).load() for name in names] == ["first", "first"]


def test_what_was_there_before_is_replaced(store: Store, names: list[str]) -> None:
    run(store, "old", names)
    again = run(store, "new", names)
    assert not again.adopted
    assert [target_in(store, name).load() for name in names] == ["new", "new"]


def test_what_is_half_there_is_replaced_as_a_whole(store: Store, names: list[str]) -> None:
    late = run(store, "late", names, between=lambda: run(store, "first", names[:1]))
    assert not late.adopted
    assert [target_in(store, name).load() for name in names] == ["late", "late"]


def test_another_tasks_artifact_is_no_reason_to_leave_it(store: Store, names: list[str]) -> None:
    other = Owner("b" * 32)
    late = run(store, "late", names[:1], between=lambda: run(store, "other", names[:1], owner=other))
    assert not late.adopted
    assert target_in(store, names[0]).load() == "late"
    assert not target_in(store, names[0], other).exists()


def test_a_marked_artifact_is_replaced(store: Store, names: list[str]) -> None:
    run(store, "old", names)
    for name in names:
        target_in(store, name).begin_replacement()
    assert not run(store, "new", names).adopted
    assert target_in(store, names[0]).load() == "new"


@pytest.mark.parametrize("steps", range(14))
def test_a_writer_that_died_anywhere_is_replaced(steps: int) -> None:
    store = Remote()
    run(store, "old", [A])
    store.lives.left = steps
    died = False
    try:
        run(store, "dying", [A])
    except Died:
        died = True
    del store.lives.left
    state = target_in(store, A).state()
    if state.readable:
        assert target_in(store, A).load() in ("old", "dying")
    time.sleep(0.35)
    run(store, "recovered", [A])
    assert target_in(store, A).exists()
    assert target_in(store, A).load() == "recovered"
    assert died or steps >= 8


def test_a_writer_between_its_steps_is_waited_for() -> None:
    """One whose artifact is there and whose sidecar is about to be is not overwritten."""
    store = Remote()
    waiting = threading.Event()
    original = store.put

    def slow_put(key: str, data: bytes, expected: Any) -> str:
        if key.endswith(".kart.json") and threading.current_thread().name == "slow":
            waiting.set()
            time.sleep(0.2)
        return original(key, data, expected)

    store.put = slow_put  # type: ignore[method-assign]
    slow = threading.Thread(target=run, args=(store, "slow", [A]), name="slow")

    def begin_slow() -> None:
        slow.start()
        waiting.wait()

    late = run(store, "late", [A], between=begin_slow)
    slow.join()
    assert late.adopted
    assert target_in(store, A).load() == "slow"


def half_publish(store: Remote, name: str, age: float) -> None:
    """Leave an artifact without its sidecar, as a writer of some seconds ago does that died, or is slow."""
    put(store, name, b'"half"')
    key = name.removeprefix("memory://")
    data, stat = store._objects[key]
    modified = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=age)
    store._objects[key] = (data, stat._replace(modified=modified))


@pytest.mark.parametrize("half", [[A], [B], [A, B]], ids=["first", "second", "both"])
@pytest.mark.parametrize(("age", "least", "most"), [(0, 1.0, 3.5), (0.4, 0.6, 3.1), (60, 0, 0.6)])
def test_a_writer_between_its_steps_is_waited_for_no_longer_than_it_may_take(
    half: list[str], age: float, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_kart.artifacts.publication._PATIENCE", 1.0)
    store, began = Remote(), 0.0

    def between() -> None:
        nonlocal began
        for name in half:
            half_publish(store, name, age)
        began = time.monotonic()

    late = run(store, "late", [A, B], between)
    assert least <= time.monotonic() - began <= most
    assert not late.adopted
    assert [target_in(store, name).load() for name in (A, B)] == ["late", "late"]


@pytest.mark.parametrize("suffix", ["", ".kart.json"])
@pytest.mark.parametrize("name", [A, B], ids=["first", "second"])
@pytest.mark.parametrize("replaced", [False, True], ids=["new", "replaced"])
def test_a_conflict_at_any_step_ends_in_one_runs_outputs(name: str, suffix: str, replaced: bool) -> None:
    store = Remote()
    if replaced:
        run(store, "old", [A, B])
    original, struck = store.put, threading.Event()

    def put_after_another(key: str, data: bytes, expected: Any) -> str:
        if f"memory://{key}" == name + suffix and not struck.is_set():
            struck.set()
            run(store, "quick", [A, B])
        return original(key, data, expected)

    def strike() -> None:
        store.put = put_after_another  # type: ignore[method-assign]

    late = run(store, "late", [A, B], between=strike)
    assert struck.is_set()
    loaded = [target_in(store, each).load() for each in (A, B)]
    assert loaded == (["quick", "quick"] if late.adopted else ["late", "late"])


@pytest.mark.parametrize("dying", [False, True], ids=["all live", "some die"])
def test_many_at_once_never_mix(dying: bool) -> None:
    """Whatever is complete can be loaded, and in the end something is."""
    store = Remote()
    store.slow = 0.004
    errors: list[BaseException] = []
    for number in range(12):
        names = [f"memory://races/{number}-a.json", f"memory://races/{number}-b.json"]
        ended = threading.Event()

        def write(writer: int, names: list[str] = names) -> None:
            if dying and writer % 2:
                store.lives.left = random.randrange(4, 30)
            try:
                run(store, [writer] * 50, names)
            except (Died, StorageError):
                pass
            except BaseException as error:
                errors.append(error)

        def look(names: list[str] = names, ended: threading.Event = ended) -> None:
            try:
                while not ended.is_set():
                    for name in names:
                        if target_in(store, name).state().complete:
                            found = target_in(store, name).load()
                            assert found == [found[0]] * 50
            except ArtifactError as error:
                if not dying:  # who takes a dead one's place while it is not dead leaves a moment without a match
                    errors.append(error)
            except BaseException as error:
                errors.append(error)

        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        reader = threading.Thread(target=look)
        reader.start()
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()
        ended.set()
        reader.join()
        store.slow = 0.0
        time.sleep(0.31 if dying else 0)
        run(store, "end", names)
        assert [target_in(store, name).load() for name in names] == ["end", "end"]
        store.slow = 0.004
    assert errors == []


def test_an_expected_version_is_anything_by_default() -> None:
    store = MemoryStore()
    upload = store.upload(A)
    upload.write(b"1")
    upload.publish()
    upload = store.upload(A)
    upload.write(b"2")
    assert upload.publish(ANY)
