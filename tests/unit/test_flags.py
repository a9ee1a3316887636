"""Class attributes that say when a task counts as complete: rerun, strict_check, modification_time_check."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from airflow_kart import ExternalTask, IntParameter, Target, TaskOnKart, Workspace, WrapperTask, build
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import make_plan
from airflow_kart.runtime.runner import run_task
from airflow_kart.tasks.completeness import is_complete
from airflow_kart.tasks.graph import Graph
from airflow_kart.views import table

RAN: list[str] = []


@pytest.fixture(autouse=True)
def _in_workspace(workspace: Path) -> None:
    RAN.clear()


class Noted(TaskOnKart[Any]):
    def run(self) -> None:
        RAN.append(type(self).__name__)
        self.dump(len(RAN))


class Bottom(Noted):
    value: int = IntParameter(default=1)


class Middle(Noted):
    def requires(self) -> Bottom:
        return Bottom()


class Strict(Noted):
    strict_check: ClassVar[bool] = True

    def requires(self) -> Middle:
        return Middle()


class Top(Noted):
    def requires(self) -> Strict:
        return Strict()


def reason_of(task: TaskOnKart[Any]) -> str:
    return make_plan(Graph.of([task])).tasks[task.unique_id].reason


class TestStrictCheck:
    def test_runs_again_where_an_input_is_gone(self) -> None:
        build(Strict())
        Middle().output().remove()
        RAN.clear()
        assert "Middle(), which it needs, runs" in reason_of(Strict())
        build(Strict())
        assert RAN == ["Middle", "Strict"]

    def test_looks_at_its_inputs_only(self) -> None:
        build(Strict())
        Bottom().output().remove()
        RAN.clear()
        build(Strict())
        assert RAN == []

    def test_is_not_asked_below_a_complete_task(self) -> None:
        build(Top())
        Middle().output().remove()
        RAN.clear()
        build(Top())
        assert RAN == []

    def test_holds_for_a_task_by_itself_too(self) -> None:
        build(Strict())
        assert is_complete(Strict()).complete
        Middle().output().remove()
        assert not is_complete(Strict()).complete

    def test_counts_for_complete_and_in_views(self) -> None:
        build(Strict())
        assert Strict().complete()
        assert table(Strict())["complete"].tolist() == [True, True, True]
        Middle().output().remove()
        assert not Strict().complete()
        assert table(Strict())["complete"].tolist() == [False, False, True]
        assert table(Strict())["reason"][0] == "Middle(), which it needs, runs"

    def test_a_long_chain_is_looked_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Link(Noted):
            strict_check: ClassVar[bool] = True
            depth: int = IntParameter()

            def requires(self) -> list[Any]:
                return [Link(depth=self.depth - 1)] if self.depth else []

        outputs: list[int] = []

        def output(self: Any) -> Target:
            outputs.append(self.depth)
            return self.make_target()  # type: ignore[no-any-return]  # self is any task

        monkeypatch.setattr(Link, "output", output)
        build(Link(depth=100))
        assert len(RAN) == 101
        assert len(outputs) < 20 * 101

    def test_in_a_chain(self) -> None:
        class Upper(Noted):
            strict_check: ClassVar[bool] = True

            def requires(self) -> Strict:
                return Strict()

        build(Upper())
        Middle().output().remove()
        RAN.clear()
        build(Upper())
        assert RAN == ["Middle", "Strict", "Upper"]


class Source(ExternalTask[str]):
    def output(self) -> Target:
        return self.make_target("source.txt")


class Fresh(Noted):
    modification_time_check: ClassVar[bool] = True

    def requires(self) -> dict[str, Any]:
        return {"source": Source(), "bottom": Bottom()}

    def run(self) -> None:
        self.load()
        super().run()


class TestModificationTimeCheck:
    @pytest.fixture(autouse=True)
    def _source(self, workspace: Path) -> None:
        workspace.mkdir(exist_ok=True)
        (workspace / "source.txt").write_text("1")

    def test_runs_again_where_an_input_is_newer(self, workspace: Path) -> None:
        build(Fresh())
        RAN.clear()
        build(Fresh())
        assert RAN == []
        later = time.time() + 5
        os.utime(workspace / "source.txt", (later, later))
        assert reason_of(Fresh()) == f"{workspace}/source.txt has changed since it ran"
        build(Fresh())
        assert RAN == []  # its bytes are as they were
        (workspace / "source.txt").write_text("2")
        os.utime(workspace / "source.txt", (later, later))
        assert reason_of(Fresh()) == f"{workspace}/source.txt has changed since it ran"
        build(Fresh())
        assert RAN == ["Fresh"]

    def test_equal_bytes_are_no_change_once_somebody_has_hashed_them(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_kart.artifacts.external._UNSETTLED", 0.0)
        build(Fresh())
        later = time.time() + 5
        os.utime(workspace / "source.txt", (later, later))
        assert not Fresh().complete()
        build(Fresh())
        assert Fresh().complete()
        (workspace / "source.txt").write_text("2")
        os.utime(workspace / "source.txt", (later, later))
        assert not Fresh().complete()

    def test_plan_complete_and_views_give_one_answer(self, workspace: Path) -> None:
        answers = []
        for _ in range(2):
            answers += [
                Fresh().complete(),
                bool(table(Fresh())["complete"][0]),
                not make_plan(Graph.of([Fresh()])).with_outcome(Outcome.RUN),
            ]
            build(Fresh())
        assert answers == [False] * 3 + [True] * 3
        later = time.time() + 5
        os.utime(workspace / "source.txt", (later, later))
        assert not Fresh().complete()
        row = table(Fresh()).iloc[0]
        assert (row["complete"], row["reason"]) == (False, reason_of(Fresh()))
        assert reason_of(Fresh()) == f"{workspace}/source.txt has changed since it ran"

    def test_an_input_that_was_made_again_with_the_same_bytes_has_not_changed(self) -> None:
        class Same(Noted):
            def run(self) -> None:
                RAN.append("Same")
                self.dump("always the same")

        class Reader(Noted):
            modification_time_check: ClassVar[bool] = True

            def requires(self) -> Same:
                return Same()

        build(Reader())
        time.sleep(0.02)
        run_task(Same(), force=True)
        RAN.clear()
        build(Reader())
        assert RAN == []

    def test_an_input_that_was_made_again_with_other_bytes_has(self) -> None:
        build(Fresh())
        time.sleep(0.02)
        run_task(Bottom(), force=True)
        RAN.clear()
        build(Fresh())
        assert RAN == ["Fresh"]

    @pytest.mark.parametrize("grouped", [False, True], ids=["required", "in a wrapper"])
    def test_the_clock_does_not_matter_where_there_are_checksums(self, grouped: bool) -> None:
        """A host whose clock is behind, ``cp -p`` and a restored backup leave files that are older than the task's."""

        class Group(WrapperTask):
            def requires(self) -> Bottom:
                return Bottom()

        class Reader(Noted):
            modification_time_check: ClassVar[bool] = True

            def requires(self) -> Any:
                return Group() if grouped else Bottom()

        build(Reader())
        run_task(Bottom(), force=True)
        yesterday = time.time() - 86_400
        os.utime(Bottom().output().uri, (yesterday, yesterday))
        assert reason_of(Reader()) == f"{Bottom().output().uri} has changed since it ran"
        RAN.clear()
        build(Reader())
        assert RAN == ["Reader"]
        os.utime(Bottom().output().uri)
        assert Reader().complete()

    def test_an_input_that_was_made_again_while_the_task_ran_has_changed(self) -> None:
        class Slow(Noted):
            modification_time_check: ClassVar[bool] = True

            def requires(self) -> Bottom:
                return Bottom()

            def run(self) -> None:
                self.load()
                if "again" not in RAN:
                    run_task(Bottom(), force=True)
                    RAN.append("again")
                super().run()

        build(Slow())
        assert not Slow().complete()
        build(Slow())
        assert Slow().complete()

    def test_in_a_moved_workspace_the_clock_decides(self, workspace: Path, tmp_path: Path) -> None:
        build(Fresh())
        moved = tmp_path / "moved"
        workspace.rename(moved)
        with Workspace(str(moved)):
            assert Fresh().complete()

    def test_a_missing_input_is_made_first(self, workspace: Path) -> None:
        build(Fresh())
        (workspace / "source.txt").write_text("2")
        Bottom().output().remove()
        RAN.clear()
        build(Fresh())
        assert RAN == ["Bottom", "Fresh"]


class Always(Noted):
    rerun: ClassVar[bool] = True


class AboveAlways(Noted):
    def requires(self) -> Always:
        return Always()


class TestRerun:
    def test_runs_whenever_it_is_asked_for_and_what_is_downstream_where_bytes_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build(AboveAlways())
        RAN.clear()
        build(AboveAlways())
        assert RAN == ["Always"]
        RAN.clear()
        monkeypatch.setattr(AboveAlways, "reuse_equal_inputs", False)
        build(AboveAlways())
        assert RAN == ["Always", "AboveAlways"]

    def test_once_in_a_build(self) -> None:
        class Two(Noted):
            def requires(self) -> list[Any]:
                return [Always(), AboveAlways(), Bottom()]

        build(Two())
        RAN.clear()
        build(Two())
        assert RAN == ["Always"]


def test_what_a_wrapper_groups_has_changed() -> None:
    class Group(WrapperTask):
        def requires(self) -> list[Any]:
            return [Bottom()]

    class Groups(WrapperTask):
        def requires(self) -> dict[str, Any]:
            return {"one": Group(), "other": Group()}

    class Reader(Noted):
        modification_time_check: ClassVar[bool] = True

        def requires(self) -> Groups:
            return Groups()

    build(Reader())
    time.sleep(0.02)
    run_task(Bottom(), force=True)
    RAN.clear()
    assert reason_of(Reader()) == f"{Bottom().output().uri} has changed since it ran"
    build(Reader())
    build(Reader())
    assert RAN == ["Reader"]
