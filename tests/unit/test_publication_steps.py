"""A publication of several outputs, where something comes between two of its steps."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.owner import Owner

from airflow_kart import Target, TaskOnKart, build
from airflow_kart.artifacts import publication as publications
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import CorruptArtifactError, ObjectChangedError, StorageError, TargetPathError
from airflow_kart.formats import format_for
from airflow_kart.runtime.plan import make_plan
from airflow_kart.storage import ANY, LocalStore, MemoryStore, Store
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.outputs import load_nested

NAMES = ("memory://steps/a/one.json", "memory://steps/b/two.json")


class Remote(MemoryStore):
    """A store as on a network, without turns, that can do something just before an object is published."""

    turns_exclude = False

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], object]] = {}
        self.published: list[str] = []

    @contextlib.contextmanager
    def publishing(self, uris: Iterable[str]) -> Iterator[None]:
        yield

    def upload(self, uri: str, **options: Any) -> Any:
        upload = super().upload(uri, **options)
        publish = upload.publish

        def after_the_rest(expected: Any = ANY) -> str:
            self.before.pop(uri, lambda: None)()
            version: str = publish(expected)
            self.published.append(uri)
            return version

        upload.publish = after_the_rest  # type: ignore[method-assign]
        return upload


@pytest.fixture
def store() -> Remote:
    return Remote()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publications, "_PATIENCE", 0.3)


def targets_in(store: Store) -> list[Target]:
    return [Target(name, format_for(name), store, Owner()) for name in NAMES]


@contextlib.contextmanager
def run(store: Store, value: object) -> Iterator[Publication]:
    """A run that has dumped both outputs and is about to publish them."""
    targets = targets_in(store)
    with Publication({target.uri: store for target in targets}) as publication:
        for target in targets:
            target.dump(value)
        yield publication


def publish(store: Store, value: object) -> Publication:
    with run(store, value) as publication:
        publication.publish(Owner().describe({}))
    return publication


def loaded(store: Store) -> list[object]:
    return list(load_nested(targets_in(store)))


def write(store: Remote, uri: str, data: bytes) -> None:
    upload = MemoryStore.upload(store, uri)
    upload.write(data)
    upload.publish(ANY)


def sidecars_of(store: Store) -> list[Any]:
    return [target.sidecar() for target in targets_in(store)]


@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("what", ["", ".kart.json"], ids=["artifact", "sidecar"])
def test_another_whole_run_between_two_steps_is_never_mixed_with(store: Remote, of: int, what: str) -> None:
    publish(store, "old")
    store.before[NAMES[of] + what] = lambda: publish(store, "theirs")
    with contextlib.suppress(StorageError):
        publish(store, "ours")
    for target in targets_in(store):
        if target.exists():
            assert target.load() in {"ours", "theirs"}
    complete = [target.exists() for target in targets_in(store)]
    if all(complete) and len({sidecar.publication for sidecar in sidecars_of(store)}) == 1:
        assert loaded(store) in (["ours", "ours"], ["theirs", "theirs"])
    publish(store, "afterwards")
    assert loaded(store) == ["afterwards", "afterwards"]


def test_a_first_publication_that_another_run_has_overtaken_adopts(store: Remote) -> None:
    store.before[NAMES[0]] = lambda: publish(store, "theirs")
    with run(store, "ours") as publication:
        published = publication.publish(Owner().describe({}))
    assert publication.adopted
    assert loaded(store) == ["theirs", "theirs"]
    assert published == sidecars_of(store)


def test_outputs_that_two_other_runs_published_are_not_adopted(store: Remote) -> None:
    with run(store, "ours") as ours:
        for target, value in zip(targets_in(store), ("theirs", "others'"), strict=True):
            with Publication({target.uri: store}) as publication:
                target.dump(value)
                publication.publish(Owner().describe({}))
        ours.publish(Owner().describe({}))
    assert not ours.adopted
    assert loaded(store) == ["ours", "ours"]


def test_an_output_that_another_run_left_damaged_is_not_adopted(store: Remote) -> None:
    with run(store, "ours") as ours:
        publish(store, "theirs")
        write(store, NAMES[1], b'"their?"\n')
        with pytest.raises(CorruptArtifactError):
            targets_in(store)[1].load()
        assert not targets_in(store)[1].exists()
        ours.publish(Owner().describe({}))
    assert not ours.adopted
    assert loaded(store) == ["ours", "ours"]


@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("data", [b"1", b'"a longer text"'], ids=["shorter", "longer"])
def test_an_output_of_another_length_than_its_sidecar_says_is_not_adopted(store: Remote, of: int, data: bytes) -> None:
    with run(store, "ours") as ours:
        publish(store, "theirs")
        write(store, NAMES[of], data)
        ours.publish(Owner().describe({}))
    assert not ours.adopted
    assert loaded(store) == ["ours", "ours"]


@pytest.mark.parametrize(("old", "new"), [("text", 5), (5, "text"), ([1], "text"), ("text", [1])])
def test_while_it_is_replaced_bytes_that_are_decoded_in_another_way_are_hidden(
    store: Remote, old: object, new: object
) -> None:
    publish(store, old)
    seen: list[Any] = []
    store.before[NAMES[0]] = lambda: seen.extend(sidecars_of(store))
    publish(store, new)
    assert [sidecar.replaces for sidecar in seen] == [(), ()]
    publish(store, new)
    store.before[NAMES[0]] = lambda: seen.extend(sidecars_of(store))
    publish(store, new)
    assert [len(sidecar.replaces) for sidecar in seen[2:]] == [1, 1]
    assert loaded(store) == [new, new]


class Died(BaseException):
    """What a process that is killed does not live to see."""


def die() -> None:
    raise Died


@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("what", ["", ".kart.json"], ids=["artifact", "sidecar"])
@pytest.mark.parametrize("before", [False, True], ids=["first publication", "replacement"])
def test_another_run_that_dies_in_the_midst_is_replaced(store: Remote, of: int, what: str, before: bool) -> None:
    if before:
        publish(store, "old")
    with run(store, "ours") as ours:  # has seen what was there before the other began
        store.before[NAMES[of] + what] = die
        with pytest.raises(Died):
            publish(store, "theirs")
        ours.publish(Owner().describe({}))
    assert not ours.adopted
    assert loaded(store) == ["ours", "ours"]
    assert all(target.exists() for target in targets_in(store))


def test_another_run_in_the_midst_is_waited_for(store: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publications, "_PATIENCE", 20.0)
    publish(store, "old")
    began = threading.Event()

    def pause() -> None:
        began.set()
        time.sleep(0.5)

    with run(store, "ours") as ours:
        store.before[NAMES[1]] = pause
        other = threading.Thread(target=publish, args=(store, "theirs"))
        other.start()
        assert began.wait(10)
        ours.publish(Owner().describe({}))
        other.join()
    assert ours.adopted
    assert loaded(store) == ["theirs", "theirs"]


def overwrite_sidecar(store: Remote, uri: str) -> None:
    """What a writer leaves that got no further than its interim sidecar."""
    sidecar = targets_in(store)[NAMES.index(uri)].sidecar()
    assert sidecar is not None
    write(store, f"{uri}.kart.json", sidecar.replacing(sidecar.publications).to_bytes())


@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
def test_a_conflict_between_artifact_and_sidecar_where_the_artifact_is_still_ours(store: Remote, of: int) -> None:
    publish(store, "old")

    def interfere() -> None:  # at the final sidecar, the second that is published there
        store.before[f"{NAMES[of]}.kart.json"] = lambda: overwrite_sidecar(store, NAMES[of])

    store.before[NAMES[of]] = interfere
    store.published.clear()
    assert not publish(store, "ours").adopted
    assert loaded(store) == ["ours", "ours"]
    assert all(target.exists() for target in targets_in(store))
    interim, final = ([f"{name}.kart.json" for name in NAMES] for _ in range(2))
    assert store.published == [*interim, *NAMES, *final]  # no step is taken twice


@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
def test_a_conflict_at_every_try_ends_in_an_error_that_names_the_output(
    store: Remote, of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "old")
    monkeypatch.setattr(publications, "_PATIENCE", -1)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def interfere() -> None:
        store.before[f"{NAMES[of]}.kart.json"] = again

    def again() -> None:
        overwrite_sidecar(store, NAMES[of])
        interfere()

    store.before[NAMES[of]] = interfere
    with pytest.raises(
        StorageError, match=r"could not publish .*: other runs kept publishing there; run the task again"
    ) as error:
        publish(store, "ours")
    assert error.value.uri == NAMES[of]
    assert waits == [pytest.approx(min(0.05 * 2**tries, 2.0)) for tries in range(20)]


def test_turns_at_several_stores_are_taken_in_one_order() -> None:
    stores = [Remote() for _ in range(6)]
    with Publication({f"memory://turns/{number}.json": store for number, store in enumerate(stores)}) as publication:
        for number, store in enumerate(stores):
            target = Target(f"memory://turns/{number}.json", format_for("a.json"), store, Owner())
            target.dump(number)
        outputs = list(publication._staged.values())
    written = publications._written_by_store(outputs)
    assert [store for store, _ in written] == sorted(stores, key=id)
    assert publications._written_by_store(outputs[::-1]) == written
    for found, uris in written:
        uri = f"memory://turns/{[id(store) for store in stores].index(id(found))}.json"
        assert uris == [uri, f"{uri}.kart.json"]


@pytest.mark.parametrize(
    ("reads", "wrong"),
    [
        ([("a", "p"), ("b", "p"), ("c", "q")], "c"),
        ([("a", "p"), ("b", "q"), ("c", "q")], "c"),
        ([("a", "p"), ("b", "p"), ("c", "p"), ("d", "q")], "d"),
        ([("a", "pq"), ("b", "pq"), ("c", "q")], None),
        ([("a", "pq"), ("b", "p"), ("c", "q")], "c"),
        ([("a", "p"), ("b", "")], None),
    ],
)
def test_inputs_of_several_reads_are_of_one_run(reads: list[tuple[str, str]], wrong: str | None) -> None:
    publication = Publication({})
    for uri, known in reads:
        publication.record_input(uri, "sha", "task", list(known))
        publication.record_input(f"{uri} of unknown runs", "sha", "task", [None, *known])
        publication.record_input(f"{uri} of nobody", "sha", None, ["r"])
        publication.record_input(f"{uri} of another task", "sha", "other", ["s"])
    if wrong is None:
        publication.require_inputs_of_one_run_each()
        return
    with pytest.raises(ObjectChangedError, match=rf"two loads of them \({', '.join(uri for uri, _ in reads)}\)") as error:
        publication.require_inputs_of_one_run_each()
    assert error.value.uri == wrong


@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
def test_a_conflict_between_artifact_and_sidecar_where_the_artifact_is_theirs(
    store: Remote, of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publications, "_MOST_TRIES", 3)
    publish(store, "old")

    def interfere() -> None:
        store.before[f"{NAMES[of]}.kart.json"] = lambda: publish(store, "theirs")

    store.before[NAMES[of]] = interfere
    try:
        adopted = publish(store, "ours").adopted
    except StorageError as error:
        assert "run the task again" in str(error)
        assert error.uri in NAMES
    else:
        assert loaded(store) == (["theirs"] * 2 if adopted else ["ours"] * 2)
    publish(store, "afterwards")
    assert loaded(store) == ["afterwards", "afterwards"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("of", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("what", ["", ".kart.json"], ids=["artifact", "sidecar"])
def test_an_interrupt_leaves_no_uploads(
    error: type[BaseException], of: int, what: str, tmp_path: Path, leftovers: Any
) -> None:
    class Interrupted(LocalStore):
        def upload(self, uri: str, **options: Any) -> Any:
            upload = super().upload(uri, **options)
            if uri.endswith(f"{of}.json{what}"):
                upload.write = interrupt  # type: ignore[method-assign]
            return upload

    def interrupt(data: Any) -> int:
        raise error

    store = Interrupted()
    targets = [Target(f"{tmp_path}/{n}/{n}.json", format_for("a.json"), store, Owner()) for n in range(2)]
    with pytest.raises(error), Publication({target.uri: store for target in targets}) as publication:
        for target in targets:
            target.dump("value")
        publication.publish(Owner().describe({}))
    assert not all(target.exists() for target in targets)
    assert [left for n in range(2) for left in leftovers(tmp_path / str(n))] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_format_leaves_the_old_artifact(
    error: type[BaseException], tmp_path: Path, leftovers: Any
) -> None:
    class Interrupted:
        name = "json"

        def dump(self, obj: Any, stream: Any) -> None:
            stream.write(b"half")
            raise error

        def load(self, stream: Any) -> Any:
            return json.load(stream)

    target = Target(f"{tmp_path}/a.json", format_for("a.json"), LocalStore(), Owner())
    target.dump("old")
    with pytest.raises(error):
        Target(target.uri, Interrupted(), LocalStore(), Owner()).dump("new")
    assert target.load() == "old"
    assert target.exists()
    assert leftovers(tmp_path) == []


class Pair(TaskOnKart[Any]):
    def output(self) -> Any:
        return {"one": self.make_target("x/one.json"), "two": [self.make_target("y/two.json")]}

    def run(self) -> None:
        self.dump(1, "one")
        self.output()["two"][0].dump(2)


def test_each_output_is_marked_for_recomputation(workspace: Path) -> None:
    build(Pair())
    make_plan(Graph.of([Pair()]), rerun=[Pair().unique_id]).begin_reruns()
    states = [target.state() for target in (Pair().output()["one"], Pair().output()["two"][0])]
    assert [state.reason for state in states] == ["it was asked to run again"] * 2
    assert [state.readable for state in states] == [True, True]
    assert build(Pair()) == {"one": 1, "two": [2]}


@pytest.mark.parametrize("first", ["one", "two"])
def test_one_output_that_is_incomplete_makes_both_again(workspace: Path, first: str) -> None:
    build(Pair())
    outputs = {"one": Pair().output()["one"], "two": Pair().output()["two"][0]}
    outputs[first].begin_replacement()
    assert not Pair().complete()
    before = {name: target.sidecar().publication for name, target in outputs.items()}
    assert build(Pair()) == {"one": 1, "two": [2]}
    assert all(target.sidecar().publication != before[name] for name, target in outputs.items())


def test_a_second_output_at_the_path_of_the_first_is_refused(workspace: Path) -> None:
    class Clash(TaskOnKart[Any]):
        def output(self) -> Any:
            return [self.make_target("a.json"), self.make_target("b.json"), self.make_target("b.json")]

        def run(self) -> None: ...

    with pytest.raises(TargetPathError, match=r"\[1\] and \[2\] are the same file") as caught:
        build(Clash())
    assert "b_" in str(caught.value)


def test_options_that_are_null_are_no_options(workspace: Path) -> None:
    build(Pair())
    file = Path(f"{Pair().output()['one'].uri}.kart.json")
    content = {**json.loads(file.read_text()), "schema_version": 1}
    del content["digest"]
    content["artifact"]["options"] = None
    file.write_text(json.dumps(content))
    state = Pair().output()["one"].state()
    assert (state.complete, "(options)" in state.reason) == (False, True)
    assert build(Pair()) == {"one": 1, "two": [2]}
