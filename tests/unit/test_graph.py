from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_kart import IntParameter, StrParameter, TaskOnKart
from airflow_kart.exceptions import ConfigurationError, TargetPathError
from airflow_kart.tasks.graph import Graph, require_task, upstream_first

pytestmark = pytest.mark.usefixtures("workspace")


class Raw(TaskOnKart[int]):
    n: int = IntParameter(default=0)
    note: str = StrParameter(default="", significant=False)


class Middle(TaskOnKart[int]):
    n: int = IntParameter(default=0)

    def requires(self) -> Any:
        return {"raw": Raw(n=self.n), "shared": Raw(n=9)}


class Root(TaskOnKart[int]):
    def requires(self) -> Any:
        return [Middle(n=0), Middle(n=1), Raw(n=9)]


def test_each_task_comes_once_and_after_what_it_requires() -> None:
    graph = Graph.of([Root()])
    assert len(graph.nodes) == 6
    order = list(graph.nodes)
    for unique_id, node in graph.nodes.items():
        assert node.unique_id == unique_id
        assert all(order.index(needed) < order.index(unique_id) for _, needed in node.inputs)


def test_consumers_are_direct_ones() -> None:
    graph = Graph.of([Root()])
    shared = Raw(n=9).unique_id
    assert set(graph.consumers[shared]) == {Middle(n=0).unique_id, Middle(n=1).unique_id, Root().unique_id}
    assert list(graph.consumers[Root().unique_id]) == []


def test_downstream_is_what_requires_it() -> None:
    graph = Graph.of([Root()])
    assert graph.with_downstream([Middle(n=1).unique_id]) == {Middle(n=1).unique_id, Root().unique_id}
    assert graph.with_downstream([Raw(n=9).unique_id]) == set(graph.nodes) - {Raw(n=0).unique_id, Raw(n=1).unique_id}
    assert graph.with_downstream([]) == set()


def test_several_roots_share_what_they_have_in_common() -> None:
    graph = Graph.of([Middle(n=0), Middle(n=1), Middle(n=0), Raw(n=9)])
    assert graph.roots == (Middle(n=0).unique_id, Middle(n=1).unique_id, Raw(n=9).unique_id)
    assert len(graph.nodes) == 5


def test_a_later_root_that_requires_an_earlier_one_asks_nothing_again() -> None:
    asked = []

    def follows(task: Any) -> bool:
        asked.append(task)
        return True

    walked = list(upstream_first([Middle(n=0), Root()], follows))
    assert asked.count(Middle(n=0)) == asked.count(Raw(n=9)) == asked.count(Raw(n=0)) == 1
    assert walked.index(Middle(n=0)) < walked.index(Root())
    assert len(walked) == len(set(walked)) == 6


def test_a_root_that_was_met_upstream_of_an_earlier_one_keeps_its_place() -> None:
    assert list(upstream_first([Root(), Middle(n=1)])) == list(upstream_first([Root()]))


def test_a_walk_that_follows_nothing_returns_the_roots() -> None:
    assert list(upstream_first([Root(), Middle()], lambda _: False)) == [Root(), Middle()]


def test_tasks_that_differ_insignificantly_are_one_node() -> None:
    root = type("Task", (TaskOnKart,), {"requires": lambda self: [Raw(note="a"), Raw(note="b")]})()
    assert len(Graph.of([root]).nodes) == 2


def test_a_key_and_its_paths_are_kept() -> None:
    graph = Graph.of([Middle()])
    assert [path for path, _ in graph.nodes[Middle().unique_id].inputs] == [("raw",), ("shared",)]


class Fixed(TaskOnKart[int]):
    n: int = IntParameter(default=0)

    def output(self) -> Any:
        return self.make_target("fixed.pkl", use_unique_id=False)


def test_two_tasks_cannot_write_one_file() -> None:
    root = type("Task", (TaskOnKart,), {"requires": lambda self: [Fixed(n=1), Fixed(n=2)]})()
    with pytest.raises(
        TargetPathError, match=r"Fixed\(n=1\) and Fixed\(n=2\) both write .*/fixed\.pkl; give them different paths"
    ):
        Graph.of([root])


def test_one_task_with_a_fixed_file_is_fine(workspace: Path) -> None:
    (node,) = Graph.of([Fixed()]).nodes.values()
    assert node.targets[0].uri == f"{workspace}/fixed.pkl"


def test_an_artifact_cannot_be_the_sidecar_of_another() -> None:
    class Task(TaskOnKart[int]):
        def output(self) -> Any:
            name = "x.pkl"
            return [self.make_target(name, use_unique_id=False), self.make_target(f"{name}.kart.json", use_unique_id=False)]

    with pytest.raises(TargetPathError):
        Graph.of([Task()])


def test_what_is_no_task_is_refused_with_a_hint_for_a_class() -> None:
    task = Raw()
    assert require_task(task, "build") is task
    with pytest.raises(
        ConfigurationError, match=r"^build\(<class '.*Raw'>\): give a task; make an instance: Raw\(\.\.\.\)$"
    ):
        require_task(Raw, "build")
    with pytest.raises(ConfigurationError, match=r"^build\(3\): give a task$"):
        require_task(3, "build")
