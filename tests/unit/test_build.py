from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import IntParameter, TaskOnKart, Workspace, build
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import ConfigurationError, CorruptArtifactError, CycleError

ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_ran(workspace: Path) -> None:
    ran.clear()


class Raw(TaskOnKart[int]):
    n: int = IntParameter(default=0)

    def run(self) -> None:
        ran[repr(self)] += 1
        self.dump(self.n)


class Middle(TaskOnKart[int]):
    n: int = IntParameter(default=0)
    factor: int = IntParameter(default=10)

    def requires(self) -> Any:
        return Raw(n=self.n)

    def run(self) -> None:
        ran[repr(self)] += 1
        self.dump(self.load() * self.factor)


class Total(TaskOnKart[int]):
    factor: int = IntParameter(default=10)

    def requires(self) -> Any:
        return [Middle(n=1), Middle(n=2, factor=self.factor)]

    def run(self) -> None:
        ran[repr(self)] += 1
        self.dump(sum(self.load()))


EVERYTHING = {"Raw(n=1)": 1, "Raw(n=2)": 1, "Middle(n=1, factor=10)": 1, "Middle(n=2, factor=10)": 1, "Total(factor=10)": 1}


def test_cold_everything_runs_once() -> None:
    assert build(Total()) == 30
    assert ran == EVERYTHING


def test_warm_nothing_runs() -> None:
    build(Total())
    ran.clear()
    assert build(Total()) == 30
    assert ran == {}


def test_a_changed_parameter_reruns_it_and_what_is_below() -> None:
    build(Total())
    ran.clear()
    assert build(Total(factor=100)) == 210
    assert ran == {"Middle(n=2, factor=100)": 1, "Total(factor=100)": 1}


def test_what_is_missing_above_complete_consumers_stays_missing() -> None:
    build(Total())
    for task in (Raw(n=1), Middle(n=2)):
        task.output().remove()
    ran.clear()
    assert build(Total()) == 30
    assert ran == {}
    assert not Raw(n=1).complete()


def test_what_is_missing_is_made_where_it_is_needed() -> None:
    build(Total())
    for task in (Total(), Middle(n=2), Raw(n=1)):
        task.output().remove()
    ran.clear()
    assert build(Total()) == 30
    assert ran == {"Middle(n=2, factor=10)": 1, "Total(factor=10)": 1}


@pytest.mark.parametrize(
    ("rerun", "again"),
    [
        ("Total", {"Total(factor=10)"}),
        (["Middle"], {"Middle(n=1, factor=10)", "Middle(n=2, factor=10)"}),
        (["Middle+"], {"Middle(n=1, factor=10)", "Middle(n=2, factor=10)", "Total(factor=10)"}),
        (["Raw"], {"Raw(n=1)", "Raw(n=2)"}),
        (["R*+"], set(EVERYTHING)),
        (["*"], set(EVERYTHING)),
        (["M*", "Total"], {"Middle(n=1, factor=10)", "Middle(n=2, factor=10)", "Total(factor=10)"}),
        (["middle"], {"Middle(n=1, factor=10)", "Middle(n=2, factor=10)"}),
        (["middle+"], {"Middle(n=1, factor=10)", "Middle(n=2, factor=10)", "Total(factor=10)"}),
        ([Middle], {"Middle(n=1, factor=10)", "Middle(n=2, factor=10)"}),
        (Total, {"Total(factor=10)"}),
        ([Middle(n=1)], {"Middle(n=1, factor=10)"}),
        (Raw(n=2), {"Raw(n=2)"}),
        ((Total().unique_id,), {"Total(factor=10)"}),
        ([], set()),
    ],
)
def test_what_is_named_runs_again_and_what_is_downstream_where_asked_for(rerun: Any, again: set[str]) -> None:
    build(Total())
    ran.clear()
    assert build(Total(), rerun=rerun) == 30
    assert set(ran) == again


@pytest.mark.parametrize(
    ("rerun", "message"),
    [
        (["totl"], r"build\(rerun=\.\.\.\): no task matches 'totl'; there are Middle, Raw, Total; did you mean Total\?$"),
        (["x*"], r"no task matches 'x\*'; there are Middle, Raw, Total$"),
        ([Total], None),
        ([Raw(n=77)], r"no task matches Raw\(n=77\)"),
        (True, r"build\(rerun=\.\.\.\) is True; give a list of classes, tasks, names or globs; \['\*'\] names all tasks"),
        ([3], r"build\(rerun=\.\.\.\) holds 3; give classes, tasks, names or globs"),
        ([int], r"no task matches <class 'int'>"),
    ],
)
def test_a_name_that_matches_nothing_lists_the_classes(rerun: Any, message: str | None) -> None:
    if message is None:
        assert build(Total(), rerun=rerun) == 30
        return
    with pytest.raises(ConfigurationError, match=message):
        build(Total(), rerun=rerun)


@pytest.mark.parametrize("workers", [0, -1])
def test_there_must_be_a_worker(workers: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"build\(workers={workers}\): give at least 1"):
        build(Total(), workers=workers)


def test_a_failing_task_keeps_what_was_done() -> None:
    broken = [True]

    class Last(TaskOnKart[int]):
        def requires(self) -> Any:
            return Total()

        def run(self) -> None:
            if broken:
                raise ZeroDivisionError
            self.dump(self.load())

    with pytest.raises(ZeroDivisionError):
        build(Last())
    assert Total().complete()
    ran.clear()
    broken.clear()
    assert build(Last()) == 30
    assert ran == {}


def test_a_graph_that_is_none_runs_nothing() -> None:
    class Circle(TaskOnKart[int]):
        def requires(self) -> Any:
            return [Raw(n=5), self]

    with pytest.raises(CycleError):
        build(Circle())
    assert ran == {}


def test_the_workspace_may_be_given(tmp_path: Path) -> None:
    build(Raw(), workspace_directory=tmp_path / "given")
    assert not Raw().complete()
    with Workspace(str(tmp_path / "given")):
        assert Raw().complete()


def test_several_outputs_come_back_as_they_are_nested() -> None:
    class Several(TaskOnKart[Any]):
        def output(self) -> Any:
            return {"a": self.make_target("a.pkl"), "b": [self.make_target("b.json")]}

        def run(self) -> None:
            self.dump(1, "a")
            self.dump([2], self.output()["b"][0])

    assert build(Several()) == {"a": 1, "b": [[2]]}


def damage(task: TaskOnKart[Any]) -> None:
    path = Path(task.output().uri)
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def test_a_damaged_input_is_made_again() -> None:
    build(Total())
    damage(Middle(n=1))
    Total().output().remove()
    ran.clear()
    assert build(Total()) == 30
    assert ran[repr(Middle(n=1))] == 1
    assert ran[repr(Middle(n=2))] == ran[repr(Raw(n=1))] == 0


def test_a_damaged_result_is_made_again() -> None:
    build(Total())
    damage(Total())
    assert build(Total()) == 30
    assert Total().complete()


def test_a_damaged_input_of_a_workspace_that_is_only_read_is_made_again_here(tmp_path: Path) -> None:
    with Workspace(str(tmp_path / "team")):
        build(Total())
        damage(Middle(n=1))
    before = {path: path.read_bytes() for path in (tmp_path / "team").rglob("*") if path.is_file()}
    with Workspace(str(tmp_path / "mine"), read_from=(str(tmp_path / "team"),)):
        assert build(Third()) == 31
        assert Middle(n=1).output().located().uri.startswith(str(tmp_path / "mine"))
    assert {path: path.read_bytes() for path in (tmp_path / "team").rglob("*") if path.is_file()} == before


class Third(TaskOnKart[int]):
    def requires(self) -> Any:
        return [Middle(n=1), Middle(n=2)]

    def run(self) -> None:
        self.dump(sum(self.load()) + 1)


def test_an_artifact_that_is_damaged_each_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rotten(TaskOnKart[int]):
        def run(self) -> None:
            ran["rotten"] += 1
            self.dump(1)

    published = Publication.publish

    def publish(self: Publication, *arguments: Any, **options: Any) -> Any:
        done = published(self, *arguments, **options)
        damage(Rotten())
        return done

    monkeypatch.setattr(Publication, "publish", publish)
    with pytest.raises(CorruptArtifactError):
        build(Rotten())
    assert ran["rotten"] == 2


# In processes of their own: started anew, so they need a file they can import.

WORKERS = """
import json, os, pathlib, random, sys, time
import numpy as np
from airflow_kart import IntParameter, TaskInstanceParameter, TaskOnKart, build

class Model:
    def __init__(self, values):
        self.values = values

class Leaf(TaskOnKart):
    n = IntParameter()
    def run(self):
        self.dump([os.getpid(), self.n, random.random(), float(np.random.random())])

class Root(TaskOnKart):
    fail = IntParameter(default=0)
    def requires(self):
        return {"leaves": [Leaf(n=n) for n in range(4)], "bad": Bad() if self.fail else None}
    def run(self):
        leaves = self.load("leaves")
        self.dump(Model([[leaf[1:] for leaf in leaves], sorted({leaf[0] for leaf in leaves})]))

class Bad(TaskOnKart):
    def run(self):
        time.sleep(0.5)
        raise ValueError("bad task")

if __name__ == "__main__":
    workers, directory, fail = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    root = Root(fail=fail)
    try:
        found = build(root, workers=workers, workspace_directory=directory)
    except ValueError as error:
        assert str(error) == "bad task"
        print(json.dumps("failed"))
    else:
        files = sorted(path.name for path in pathlib.Path(directory).rglob("*.pkl"))
        print(json.dumps([*found.values, os.getpid(), files, isinstance(found, Model)]))
"""


@pytest.fixture
def pipeline(python: Any, script: Any) -> Any:
    file = script("pipeline.py", WORKERS)
    return lambda workers, directory, fail=0: json.loads(python(file, workers, directory, fail))


def test_workers_make_the_same_artifacts(pipeline: Any) -> None:
    values, pids, main, files, is_the_callers_class = pipeline(2, "two")
    alone_values, alone_pids, alone_main, alone_files, is_model = pipeline(1, "one")
    assert values == alone_values
    assert files == alone_files
    assert len(files) == 5
    assert main not in pids
    assert 1 <= len(pids) <= 2  # a quick worker may take them all
    assert alone_pids == [alone_main]
    assert is_the_callers_class
    assert is_model


def test_what_a_worker_made_is_of_a_later_callers_class(pipeline: Any) -> None:
    pipeline(2, "ws")
    assert pipeline(1, "ws")[4] is True


def test_a_failing_worker_keeps_what_was_done(pipeline: Any, tmp_path: Path) -> None:
    assert pipeline(2, "ws", 1) == "failed"
    assert len(list((tmp_path / "ws").rglob("Leaf_*.pkl.kart.json"))) == 4
    assert list((tmp_path / "ws").rglob("Bad_*")) == []
