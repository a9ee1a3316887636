"""Wrappers, external tasks, and tasks that ask for more while they run."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from airflow_kart import ExternalTask, IntParameter, Target, TaskOnKart, Workspace, WrapperTask, build
from airflow_kart.exceptions import (
    CycleError,
    FormatError,
    MissingArtifactError,
    MissingInputError,
    RequirementError,
    TargetError,
)
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import make_plan
from airflow_kart.runtime.runner import run_task
from airflow_kart.tasks.graph import Graph

RAN: list[str] = []


@pytest.fixture(autouse=True)
def _in_workspace(workspace: Path) -> None:
    RAN.clear()


class Number(TaskOnKart[int]):
    value: int = IntParameter(default=1)

    def run(self) -> None:
        RAN.append(f"Number {self.value}")
        self.dump(self.value)


class Numbers(WrapperTask):
    count: int = IntParameter(default=2)

    def requires(self) -> list[Number]:
        return [Number(value=value) for value in range(self.count)]


class AllNumbers(WrapperTask):
    def requires(self) -> dict[str, Any]:
        return {"few": Numbers(), "one": Number(value=7)}


class After(TaskOnKart[str]):
    def requires(self) -> AllNumbers:
        return AllNumbers()

    def run(self) -> None:
        RAN.append("After")
        assert self.load()["one"] == 7
        self.dump("done")


def sidecar_of(task: TaskOnKart[Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(task.output().uri + ".kart.json").read_text())
    return content


class TestWrapper:
    def test_makes_what_it_groups_and_nothing_else(self, workspace: Path) -> None:
        assert build(Numbers()) is None
        assert RAN == ["Number 0", "Number 1"]
        assert len(list(workspace.rglob("*.pkl"))) == 2

    def test_is_complete_when_all_that_it_groups_is(self) -> None:
        assert not Numbers().complete()
        build(Number(value=0))
        assert not Numbers().complete()
        build(Number(value=1))
        assert Numbers().complete()
        build(Numbers())
        assert RAN == ["Number 0", "Number 1"]

    def test_layers_and_chains_of_them_are_looked_at_once(self) -> None:
        class Layer(WrapperTask):
            depth: int = IntParameter()
            side: int = IntParameter(default=0)

            def requires(self) -> list[TaskOnKart[Any]]:
                return [Layer(depth=self.depth - 1, side=side) for side in range(2)] if self.depth else [Number()]

        build(Number())
        assert Layer(depth=600).complete()

    def test_a_consumer_waits_for_what_it_groups(self) -> None:
        assert build(After()) == "done"
        assert sorted(RAN) == ["After", "Number 0", "Number 1", "Number 7"]
        assert RAN[-1] == "After"
        (grouped,) = sidecar_of(After())["upstream"]
        assert grouped["class"].endswith("AllNumbers")
        made = [sidecar_of(Number(value=value))["artifact"] for value in (0, 1, 7)]
        assert sorted(grouped["artifacts"], key=str) == sorted(
            ({"uri": one["uri"], "sha256": one["sha256"]} for one in made), key=str
        )

    def test_a_consumer_that_is_complete_asks_nothing_of_it(self) -> None:
        build(After())
        Number(value=7).output().remove()
        RAN.clear()
        assert build(After()) == "done"
        assert RAN == []

    def test_what_it_groups_is_an_input_of_its_consumers(self) -> None:
        with pytest.raises(
            MissingInputError, match=r"needs 3 input\(s\)[\s\S]*\['few'\]\[0\] Number\(value=0\)[\s\S]*\['one'\]"
        ):
            run_task(After())

    def test_has_outcomes_in_a_plan(self) -> None:
        graph = Graph.of([AllNumbers()])
        outcomes = {repr(graph.nodes[key].task): found.outcome for key, found in make_plan(graph).tasks.items()}
        assert set(outcomes.values()) == {Outcome.RUN}
        build(Numbers())
        outcomes = {repr(graph.nodes[key].task): found.outcome for key, found in make_plan(graph).tasks.items()}
        assert outcomes == {
            "Number(value=0)": Outcome.CACHED,
            "Number(value=1)": Outcome.CACHED,
            "Numbers(count=2)": Outcome.CACHED,
            "Number(value=7)": Outcome.RUN,
            "AllNumbers()": Outcome.RUN,
        }

    def test_rerun_of_what_it_groups_reaches_its_consumers(self) -> None:
        build(After())
        RAN.clear()
        build(After(), rerun=["Number+"])
        assert sorted(RAN) == ["After", "Number 0", "Number 1", "Number 7"]

    def test_with_workers(self) -> None:
        assert build(Numbers(count=3), workers=2) is None
        assert Numbers(count=3).complete()

    def test_other_tasks_need_a_target(self) -> None:
        class Nothing(TaskOnKart[None]):
            def output(self) -> None:
                return None

        with pytest.raises(TargetError, match=r"returned no target; .* WrapperTask"):
            build(Nothing())


class Prices(ExternalTask[str]):
    path: ClassVar[str] = "prices.txt"

    def output(self) -> Target:
        return self.make_target(self.path)


class Total(TaskOnKart[int]):
    def requires(self) -> dict[str, TaskOnKart[Any]]:
        return {"prices": Prices(), "number": Number()}

    def run(self) -> None:
        RAN.append("Total")
        self.dump(sum(map(int, self.load("prices").split())))


class TestExternal:
    def test_is_complete_as_soon_as_it_is_there(self, workspace: Path) -> None:
        assert not Prices().complete()
        workspace.mkdir(exist_ok=True)
        (workspace / "prices.txt").write_text("1 2 3")
        assert Prices().complete()
        assert build(Prices()) == "1 2 3"
        assert list(workspace.rglob("*.kart.json")) == []

    def test_nothing_runs_while_it_is_not_there(self, workspace: Path) -> None:
        with pytest.raises(MissingInputError, match=rf"nothing was run[\s\S]*Prices\(\)\n    at {workspace}/prices.txt"):
            build(Total())
        assert RAN == []

    def test_what_was_read_is_known_by_its_checksum(self, workspace: Path) -> None:
        workspace.mkdir(exist_ok=True)
        (workspace / "prices.txt").write_text("1 2 3")
        assert build(Total()) == 6
        upstream = {part["key"][0]: part["artifacts"][0] for part in sidecar_of(Total())["upstream"]}
        assert upstream["prices"]["sha256"] == hashlib.sha256(b"1 2 3").hexdigest()
        assert upstream["prices"]["uri"] == f"{workspace}/prices.txt"

    def test_may_be_anywhere(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere" / "données.txt"
        elsewhere.parent.mkdir()
        elsewhere.write_text("9")

        class Elsewhere(ExternalTask[str]):
            def output(self) -> Target:
                return self.make_target(str(elsewhere))

        class ByUri(ExternalTask[str]):
            def output(self) -> Target:
                return self.make_target(f"file://{elsewhere}")

        assert build(Elsewhere()) == build(ByUri()) == "9"

    def test_cannot_be_dumped_run_or_made_again(self, workspace: Path) -> None:
        with pytest.raises(TargetError, match="made elsewhere"):
            Prices().dump("x")
        with pytest.raises(MissingArtifactError, match=r"made elsewhere, and is not there yet: .*prices\.txt"):
            run_task(Prices())
        workspace.mkdir(exist_ok=True)
        (workspace / "prices.txt").write_text("1")
        assert run_task(Prices(), force=True).outcome is Outcome.CACHED
        assert build(Prices(), rerun=["Prices"]) == "1"
        assert (workspace / "prices.txt").read_text() == "1"

    def test_rerun_reaches_its_consumers(self, workspace: Path) -> None:
        workspace.mkdir(exist_ok=True)
        (workspace / "prices.txt").write_text("1")
        build(Total())
        (workspace / "prices.txt").write_text("5")
        RAN.clear()
        assert build(Total()) == 1
        assert build(Total(), rerun=["Prices"]) == 5
        assert RAN == ["Total"]

    def test_bytes_of_another_format_are_a_format_error(self, workspace: Path) -> None:
        class Table(ExternalTask[Any]):
            def output(self) -> Target:
                return self.make_target("a.json")

        workspace.mkdir(exist_ok=True)
        (workspace / "a.json").write_text("{")
        with pytest.raises(FormatError, match=r"a\.json|not JSON"):
            build(Table())

    def test_its_parts_can_be_loaded(self, workspace: Path) -> None:
        workspace.mkdir(exist_ok=True)
        (workspace / "prices.txt").write_text("1")
        assert list(Total().load_generator("prices")) == ["1"]

    def test_is_read_from_another_workspace(self, tmp_path: Path) -> None:
        production = tmp_path / "production"
        production.mkdir()
        (production / "prices.txt").write_text("1 2 3")
        with Workspace(str(tmp_path / "laptop"), read_from=(str(production),)):
            assert Prices().complete()
            assert Prices().output().load() == "1 2 3"
            assert list(Prices().output().load_parts()) == ["1 2 3"]
            assert build(Total()) == 6
            read = {part["key"][0]: part["artifacts"][0]["uri"] for part in sidecar_of(Total())["upstream"]}
        assert read["prices"] == f"{production}/prices.txt"
        assert not (tmp_path / "laptop" / "prices.txt").exists()


class Asking(TaskOnKart[int]):
    count: int = IntParameter(default=2)

    def run(self) -> Any:
        RAN.append("Asking")
        first = yield Number(value=100)
        total = first.load()
        outputs = yield {"more": [Number(value=value) for value in range(self.count)]}
        total += sum(target.load() for target in outputs["more"])
        self.dump(total)


class TestDynamicRequirements:
    def test_are_made_in_place(self) -> None:
        assert build(Asking()) == 101
        assert RAN == ["Asking", "Number 100", "Number 0", "Number 1"]

    def test_are_reused(self) -> None:
        build(Number(value=100))
        RAN.clear()
        build(Asking())
        assert RAN == ["Asking", "Number 0", "Number 1"]

    def test_are_named_in_the_sidecar(self) -> None:
        build(Asking())
        upstream = sidecar_of(Asking())["upstream"]
        assert [(part["key"], part["dynamic"], part["unique_id"]) for part in upstream] == [
            ([0], True, Number(value=100).unique_id),
            ([1, "more", 0], True, Number(value=0).unique_id),
            ([1, "more", 1], True, Number(value=1).unique_id),
        ]
        assert all(len(part["artifacts"][0]["sha256"]) == 64 for part in upstream)

    def test_do_not_count_in_the_unique_id(self) -> None:
        before = Asking().unique_id
        build(Asking())
        assert Asking().unique_id == before

    def test_may_have_requirements_of_their_own(self) -> None:
        class Deep(TaskOnKart[str]):
            def run(self) -> Any:
                target = yield After()
                self.dump(target.load())

        assert build(Deep()) == "done"

    def test_of_a_wrapper_are_what_it_groups(self) -> None:
        class Grouping(TaskOnKart[list[int]]):
            def run(self) -> Any:
                found = yield {"all": AllNumbers()}
                self.dump([*(target.load() for target in found["all"]["few"]), found["all"]["one"].load()])

        assert build(Grouping()) == [0, 1, 7]

    def test_may_ask_for_more_themselves(self) -> None:
        class Outer(TaskOnKart[int]):
            def run(self) -> Any:
                target = yield Asking(count=1)
                self.dump(target.load() + 1)

        assert build(Outer()) == 101

    def test_can_be_loaded_by_the_task(self) -> None:
        class Loading(TaskOnKart[int]):
            def run(self) -> Any:
                yield Number(value=3)
                self.dump(self.load(Number(value=3)))

        assert build(Loading()) == 3

    def test_may_ask_for_more_to_any_depth(self) -> None:
        class Deep(TaskOnKart[int]):
            depth: int = IntParameter()

            def run(self) -> Generator[Any, Any, None]:
                below = 0
                if self.depth:
                    target = yield Deep(depth=self.depth - 1)
                    below = target.load()
                self.dump(below + 1)

        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack()) + 150)
        try:
            assert build(Deep(depth=200)) == 201
        finally:
            sys.setrecursionlimit(limit)

    def test_a_failure_in_the_depth_can_be_caught_at_any_level(self) -> None:
        class Failing(TaskOnKart[int]):
            depth: int = IntParameter()

            def run(self) -> Iterator[Any]:
                if not self.depth:
                    raise ValueError("no luck")
                try:
                    yield Failing(depth=self.depth - 1)
                except ValueError:
                    if self.depth < 3:
                        raise
                    self.dump(self.depth)

        assert build(Failing(depth=3)) == 3
        assert not Failing(depth=2).complete()

    def test_stop_iteration_in_a_run_is_an_error(self) -> None:
        class Empty(TaskOnKart[int]):
            def run(self) -> None:
                self.dump(next(iter([])))

        with pytest.raises(RuntimeError, match=r"Empty\(\).run\(\) raised StopIteration"):
            build(Empty())

    def test_a_failure_below_fails_the_task(self) -> None:
        class Broken(TaskOnKart[int]):
            def run(self) -> None:
                raise ValueError("broken below")

        class Above(TaskOnKart[int]):
            def run(self) -> Any:
                yield Broken()
                self.dump(1)

        with pytest.raises(ValueError, match="broken below"):
            build(Above())
        assert not Above().complete()

    def test_a_failure_below_can_be_caught(self) -> None:
        class Broken(TaskOnKart[int]):
            def run(self) -> None:
                raise ValueError("broken below")

        class Patient(TaskOnKart[str]):
            def run(self) -> Any:
                try:
                    yield Broken()
                except ValueError as error:
                    instead = yield Number(value=4)
                    self.dump(f"{error}, {instead.load()} instead")

        assert build(Patient()) == "broken below, 4 instead"
        assert [part["unique_id"] for part in sidecar_of(Patient())["upstream"]] == [Number(value=4).unique_id]

    def test_a_task_that_asks_for_itself_is_an_error(self) -> None:
        class Selfish(TaskOnKart[int]):
            def run(self) -> Any:
                yield Selfish()

        with pytest.raises(CycleError, match=r"Selfish\(\)\.run\(\) yielded what needs .*Selfish\(\), which has not ended"):
            build(Selfish())

    def test_a_task_that_asks_for_what_needs_it_is_an_error(self) -> None:
        class Chicken(TaskOnKart[int]):
            def run(self) -> Any:
                yield Farm()

        class Egg(TaskOnKart[int]):
            def requires(self) -> Any:
                return Chicken()

        class Farm(TaskOnKart[int]):
            def run(self) -> Any:
                yield [Number(), Egg()]

        with pytest.raises(CycleError, match=r"Farm\(\)\.run\(\) yielded what needs .*Chicken\(\)"):
            build(Chicken())
        assert RAN == []

    @pytest.mark.parametrize("wrong", [1, "Number", Number], ids=["int", "str", "class"])
    def test_only_tasks_can_be_asked_for(self, wrong: Any) -> None:
        class Wrong(TaskOnKart[int]):
            def run(self) -> Any:
                yield wrong

        with pytest.raises(RequirementError, match=r"Wrong\(\)\.run\(\) yielded .*; yield tasks"):
            build(Wrong())

    def test_an_error_of_what_was_asked_for_names_the_task_that_asked(self) -> None:
        class Inner(TaskOnKart[int]):
            loops: int = IntParameter()

            def run(self) -> Any:
                yield Inner(loops=1) if self.loops else "no task"

        class Outer(TaskOnKart[int]):
            loops: int = IntParameter()

            def run(self) -> Any:
                yield Inner(loops=self.loops)

        with pytest.raises(RequirementError, match=r"^.*Inner\(loops=0\)\.run\(\) yielded ") as wrong:
            build(Outer(loops=0))
        assert wrong.value.task == repr(Inner(loops=0))
        with pytest.raises(CycleError, match=r"^.*Inner\(loops=1\)\.run\(\) yielded ") as circle:
            build(Outer(loops=1))
        assert circle.value.task == repr(Inner(loops=1))

    def test_a_run_may_yield_nothing(self) -> None:
        class Empty(TaskOnKart[int]):
            def run(self) -> Any:
                self.dump(1)
                if RAN:
                    yield Number()

        assert build(Empty()) == 1

    def test_seeds_and_outputs_stay_the_tasks_own(self) -> None:
        import random

        class Drawing(TaskOnKart[list[float]]):
            asks: ClassVar[bool] = True

            def run(self) -> Any:
                drawn = [random.random()]
                yield Number(value=55)
                drawn.append(random.random())
                self.dump(drawn)

        cold = build(Drawing())
        RAN.clear()
        assert build(Drawing(), rerun=["Drawing"]) == cold
        assert RAN == []
