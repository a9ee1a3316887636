"""Several outputs of one task are one result: whoever loads some of them gets outputs of one run."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from airflow_kart import IntParameter, StrParameter, Target, TaskInstanceParameter, TaskOnKart, WrapperTask, build
from airflow_kart.artifacts import together
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import MissingArtifactError, ObjectChangedError
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.tasks.outputs import load_nested
from airflow_kart.tasks.provenance import TaskOwner

VALUE: dict[str, Any] = {"run": 0, "meanwhile": None}


@pytest.fixture(autouse=True)
def _in_workspace(workspace: Path) -> None:
    VALUE.update(run=0, meanwhile=None)


class Train(TaskOnKart[Any]):
    """Two outputs in two directories, which both hold the number of their run."""

    def output(self) -> dict[str, Target]:
        return {"metrics": self.make_target("metrics/m.json"), "model": self.make_target("models/m.pkl")}

    def run(self) -> None:
        VALUE["run"] += 1
        self.dump({"run": VALUE["run"]}, "metrics")
        self.dump({"run": VALUE["run"]}, "model")


class Card(TaskOnKart[Any]):
    def requires(self) -> Train:
        return Train()

    def run(self) -> None:
        first = self.load(Train().output()["metrics"])
        meanwhile()
        self.dump([first, self.load(Train().output()["model"])])


class Group(WrapperTask):
    def requires(self) -> Train:
        return Train()


def meanwhile() -> None:
    if VALUE["meanwhile"] is not None:
        VALUE["meanwhile"]()


def train_again() -> None:
    VALUE["meanwhile"] = None
    build(Train(), rerun=["Train"])


class Watched(LocalStore):
    """A store that does something once, just before an artifact of this name is opened."""

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        super().__init__()
        self._name = name
        self._action: Callable[[], object] | None = action

    def _before_opening(self, uri: str) -> None:
        if f"/{self._name}/" in uri and not uri.endswith(".kart.json") and self._action is not None:
            action, self._action = self._action, None
            action()

    def open(self, uri: str) -> Any:
        self._before_opening(uri)
        return super().open(uri)

    def read(self, uri: str) -> Any:
        self._before_opening(uri)
        return super().read(uri)


def through(store: LocalStore) -> dict[str, Target]:
    """Return the targets of Train as a reader with another store has them."""
    owner = TaskOwner(Train())
    return {key: Target(target.uri, format_for(target.uri), store, owner) for key, target in Train().output().items()}


def publications() -> list[str | None]:
    sidecars = [target.sidecar() for target in Train().output().values()]
    return [sidecar.publication for sidecar in sidecars if sidecar is not None]


def test_the_outputs_of_a_run_share_a_publication() -> None:
    build(Train())
    first = publications()
    assert first[0] == first[1] is not None
    build(Train(), rerun=["Train"])
    again = publications()
    assert again[0] == again[1] not in (None, first[0])


def test_an_object_that_is_dumped_outside_of_a_run_has_none() -> None:
    build(Train())
    Train().output()["model"].dump("by hand")
    assert publications()[1] is None
    assert Train().complete()
    assert load_nested(Train().output()) == {"metrics": {"run": 1}, "model": "by hand"}


@pytest.mark.parametrize("name", ["metrics", "models"])
def test_what_is_made_again_during_a_load_is_loaded_again(name: str) -> None:
    build(Train())
    found = load_nested(through(Watched(name, train_again)))
    assert found == {"metrics": {"run": 2}, "model": {"run": 2}}


def test_it_is_loaded_again_as_often_as_it_is_made_again() -> None:
    build(Train())
    stores = [Watched("models", train_again)]
    for _ in range(3):
        stores[-1]._action = lambda before=stores[-1]._action: (before(), build(Train(), rerun=["Train"]))
    found = load_nested(through(stores[-1]))
    assert found["metrics"] == found["model"] == {"run": 5}


def test_parts_of_two_runs_are_an_error() -> None:
    build(Train())
    parts = together.load_parts_together(through(Watched("models", train_again)).values())
    assert next(parts) == {"run": 1}
    with pytest.raises(ObjectChangedError, match=r"another run replaced .*; load them again") as caught:
        list(parts)
    assert caught.value.uri == Train().output()["model"].uri


@pytest.mark.parametrize("grouped", [False, True], ids=["required", "in a wrapper"])
def test_a_run_that_read_outputs_of_two_runs_publishes_nothing(grouped: bool) -> None:
    class Grouped(Card):
        def requires(self) -> Any:
            return Group() if grouped else Train()

    build(Train())
    VALUE["meanwhile"] = train_again
    with pytest.raises(ObjectChangedError, match="the result would mix two runs; run the task again"):
        build(Grouped())
    assert not Grouped().complete()
    assert build(Grouped()) == [{"run": 2}, {"run": 2}]


def test_reading_one_output_twice_across_a_rerun_publishes_nothing() -> None:
    class Twice(TaskOnKart[Any]):
        def requires(self) -> Train:
            return Train()

        def run(self) -> None:
            one = self.load(Train().output()["model"])
            meanwhile()
            self.dump([one, self.load(Train().output()["model"])])

    build(Train())
    VALUE["meanwhile"] = train_again
    with pytest.raises(ObjectChangedError):
        build(Twice())


def test_two_keys_that_lead_to_one_task_are_of_one_run() -> None:
    class Both(TaskOnKart[Any]):
        def requires(self) -> Any:
            return {"one": Train(), "other": Train()}

        def run(self) -> None:
            self.dump(self.load())

    build(Train())
    watched = through(Watched("models", train_again))
    loaded = together.load_together([*watched.values(), *through(LocalStore()).values()])
    assert loaded == [{"run": 2}] * 4
    assert build(Both()) == {key: {"metrics": {"run": 2}, "model": {"run": 2}} for key in ("one", "other")}


class Dies(LocalStore):
    """A store whose writer dies just before the n-th publication of an object."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left = left

    def upload(self, uri: str, **options: Any) -> Any:
        upload = super().upload(uri, **options)
        publish = upload.publish

        def dying(expected: Any) -> str:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
            return publish(expected)

        upload.publish = dying  # type: ignore[method-assign, assignment]
        return upload


def replace_and_die(steps: int, values: tuple[Any, Any] = ({"run": "new"}, {"run": "new"})) -> None:
    targets = through(Dies(steps))
    with (
        pytest.raises(KeyboardInterrupt),
        Publication({target.uri: target.store for target in targets.values()}) as publication,
    ):
        for target, value in zip(targets.values(), values, strict=True):
            target.dump(value)
        publication.publish(TaskOwner(Train()).describe({}))


OLD, NEW = {"run": 1}, {"run": "new"}


@pytest.mark.parametrize(
    ("steps", "found"),
    [(0, [OLD, OLD]), (1, [OLD, OLD]), (2, [OLD, OLD]), (3, None), (4, [NEW, NEW]), (5, [NEW, NEW])],
)
def test_a_replacement_that_dies_is_of_one_run_or_an_error(steps: int, found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two interim sidecars, two artifacts, two final sidecars: whichever was the last step."""
    monkeypatch.setattr(together, "_PATIENCE", 0.2)
    build(Train())
    replace_and_die(steps)
    assert Train().complete() is (steps == 0)
    if found is None:
        with pytest.raises(MissingArtifactError, match="are of different runs, the last of which was interrupted"):
            load_nested(Train().output())
    else:
        assert list(load_nested(Train().output()).values()) == found
    if steps:
        assert build(Train()) == {"metrics": {"run": 2}, "model": {"run": 2}}


@pytest.mark.parametrize("steps", range(6))
def test_bytes_that_stay_the_same_are_of_both_runs(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first output is the same in both runs, so that the second alone tells them apart: nothing is ever mixed."""
    monkeypatch.setattr(together, "_PATIENCE", 0.2)
    build(Train())
    replace_and_die(steps, (OLD, NEW))
    assert list(load_nested(Train().output()).values()) == [OLD, OLD if steps < 4 else NEW]


def test_dying_again_and_again_mixes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_PATIENCE", 0.2)
    build(Train())
    for steps in (2, 1, 2):
        replace_and_die(steps)
    assert list(load_nested(Train().output()).values()) == [OLD, OLD]
    replace_and_die(3)
    replace_and_die(2)
    with pytest.raises(MissingArtifactError):
        load_nested(Train().output())
    assert build(Train()) == {"metrics": {"run": 2}, "model": {"run": 2}}


def test_a_load_waits_for_a_writer_in_the_midst_of_its_steps() -> None:
    build(Train())
    targets = through(LocalStore())
    with Publication({target.uri: target.store for target in targets.values()}) as publication:
        for target in targets.values():
            target.dump(NEW)
        staged = publication._staged[targets["model"].uri]
        publish = staged.publish
        loaded: list[Any] = []

        def slow() -> None:
            reader = threading.Thread(target=lambda: loaded.append(load_nested(Train().output())))
            reader.start()
            time.sleep(0.3)
            assert loaded == []
            publish()
            reader.join(10)

        staged.publish = slow  # type: ignore[method-assign]
        publication.publish(TaskOwner(Train()).describe({}))
    assert loaded == [{"metrics": NEW, "model": NEW}]


def test_outputs_of_two_runs_do_not_count(tmp_path: Path) -> None:
    """As a backup that was restored in part leaves them."""
    build(Train())
    model = Path(Train().output()["model"].uri)
    kept = {path: path.read_bytes() for path in (model, Path(f"{model}.kart.json"))}
    build(Train(), rerun=["Train"])
    for path, data in kept.items():
        path.write_bytes(data)
    assert not Train().complete()
    with pytest.raises(MissingArtifactError, match="different runs"):
        load_nested(Train().output())
    assert build(Train()) == {"metrics": {"run": 3}, "model": {"run": 3}}


def test_sidecars_without_a_publication_still_count() -> None:
    build(Train())
    for target in Train().output().values():
        file = Path(f"{target.uri}.kart.json")
        content = {**json.loads(file.read_text()), "schema_version": 1}
        del content["digest"], content["publication"]
        file.write_text(json.dumps(content))
    assert Train().complete()
    assert load_nested(through(Watched("models", train_again))) == {"metrics": {"run": 2}, "model": {"run": 2}}


def test_a_large_number_of_tasks_is_loaded_at_no_more_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Part(TaskOnKart[int]):
        n: int = IntParameter()

        def run(self) -> None:
            self.dump(self.n)

    class Sum(TaskOnKart[int]):
        parts: Any = TaskInstanceParameter(default=Train())

        def requires(self) -> Any:
            return [Part(n=n) for n in range(20)]

        def run(self) -> None:
            self.dump(sum(self.load()))

    looks: list[str] = []
    read = LocalStore.read

    def counted(self: LocalStore, uri: str) -> Any:
        looks.append(os.path.basename(uri))
        return read(self, uri)

    build(Sum())
    monkeypatch.setattr(LocalStore, "read", counted)
    assert load_nested([part.output() for part in Sum().requires()]) == list(range(20))
    assert len(looks) == 20


class Pair(TaskOnKart[dict[str, str]]):
    stamp: ClassVar[str] = "one"

    def output(self) -> dict[str, Target]:
        return {"x": self.make_target("x.json"), "y": self.make_target("y.json")}

    def run(self) -> None:
        self.dump("same", "x")
        self.dump(self.stamp, "y")


class OneOfPair(TaskOnKart[str]):
    key: str = StrParameter()

    def requires(self) -> Pair:
        return Pair()

    def output(self) -> Any:
        return self.input()[self.key]


class BothPassedOn(TaskOnKart[list[str]]):
    def requires(self) -> list[OneOfPair]:
        return [OneOfPair(key="x"), OneOfPair(key="y")]

    def run(self) -> None:
        Pair.stamp = "two"
        build(Pair(), rerun=["Pair"])
        self.dump(self.load())


def test_outputs_that_two_tasks_pass_on_are_of_one_run_though_it_is_made_again_meanwhile(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pair, "stamp", "one")
    assert build(BothPassedOn()) == ["same", "two"]
