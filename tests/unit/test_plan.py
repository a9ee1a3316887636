from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import IntParameter, TaskOnKart, build
from airflow_kart.artifacts.target import Target
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import Plan, make_plan
from airflow_kart.tasks.completeness import is_complete, look_at
from airflow_kart.tasks.graph import Graph, Node
from airflow_kart.tasks.provenance import TaskOwner

pytestmark = pytest.mark.usefixtures("workspace")


class Raw(TaskOnKart[int]):
    n: int = IntParameter(default=0)

    def run(self) -> None:
        self.dump(self.n)


class Left(TaskOnKart[int]):
    def requires(self) -> Any:
        return Raw(n=1)

    def run(self) -> None:
        self.dump(self.load())


class Right(Left):
    def requires(self) -> Any:
        return [Raw(n=1), Raw(n=2)]


class Root(Left):
    def requires(self) -> Any:
        return {"left": Left(), "right": Right()}


def outcomes(plan: Plan) -> dict[str, str]:
    return {repr(plan.graph.nodes[unique_id].task): str(planned.outcome) for unique_id, planned in plan.tasks.items()}


def planned(**options: Any) -> dict[str, str]:
    return outcomes(make_plan(Graph.of([Root()]), **options))


def names(*tasks: TaskOnKart[Any]) -> set[str]:
    return {task.unique_id for task in tasks}


RUN, CACHED, NOT_NEEDED = "run", "cached", "not_needed"


def everything(outcome: str, **others: str) -> dict[str, str]:
    return {"Raw(n=1)": outcome, "Left()": outcome, "Raw(n=2)": outcome, "Right()": outcome, "Root()": outcome, **others}


def test_at_first_everything_runs() -> None:
    assert planned() == everything(RUN)


def test_upstream_comes_first() -> None:
    order = list(planned())
    assert order.index("Raw(n=1)") < order.index("Left()") < order.index("Root()")


def test_below_a_complete_root_nothing_is_needed() -> None:
    build(Root())
    assert planned() == everything(NOT_NEEDED, **{"Root()": CACHED})


def test_what_is_missing_below_a_complete_root_stays_so() -> None:
    build(Root())
    for task in (Left(), Right(), Raw(n=1)):
        task.output().remove()
    assert planned() == everything(NOT_NEEDED, **{"Root()": CACHED})
    build(Root())
    assert not Left().complete()


def test_only_what_is_needed_is_asked_for() -> None:
    build(Root())
    Root().output().remove()
    Right().output().remove()
    assert planned() == {"Raw(n=1)": CACHED, "Left()": CACHED, "Raw(n=2)": CACHED, "Right()": RUN, "Root()": RUN}
    Raw(n=2).output().remove()
    assert planned()["Raw(n=2)"] == RUN


def test_upstream_of_what_is_complete_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    class Looked(TaskOnKart[int]):
        def output(self) -> Any:
            target = self.make_target()

            class Store(type(target.store)):  # type: ignore[misc]
                def read(self, uri: str) -> Any:
                    looked.append(uri)
                    return super().read(uri)

            return type(target)(target.uri, target.format, Store(), TaskOwner(self))

        def run(self) -> None:
            self.dump(0)

    class Top(Looked):
        def requires(self) -> Any:
            return Looked()

    build(Top())
    looked.clear()
    make_plan(Graph.of([Top()]))
    assert [os.path.basename(uri)[:4] for uri in looked] == ["Top_"]


def test_a_reason_is_given() -> None:
    build(Root())
    plan = make_plan(Graph.of([Root()]), rerun=names(Right()))
    reasons = {repr(plan.graph.nodes[key].task): planned.reason for key, planned in plan.tasks.items()}
    assert reasons["Right()"] == "asked to run again"
    assert reasons["Root()"] == "something it needs runs again"
    assert reasons["Left()"].startswith("made 20")
    assert reasons["Left()"].endswith(" UTC")
    os.truncate(Root().output().uri, 1)
    (planned,) = [make_plan(Graph.of([Root()])).tasks[key] for key in names(Root())]
    assert planned.reason.startswith("the artifact has 1 bytes")
    assert make_plan(Graph.of([Left()])).tasks[Raw(n=1).unique_id].reason == "nothing that needs it runs"


def test_what_is_named_runs_again_with_all_below() -> None:
    build(Root())
    assert planned(rerun=names(Raw(n=2))) == everything(RUN, **{"Raw(n=1)": CACHED, "Left()": CACHED})
    assert planned(rerun=names(Root())) == everything(NOT_NEEDED, **{"Left()": CACHED, "Right()": CACHED, "Root()": RUN})


def test_what_runs_again_is_forced() -> None:
    build(Root())
    plan = make_plan(Graph.of([Root()]), rerun=names(Right()))
    assert {key for key, planned in plan.tasks.items() if planned.forced} == names(Right(), Root())


def test_what_outsiders_use_is_looked_at_too() -> None:
    build(Root())
    Left().output().remove()
    assert planned(required=names(Left()))["Left()"] == RUN
    assert planned(required=names(Right()))["Right()"] == CACHED


def test_what_others_take_care_of_is_left_to_them() -> None:
    assert planned(given=names(Right())) == everything(RUN, **{"Right()": NOT_NEEDED, "Raw(n=2)": NOT_NEEDED})


def test_several_outputs_are_cached_together() -> None:
    class Two(TaskOnKart[int]):
        def output(self) -> Any:
            return [self.make_target("a.pkl"), self.make_target("b.pkl")]

        def run(self) -> None:
            self.dump(1, 0)
            self.dump(2, 1)

    build(Two())
    assert outcomes(make_plan(Graph.of([Two()])))[repr(Two())] == CACHED
    Two().output()[1].remove()
    assert outcomes(make_plan(Graph.of([Two()])))[repr(Two())] == RUN


def test_many_are_looked_at_at_once() -> None:
    class Wide(TaskOnKart[int]):
        def requires(self) -> Any:
            return [Raw(n=n) for n in range(40)]

        def run(self) -> None:
            self.dump(0)

    build(Wide())
    Wide().output().remove()
    Raw(n=17).output().remove()
    plan = make_plan(Graph.of([Wide()]))
    assert {repr(node.task) for node in plan.with_outcome(Outcome.RUN)} == {repr(Wide()), "Raw(n=17)"}
    assert len(plan.with_outcome(Outcome.CACHED)) == 39


@pytest.mark.parametrize(("pause", "at_once"), [(0.0, False), (0.1, False), (1.0, True)])
def test_a_pause_of_the_machine_sends_no_local_looks_to_threads(
    monkeypatch: pytest.MonkeyPatch, pause: float, at_once: bool
) -> None:
    looks: list[str] = []
    state = Target.state

    def paused(target: Target, *given: Any) -> Any:
        looks.append(threading.current_thread().name)
        if len(looks) == 100:
            time.sleep(pause)
        return state(target, *given)

    monkeypatch.setattr(Target, "state", paused)
    look_at([Node(Raw(n=number)) for number in range(200)])
    assert len(looks) == 200
    assert any(name != threading.current_thread().name for name in looks) is at_once


def test_planning_writes_nothing(workspace: Path) -> None:
    planned()
    assert not workspace.exists()


def test_a_cached_task_knows_how_long_it_took() -> None:
    build(Raw())
    (planned,) = make_plan(Graph.of([Raw()])).tasks.values()
    sidecar = Raw().output().sidecar()
    assert sidecar is not None
    assert planned.seconds == sidecar.seconds > 0
    assert planned.made_by is None


class Two(TaskOnKart[int]):
    def output(self) -> Any:
        return [self.make_target("one.json"), self.make_target("two.json")]

    def requires(self) -> Any:
        return Raw(n=1)

    def run(self) -> None:
        self.dump(1, 0)
        self.dump(2, 1)


class Beside(Two):
    pass


class Both(Left):
    def requires(self) -> Any:
        return [Two(), Beside(), Raw(n=2)]

    def run(self) -> None:
        self.dump(0)


def test_only_what_is_forced_is_marked_and_each_output_of_it() -> None:
    build(Both())
    graph = Graph.of([Both()])
    make_plan(graph).begin_reruns()
    make_plan(graph, required=list(graph.nodes)).begin_reruns()
    assert all(is_complete(node.task).complete for node in graph.nodes.values())
    make_plan(graph, rerun=names(Two())).begin_reruns()
    assert [target.exists() for target in graph.nodes[Two().unique_id].targets] == [False, False]
    assert all(target.state().readable for target in graph.nodes[Two().unique_id].targets)
    assert {repr(node.task) for node in graph.nodes.values() if not is_complete(node.task).complete} == {"Two()", "Both()"}


def test_the_tasks_of_an_outcome_are_those_and_no_others() -> None:
    nothing: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    build(Left())
    plan = make_plan(Graph.of([Root()]))
    found = {outcome: [repr(node.task) for node in plan.with_outcome(outcome)] for outcome in Outcome}
    assert found == {
        **nothing,
        Outcome.CACHED: ["Raw(n=1)", "Left()"],
        Outcome.RUN: ["Raw(n=2)", "Right()", "Root()"],
    }
    build(Root())
    plan = make_plan(Graph.of([Root()]))
    found = {outcome: [repr(node.task) for node in plan.with_outcome(outcome)] for outcome in Outcome}
    upstream = ["Raw(n=1)", "Left()", "Raw(n=2)", "Right()"]
    assert found == {**nothing, Outcome.CACHED: ["Root()"], Outcome.NOT_NEEDED: upstream}
