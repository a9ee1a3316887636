from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_kart import IntParameter, ListTaskInstanceParameter, StrParameter, TaskInstanceParameter, TaskOnKart
from airflow_kart.exceptions import CycleError, GraphError, IdentityError, RequirementError
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.resolution import resolve

asked: Counter[Any] = Counter()


@pytest.fixture(autouse=True)
def nothing_asked() -> Iterator[None]:
    asked.clear()
    yield
    asked.clear()


class Leaf(TaskOnKart[int]):
    n: int = IntParameter(default=0)


class Layer(TaskOnKart[int]):
    """A node of a layered graph: 30 levels of 30 nodes, each needing all nodes of the level before."""

    level: int = IntParameter()
    column: int = IntParameter()
    width: int = IntParameter(default=30)

    def requires(self) -> Any:
        asked[self] += 1
        return [Layer(level=self.level - 1, column=n) for n in range(self.width)] if self.level else None


class Both(TaskOnKart[int]):
    left: Any = TaskInstanceParameter()
    right: Any = TaskInstanceParameter()

    def requires(self) -> Any:
        asked[self] += 1
        return [self.left, self.right]


class Step(TaskOnKart[int]):
    n: int = IntParameter()

    def requires(self) -> Any:
        return Step(n=self.n - 1) if self.n else None


class Chain(TaskOnKart[int]):
    n: int = IntParameter()
    before: Any = ListTaskInstanceParameter(default=())


def requiring(found: Any, name: str = "Task") -> TaskOnKart[Any]:
    made: TaskOnKart[Any] = type(name, (TaskOnKart,), {"requires": lambda self: found})()
    return made


def test_fresh_instances_are_resolved_once_each() -> None:
    root = requiring([Layer(level=29, column=n) for n in range(30)])
    assert len(root.unique_id) == 32
    assert len(asked) == 900
    assert max(asked.values()) == 1


def test_a_graph_of_fresh_instances_asks_nothing_again() -> None:
    graph = Graph.of([requiring([Layer(level=9, column=n) for n in range(30)])])
    assert len(graph.nodes) == 301
    assert sum(asked.values()) == 300


def test_a_diamond_of_task_parameters_is_resolved_once_each() -> None:
    task: Any = Leaf()
    for _ in range(20):
        task = Both(left=task, right=task)
    assert len(task.unique_id) == 32
    assert len(asked) == sum(asked.values()) == 20


def test_a_diamond_of_equal_task_parameters_is_resolved_once_each() -> None:
    def make(level: int) -> Any:
        made[level] = made.get(level, 0) + 1
        below = (make(level - 1), make(level - 1)) if level else None
        return Both(left=below[0], right=below[1]) if below else Leaf()

    made: dict[int, int] = {}
    assert len(make(10).unique_id) == 32
    assert len(asked) == sum(asked.values()) == 10


def test_equal_tasks_become_one_instance() -> None:
    root = requiring({"a": Leaf(), "b": [Leaf(), Leaf(n=1)]})
    found = resolve(root).requirements
    assert found["a"] is found["b"][0]
    assert [path for path, _ in resolve(root).inputs] == [("a",), ("b", 0), ("b", 1)]


def test_equal_tasks_are_resolved_alike() -> None:
    assert requiring(Leaf(n=3)).unique_id == requiring(Leaf(n=3)).unique_id


def test_a_deep_chain_resolves() -> None:
    root = Step(n=5000)
    assert len(root.unique_id) == 32
    assert len(Graph.of([root]).nodes) == 5001


def test_a_deep_chain_of_task_parameters_resolves() -> None:
    task = Chain(n=0)
    for n in range(1, 5001):
        task = Chain(n=n, before=[task])
    assert len(task.unique_id) == 32


@pytest.mark.parametrize(
    ("found", "paths"),
    [
        (None, []),
        ([], []),
        ({}, []),
        (Leaf(), [()]),
        ((Leaf(), Leaf(n=1)), [(0,), (1,)]),
        ({"a": [Leaf(), {"b": (Leaf(n=1), None)}]}, [("a", 0), ("a", 1, "b", 0)]),
        ({1: Leaf()}, [(1,)]),
    ],
    ids=repr,
)
def test_any_nesting_of_tasks_is_taken(found: Any, paths: list[Any]) -> None:
    assert [path for path, _ in resolve(requiring(found)).inputs] == paths


def test_a_generator_is_taken() -> None:
    class Task(TaskOnKart[int]):
        def requires(self) -> Any:
            yield Leaf()
            yield {"more": Leaf(n=1)}

    assert [path for path, _ in resolve(Task()).inputs] == [(0,), (1, "more")]
    assert (
        Task().unique_id
        == type(
            "Task",
            (TaskOnKart,),
            {"requires": lambda self: [Leaf(), {"more": Leaf(n=1)}], "__qualname__": Task.__qualname__},
        )().unique_id
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (3, r"Task\(\)\.requires\(\) returned 3 at the top, which is not a task; return tasks, or dicts"),
        ("Leaf", "'Leaf' at the top"),
        ({"a": ["x"]}, r"'x' at \['a'\]\[0\]"),
        ({"a": Leaf}, r"at \['a'\], which is not a task; make an instance: Leaf\(\)"),
        ({Leaf()}, "at the top, which is not a task"),
        ({(1, 2): Leaf()}, r"returned a dict with the key \(1, 2\); let keys be str or int, as in \{'\(1, 2\)': \.\.\.\}"),
        ([Leaf(), object], r"at \[1\], which is not a task; return"),
    ],
    ids=repr,
)
def test_what_is_no_task_is_refused_where_it_is(found: Any, words: str) -> None:
    with pytest.raises(RequirementError, match=words):
        _ = requiring(found).unique_id


def test_a_failing_requires_is_named() -> None:
    class Task(TaskOnKart[int]):
        def requires(self) -> Any:
            raise ZeroDivisionError("by hand")

    with pytest.raises(RequirementError, match=r"Task\(\)\.requires\(\) failed: ZeroDivisionError: by hand") as caught:
        _ = requiring([Task()], "Root").unique_id
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failing_generator_is_named() -> None:
    class Task(TaskOnKart[int]):
        def requires(self) -> Any:
            yield Leaf()
            raise KeyError("k")

    with pytest.raises(RequirementError, match=r"Task\(\)\.requires\(\) failed: KeyError"):
        _ = Task().unique_id


class Circle(TaskOnKart[int]):
    name: str = StrParameter()

    def requires(self) -> Any:
        return {"a": Circle(name="b"), "b": [Circle(name="c")], "c": Circle(name="a"), "start": Circle(name="a")}[self.name]


class Ouroboros(TaskOnKart[int]):
    def requires(self) -> Any:
        return {"me": self}


class Endless(TaskOnKart[int]):
    n: int = IntParameter(default=0)

    def requires(self) -> Any:
        return Endless(n=self.n + 1)


def test_a_circle_is_shown_without_the_way_to_it() -> None:
    with pytest.raises(CycleError) as caught:
        _ = Circle(name="start").unique_id
    shown = "Circle(name='a') -> Circle(name='b') -> Circle(name='c') -> Circle(name='a')"
    assert f"in a circle: {shown}; take one" in str(caught.value)


@pytest.mark.parametrize("ask", [lambda task: task.unique_id, lambda task: task.complete(), lambda task: Graph.of([task])])
def test_a_task_that_requires_itself_is_a_circle(ask: Any, workspace: Any) -> None:
    with pytest.raises(CycleError, match=r"Ouroboros\(\) -> Ouroboros\(\);"):
        ask(Ouroboros())


def test_a_circle_is_found_again_after_it_was_found() -> None:
    task = Ouroboros()
    for _ in range(2):
        with pytest.raises(CycleError):
            _ = task.unique_id


def test_an_endless_requires_is_refused() -> None:
    with pytest.raises(
        GraphError, match=r"Endless\(n=0\) requires more than 100,000 tasks; is there a requires\(\) that never ends"
    ):
        _ = Endless().unique_id


def test_as_many_tasks_as_may_be_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__MAX_TASKS", "10")
    assert Step(n=9).unique_id
    last = r"The last ones are Step\(n=3\), Step\(n=2\), Step\(n=1\)\. \[kart\] max_tasks sets the limit$"
    with pytest.raises(GraphError, match=rf"more than 10 tasks; .* {last}") as many:
        _ = Step(n=10).unique_id
    assert many.value.task == "Step(n=10)"


class Way(TaskOnKart[int]):
    n: int = IntParameter()
    to: str = StrParameter()

    def requires(self) -> Any:
        return Way(n=self.n - 1, to=self.to) if self.n else Circle(name=self.to)


@pytest.mark.parametrize("circle", ["abca", "bcab", "cabc"])
@pytest.mark.parametrize("steps", [1, 20])
def test_a_circle_is_shown_without_the_way_to_it_however_long(steps: int, circle: str) -> None:
    with pytest.raises(CycleError) as caught:
        _ = Way(n=steps, to=circle[0]).unique_id
    shown = " -> ".join(f"Circle(name='{name}')" for name in circle)
    assert f"in a circle: {shown}; take one" in str(caught.value)


def test_two_classes_of_one_name_and_module_are_refused_wherever_they_were_made() -> None:
    def local() -> TaskOnKart[Any]:
        class Twin(TaskOnKart[int]):
            pass

        return Twin()

    for one, other in ((requiring(None, "Twin"), requiring(None, "Twin")), (local(), local())):
        with pytest.raises(GraphError, match=r"two different classes are both named .*Twin"):
            _ = requiring([one, other]).unique_id
    assert requiring([requiring(None, "Twin"), requiring(None, "Other")]).unique_id


def test_an_identity_error_below_names_its_task() -> None:
    class Loose(TaskOnKart[int]):
        def requires(self) -> Any:
            return {None: Leaf()}

    with pytest.raises((IdentityError, RequirementError), match=r"Loose\(\)\.requires\(\)"):
        _ = requiring(Loose()).unique_id
