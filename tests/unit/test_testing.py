"""What a pipeline's tests are written with: one task in memory, a graph on empty frames, frames compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from airflow_kart import (
    ExternalTask,
    IntParameter,
    ListTaskInstanceParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    WrapperTask,
    build,
    testing,
)
from airflow_kart.exceptions import ConfigurationError, FormatError, OutputNotDumpedError
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore, store_for
from airflow_kart.tasks.provenance import TaskOwner
from airflow_kart.testing import (
    EmptyRunOutcome,
    assert_frame_contents_equal,
    assert_runs_on_empty_frames,
    in_memory_workspace,
    run_in_memory,
    run_on_empty_frames,
    try_in_memory,
)
from airflow_kart.testing.emptiness import emptied

VISITS = pd.DataFrame({"visitor": [1, 2, 2], "day": pd.to_datetime(["2024-05-06"] * 3)})


class Visits(TaskOnKart[pd.DataFrame]):
    number: int = IntParameter(default=0)

    def output(self) -> Target:
        return self.make_target("visits.parquet")

    def run(self) -> None:
        self.dump(VISITS)


class Prices(TaskOnKart["pd.DataFrame | str"]):
    def output(self) -> dict[str, Target]:
        return {"table": self.make_target("prices.csv"), "note": self.make_target("note.txt")}

    def run(self) -> None:
        self.dump(pd.DataFrame({"price": [1.5]}), "table")
        self.dump("in euros", "note")


class Visitors(TaskOnKart[int]):
    visits: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Visits())

    def run(self) -> None:
        visits = self.load(self.visits)
        self.task_log["rows"] = len(visits)
        self.dump(int(visits["visitor"].nunique()))


class Single(TaskOnKart[int]):
    def requires(self) -> TaskOnKart[pd.DataFrame]:
        return Visits()

    def run(self) -> None:
        self.dump(len(self.load()))


class Several(TaskOnKart[Any]):
    def requires(self) -> Any:
        return {"visits": [Visits(number=1), Visits(number=2)], "prices": Prices()}

    def output(self) -> dict[str, Target]:
        return {"seen": self.make_target("seen.pkl"), "note": self.make_target("note.json")}

    def run(self) -> None:
        self.dump(self.load(), "seen")
        self.dump(["a", {"b": None}], "note")


@pytest.fixture
def nothing_written(workspace: Path) -> Any:
    yield workspace
    assert [path for path in workspace.rglob("*") if path.is_file()] == []


class TestInMemoryWorkspace:
    def test_it_is_the_current_one_and_gone_afterwards(self, nothing_written: Path) -> None:
        with in_memory_workspace() as workspace:
            assert Workspace.current() is workspace
            assert workspace.directory.startswith("memory://")
            assert build(Visitors()) == 2
            uris = list(workspace.store.list(f"{workspace.directory}/"))
            assert len(uris) == 4  # two artifacts, two sidecars
        assert [store_for(uri).stat(uri) for uri in uris] == [None] * 4
        assert not Visitors().complete()

    def test_an_error_ends_it_too(self) -> None:
        with pytest.raises(RuntimeError), in_memory_workspace() as workspace:
            Visits().output().dump(VISITS)
            raise RuntimeError
        assert list(workspace.store.list(f"{workspace.directory}/")) == []

    def test_each_has_its_own(self) -> None:
        with in_memory_workspace() as outer:
            build(Visits())
            with in_memory_workspace() as inner:
                assert outer != inner
                assert not Visits().complete()
            assert Visits().complete()


class TestRunInMemory:
    @pytest.mark.usefixtures("nothing_written")
    def test_a_task_reads_what_it_is_given(self) -> None:
        assert run_in_memory(Visitors(), {"visits": VISITS}) == 2
        assert run_in_memory(Visitors(), {"visits": VISITS.head(1)}) == 1
        assert run_in_memory(Single(), VISITS) == 3

    @pytest.mark.usefixtures("nothing_written")
    def test_a_task_without_requirements_needs_nothing(self) -> None:
        pd.testing.assert_frame_equal(run_in_memory(Visits()), VISITS)
        pd.testing.assert_frame_equal(run_in_memory(Visits(), {}), VISITS)

    @pytest.mark.usefixtures("nothing_written")
    def test_inputs_and_outputs_are_nested(self) -> None:
        prices = pd.DataFrame({"price": [1, 2]})
        found = run_in_memory(Several(), {"visits": (VISITS, VISITS[:1]), "prices": {"table": prices, "note": "ü"}})
        assert found["note"] == ["a", {"b": None}]
        assert [len(frame) for frame in found["seen"]["visits"]] == [3, 1]
        assert found["seen"]["prices"]["note"] == "ü"
        pd.testing.assert_frame_equal(found["seen"]["prices"]["table"], prices)

    def test_an_input_goes_through_its_format(self) -> None:
        frame = pd.DataFrame({"price": [1.0]}, index=["not kept in a csv"])
        with pytest.raises(FormatError, match=r"inputs\['prices'\].*: the csv format .* index"):
            run_in_memory(Several(), {"visits": [VISITS, VISITS], "prices": {"table": frame, "note": ""}})
        with pytest.raises(
            FormatError, match=r"inputs\['visits'\]: could not dump to memory://.*: the parquet format cannot"
        ):
            run_in_memory(Visitors(), {"visits": [1, 2]})

    def test_none_is_a_value(self) -> None:
        class Maybe(TaskOnKart[Any]):
            def run(self) -> None:
                self.dump(1)

        class Asks(TaskOnKart[bool]):
            def requires(self) -> Any:
                return Maybe()

            def run(self) -> None:
                self.dump(self.load() is None)

        assert run_in_memory(Asks(), None) is True
        with pytest.raises(ConfigurationError, match=r"lack the value of Test.*Maybe"):
            run_in_memory(Asks())

    @pytest.mark.parametrize(
        ("task", "inputs", "message"),
        [
            (Visitors(), None, r"inputs lack 'visits'; requires\(\) has 'visits'"),
            (Visitors(), {}, r"inputs lack 'visits'; requires\(\) has 'visits'"),
            (Visitors(), {"visit": 1}, r"inputs lack 'visits' and have 'visit' too many; requires\(\) has 'visits'"),
            (Visitors(), VISITS, r"requires\(\) has the keys 'visits' here; give a mapping, not a DataFrame"),
            (Visits(), {"more": 1}, r"inputs have 'more' too many; requires\(\) has no keys"),
            (Visits(), VISITS, r"give a mapping, not a DataFrame"),
            (
                Several(),
                {"visits": [VISITS], "prices": 1},
                r"inputs\['visits'\]: requires\(\) has a list of 2 here; .* not 1",
            ),
            (Several(), {"visits": VISITS, "prices": 1}, r"inputs\['visits'\]: .* give as many, not a DataFrame"),
            (
                Several(),
                {"visits": [VISITS, VISITS], "prices": {"table": VISITS}},
                r"inputs\['prices'\] lack 'note'; output\(\) of Prices\(\) has 'table', 'note'",
            ),
        ],
    )
    def test_inputs_that_do_not_fit_are_named(self, task: Any, inputs: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            run_in_memory(task, inputs)

    def test_one_task_under_two_keys_has_one_value(self) -> None:
        class Twice(TaskOnKart[int]):
            def requires(self) -> Any:
                return {"a": Visits(), "b": Visits()}

            def run(self) -> None:
                self.dump(len(self.load("a")) + len(self.load("b")))

        assert run_in_memory(Twice(), {"a": VISITS, "b": VISITS.copy()}) == 6
        with pytest.raises(ConfigurationError, match=r"inputs\['a'\] and .*inputs\['b'\] differ, but both are Visits"):
            run_in_memory(Twice(), {"a": VISITS, "b": VISITS[:1]})

    def test_errors_of_a_run_come_through(self) -> None:
        class Fails(TaskOnKart[int]):
            def run(self) -> None:
                raise ZeroDivisionError("in run")

        class Forgets(TaskOnKart[int]):
            def run(self) -> None:
                pass

        with pytest.raises(ZeroDivisionError, match="in run"):
            run_in_memory(Fails())
        with pytest.raises(OutputNotDumpedError):
            run_in_memory(Forgets())

    def test_a_class_is_no_task(self) -> None:
        with pytest.raises(ConfigurationError, match=r"give a task; make an instance: Visits\(...\)"):
            run_in_memory(Visits)  # type: ignore[arg-type]  # the mistake this is about

    def test_log_and_sidecars_can_be_looked_at(self) -> None:
        trial = try_in_memory(Visitors(), {"visits": VISITS})
        assert trial.value == 2
        assert trial.task_log == {"rows": 3}
        assert trial.seconds > 0
        assert trial.sidecars.content["task_log"] == {"rows": 3}
        assert trial.sidecars.content["upstream"][0]["artifacts"][0]["sha256"]
        several = try_in_memory(Several(), {"visits": [VISITS] * 2, "prices": {"table": VISITS, "note": ""}})
        assert several.sidecars["note"].artifact.format == "json"

    def test_a_target_outside_the_workspace_is_not_touched(self, tmp_path: Path) -> None:
        class Fixed(TaskOnKart[int]):
            def output(self) -> Target:
                return Target(str(tmp_path / "fixed.pkl"), format_for("a.pkl"), LocalStore(), owner=TaskOwner(self))

            def run(self) -> None:
                self.dump(1)

        class Reads(TaskOnKart[int]):
            def requires(self) -> Any:
                return Fixed()

            def run(self) -> None:
                self.dump(1)

        for task, inputs in [(Fixed(), {}), (Reads(), 1)]:
            with pytest.raises(ConfigurationError, match=r"fixed.pkl lies outside the workspace"):
                run_in_memory(task, inputs)
        report = run_on_empty_frames(Reads())
        assert [row.outcome for row in report.rows] == [EmptyRunOutcome.FAILED, EmptyRunOutcome.NOT_TRIED]
        assert not (tmp_path / "fixed.pkl").exists()


# Empty frames. What each task was given is kept here, by its class.

SEEN: dict[str, Any] = {}


class Rows(TaskOnKart[pd.DataFrame]):
    def output(self) -> Target:
        return self.make_target("rows.parquet")

    def run(self) -> None:
        SEEN["Rows ran"] = True
        self.dump(pd.DataFrame({"n": [1, 2, 3], "name": ["a", "b", "c"], "x": np.array([1, 2, 3], np.float32)}))


class Everything(TaskOnKart[Any]):
    """Hands on tables of all libraries, and things that are none."""

    rows: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Rows())

    def run(self) -> None:
        SEEN["Everything"] = self.load(self.rows)
        self.dump(
            {
                "pandas": pd.DataFrame({"n": [1]}),
                "polars": pl.DataFrame({"n": [1, 2]}),
                "pyarrow": pa.table({"n": [1]}),
                "nested": [1, ("x", pd.Series([1, 2]))],
                "array": np.arange(3),
                "size": 3,
            }
        )


class Consumer(TaskOnKart[Any]):
    everything: TaskOnKart[Any] = TaskInstanceParameter(default=Everything())

    def run(self) -> None:
        SEEN["Consumer"] = self.load(self.everything)
        self.dump(pd.DataFrame({"kept": [1]}))


class Mean(TaskOnKart[float]):
    """Does not survive: there is no first row."""

    rows: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Rows())

    def run(self) -> None:
        self.dump(float(self.load(self.rows)["n"].iloc[0]))


class AboveMean(TaskOnKart[float]):
    mean: TaskOnKart[float] = TaskInstanceParameter(default=Mean())

    def run(self) -> None:
        self.dump(self.load(self.mean) + 1)


class Root(TaskOnKart[int]):
    needs: tuple[TaskOnKart[Any], ...] = ListTaskInstanceParameter(default=[])

    def run(self) -> None:
        self.dump(len(self.load(list(self.needs))))


class Broken(TaskOnKart[int]):
    rows: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Rows())

    def output(self) -> dict[str, Target]:
        return {"a": self.make_target("a.txt")}

    def run(self) -> None:
        self.dump(3, "a")  # txt takes a str


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


class TestEmptyFrames:
    @pytest.mark.usefixtures("nothing_written")
    def test_every_table_is_cut_and_nothing_else(self) -> None:
        report = run_on_empty_frames(Consumer())
        assert [row.outcome for row in report.rows] == [EmptyRunOutcome.RAN] * 3
        assert all(row.seconds > 0 for row in report.rows)
        rows = SEEN["Everything"]
        assert len(rows) == 0
        full = pd.DataFrame({"n": [1], "name": ["a"], "x": np.array([1], np.float32)})
        assert dict(rows.dtypes) == dict(full.dtypes)
        seen = SEEN["Consumer"]
        assert [len(seen[name]) for name in ("pandas", "polars", "pyarrow")] == [0, 0, 0]
        assert seen["polars"].schema == {"n": pl.Int64}
        assert seen["pyarrow"].schema == pa.schema({"n": pa.int64()})
        assert seen["nested"][0] == 1
        assert len(seen["nested"][1][1]) == 0
        assert list(seen["array"]) == [0, 1, 2]
        assert seen["size"] == 3
        report.raise_for_failures()

    @pytest.mark.usefixtures("nothing_written")
    def test_all_failures_are_reported_together(self) -> None:
        root = Root(needs=(AboveMean(), Consumer(), Broken()))
        report = run_on_empty_frames(root)
        outcomes = {type(row.task).__name__: row.outcome.value for row in report.rows}
        assert outcomes == {
            "Rows": "ran",
            "Everything": "ran",
            "Consumer": "ran",
            "Mean": "failed",
            "Broken": "failed",
            "AboveMean": "not_tried",
            "Root": "not_tried",
        }
        errors = {type(row.task).__name__: type(row.error) for row in report.failures}
        assert errors == {"Mean": IndexError, "Broken": FormatError}
        mean = next(row for row in report.rows if isinstance(row.task, Mean))
        given = f"DataFrame, 0 rows (n: int64, name: {pd.Series(['a']).dtype}, x: float32)"
        assert mean.inputs == {"requires()['rows']": given}
        with pytest.raises(AssertionError) as caught:
            report.raise_for_failures()
        assert caught.value.__cause__ is report.failures[0].error
        text = str(caught.value)
        assert text.startswith("2 of 7 tasks failed on empty frames\n  Mean(rows=Rows(...)): IndexError: ")
        assert f"({__file__}:" in text
        assert f"\n    given requires()['rows']: {given}" in text
        assert "AboveMean(mean=Mean(...)): not_tried, as it needs Mean(rows=Rows(...))" in text

    def test_the_assertion_raises_at_once(self) -> None:
        assert_runs_on_empty_frames(Consumer())
        with pytest.raises(AssertionError, match="1 of 2 tasks failed"):
            assert_runs_on_empty_frames(Mean())

    def test_a_complete_source_is_read_and_stays(self, workspace: Path) -> None:
        build(Rows())
        SEEN.clear()
        before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
        report = run_on_empty_frames(Consumer())
        assert [row.outcome for row in report.rows] == [EmptyRunOutcome.READ, EmptyRunOutcome.RAN, EmptyRunOutcome.RAN]
        assert "Rows ran" not in SEEN
        assert len(SEEN["Everything"]) == 0
        assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before
        assert len(build(Rows())) == 3

    def test_what_is_complete_but_no_source_runs_all_the_same(self, workspace: Path) -> None:
        build(Consumer())
        SEEN.clear()
        assert [row.outcome.value for row in run_on_empty_frames(Consumer()).rows] == ["read", "ran", "ran"]
        assert len(SEEN["Consumer"]["pandas"]) == 0

    @pytest.mark.parametrize("key", [Rows, Rows()], ids=["class", "task"])
    @pytest.mark.usefixtures("nothing_written")
    def test_a_stand_in_is_cut_too_and_its_task_does_not_run(self, key: Any) -> None:
        report = run_on_empty_frames(Consumer(), given={key: pd.DataFrame({"other": ["x"]})})
        assert [row.outcome.value for row in report.rows] == ["given", "ran", "ran"]
        assert "Rows ran" not in SEEN
        assert list(SEEN["Everything"].columns) == ["other"]
        assert len(SEEN["Everything"]) == 0

    def test_what_only_a_stand_ins_task_needs_is_left_out(self) -> None:
        report = run_on_empty_frames(Consumer(), given={Everything: {"n": pd.DataFrame({"n": [1]})}})
        assert [(type(row.task).__name__, row.outcome.value) for row in report.rows] == [
            ("Everything", "given"),
            ("Consumer", "ran"),
        ]
        assert SEEN.keys() == {"Consumer"}
        assert_runs_on_empty_frames(AboveMean(), given={Mean: 2.5})

    def test_a_task_wins_over_its_class_and_a_class_over_its_base(self) -> None:
        both = Root(needs=(Visits(number=1), Visits(number=2)))
        for given in (
            {Visits(number=2): VISITS, Visits: VISITS[["day"]], TaskOnKart: 5, Root: 6},
            {Root: 6, TaskOnKart: 5, Visits: VISITS[["day"]], Visits(number=2): VISITS},
        ):
            report = run_on_empty_frames(AboveMean(mean=both), given=given)  # type: ignore[arg-type]
            assert [row.outcome.value for row in report.rows] == ["given"]
            del given[TaskOnKart], given[Root]
            report = run_on_empty_frames(both, given=given)
            columns = [words.count(":") for words in report.rows[-1].inputs.values()]
            assert columns == [1, 2]

    def test_a_stand_in_that_does_not_fit_is_a_failure_of_its_task(self) -> None:
        report = run_on_empty_frames(Single(), given={Visits: "no frame"})
        assert [row.outcome.value for row in report.rows] == ["failed", "not_tried"]
        assert "the stand-in for Visits(number=0): could not dump" in str(report.failures[0].error)
        report = run_on_empty_frames(Several(), given={Prices: {"table": VISITS}})
        assert "lack 'note'" in str(report)

    @pytest.mark.parametrize("key", [Prices, Prices(), "Rows"])
    def test_a_stand_in_for_nothing_is_refused(self, key: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"no task is .*(Prices|'Rows').*; there are tasks of Rows"):
            run_on_empty_frames(Rows(), given={key: 1})

    def test_csv_keeps_its_types_on_a_day_without_rows(self) -> None:
        class Reads(TaskOnKart[Any]):
            def requires(self) -> Any:
                return Prices()

            def run(self) -> None:
                SEEN["prices"] = self.load()["table"]
                self.dump(1)

        assert_runs_on_empty_frames(Reads())
        assert list(SEEN["prices"].columns) == ["price"]
        assert SEEN["prices"]["price"].dtype == "float64"  # as its sidecar says

    def test_a_long_chain(self) -> None:
        task: TaskOnKart[Any] = Rows()
        for _ in range(150):
            task = Root(needs=(task,))
        assert len(run_on_empty_frames(task).rows) == 151


def test_a_value_without_tables_is_returned_as_it_is() -> None:
    for value in [1, "x", [1, [2, {"a": (3,)}]], np.arange(3), {"a": None}, object()]:
        assert emptied(value) is value


def test_a_container_inside_itself_is_no_trap() -> None:
    itself: list[Any] = [pd.DataFrame({"a": [1]})]
    itself.append(itself)
    assert len(emptied(itself)[0]) == 0


def test_what_lies_around_a_table_stays() -> None:
    frame = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="label"))
    frame.attrs["unit"] = "m"
    value: dict[str, Any] = {
        "frame": frame,
        "lazy": pl.LazyFrame({"a": [1]}),
        "batch": pa.record_batch({"a": [1]}),
        "list": [1],
    }
    found = emptied(value)
    assert len(value["frame"]) == 1
    assert found["frame"].attrs == {"unit": "m"}
    assert found["frame"].index.name == "label"
    assert found["lazy"].collect().shape == (0, 1)
    assert found["batch"].num_rows == 0
    assert found["list"] is value["list"]


# Frames compared.

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, np.nan, 1.5], "c": ["x", None, "z"]}, index=["p", "q", "r"])


@for_all(st.permutations(range(3)), st.permutations(range(3)))
def test_the_order_of_rows_and_columns_does_not_count(rows: list[int], columns: list[int]) -> None:
    shuffled = FRAME.iloc[rows, columns]
    assert_frame_contents_equal(shuffled, FRAME)
    assert_frame_contents_equal(FRAME, shuffled)
    for changed in ({"a": 9}, {"b": 0.25}, {"c": "y"}):
        with pytest.raises(AssertionError):
            assert_frame_contents_equal(shuffled, FRAME.assign(**changed))
    with pytest.raises(AssertionError):
        assert_frame_contents_equal(shuffled.assign(a=shuffled["a"].to_numpy()[::-1] + 1), FRAME)


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (FRAME, FRAME.drop(columns="a"), "the columns differ; only in actual: 'a'"),
        (FRAME.rename(columns={"a": "d"}), FRAME, "the columns differ; only in actual: 'd'; only in expected: 'a'"),
        (FRAME, FRAME[:2], "the index labels differ; only in actual: 'r'"),
        (FRAME[:2], FRAME, "the index labels differ; only in expected: 'r'"),
        (FRAME.set_axis(["p", "p", "r"]), FRAME, "the index of actual has labels more than once: 'p'"),
        (FRAME, FRAME.set_axis(["a", "a", "b"], axis=1), "the columns of expected has labels more than once: 'a'"),
        (FRAME.astype({"a": float}), FRAME, "dtype"),
        ([1], FRAME, "actual is a builtins.list, not a pandas or polars DataFrame"),
        (FRAME, None, "expected is a builtins.NoneType"),
        (pl.DataFrame({"a": [1]}), FRAME, "actual is a polars frame, expected a pandas frame"),
        (pd.DataFrame(index=range(30)), pd.DataFrame(), "only in actual: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more"),
        (
            pl.DataFrame({"a": [1]}),
            pl.DataFrame({"b": [1]}),
            "the columns differ; only in actual: 'a'; only in expected: 'b'",
        ),
        (pl.DataFrame({"a": [1, 1, 2]}), pl.DataFrame({"a": [1, 2, 2]}), "value"),
        (pl.DataFrame({"a": [1, 1]}), pl.DataFrame({"a": [1]}), "height|length|rows"),
    ],
)
def test_a_difference_is_named(actual: Any, expected: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_frame_contents_equal(actual, expected)


def test_polars_frames_are_equal_up_to_order() -> None:
    frame = pl.DataFrame({"a": [1, 2, 2], "b": ["x", "y", None]})
    assert_frame_contents_equal(frame.reverse().select("b", "a"), frame)
    with pytest.raises(AssertionError):
        assert_frame_contents_equal(frame.reverse(), frame, check_row_order=True)


def test_options_are_passed_on() -> None:
    assert_frame_contents_equal(FRAME.astype({"a": float}), FRAME, check_dtype=False)
    assert_frame_contents_equal(FRAME.assign(a=[1.1, 2.1, 3.1]), FRAME.astype({"a": float}), atol=0.2)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (pd.DataFrame(), pd.DataFrame()),
        (FRAME, FRAME.rename_axis("name")),
        (FRAME[:0], FRAME[:0].reset_index(drop=True)),
        (FRAME.set_index(["a", "c"]), FRAME.set_index(["a", "c"])[::-1]),
        (FRAME.set_axis([0, 1, 2]), FRAME.set_axis([0.0, 1.0, 2.0])),
        (FRAME.set_axis([0, 1, np.nan]), FRAME.set_axis([0, 1, np.nan])[::-1]),
    ],
    ids=["nothing", "index name", "no rows", "two levels", "index type", "nan label"],
)
def test_how_an_index_is_kept_does_not_count(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert_frame_contents_equal(actual, expected)


def test_the_public_names_are_these() -> None:
    assert testing.__all__ == [
        "EmptyFramesReport",
        "EmptyRun",
        "EmptyRunOutcome",
        "Trial",
        "assert_frame_contents_equal",
        "assert_runs_on_empty_frames",
        "in_memory_workspace",
        "run_in_memory",
        "run_on_empty_frames",
        "try_in_memory",
    ]
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_neither_pytest_nor_a_heavy_library_is_needed_to_import_it() -> None:
    code = "import sys, airflow_kart.testing; print({'pytest', 'airflow', 'pandas', 'polars'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


class Delivered(ExternalTask[str]):
    def output(self) -> Target:
        return self.make_target("/srv/incoming/prices.txt")


class Priced(TaskOnKart[int]):
    def requires(self) -> dict[str, Any]:
        return {"prices": Delivered(), "group": Grouped()}

    def run(self) -> None:
        self.dump(sum(map(int, self.load("prices").split())))


class Grouped(WrapperTask):
    def requires(self) -> Delivered:
        return Delivered()


def test_what_is_made_elsewhere_can_be_given() -> None:
    assert run_in_memory(Priced(), {"prices": "1 2 3", "group": None}) == 6


class Bundle(WrapperTask):
    def requires(self) -> dict[str, Any]:
        return {"visits": Visits(), "more": [Grouped(), Prices()]}


class Bundled(TaskOnKart[int]):
    def requires(self) -> dict[str, Any]:
        return {"bundle": Bundle()}

    def run(self) -> None:
        self.dump(len(self.load(Visits())) + len(self.load(Delivered())))


def test_what_a_wrapper_groups_can_be_given() -> None:
    prices = {"table": pd.DataFrame({"price": [1]}), "note": "ü"}
    given = {"visits": VISITS, "more": ["12345", prices]}
    assert run_in_memory(Bundled(), {"bundle": given}) == 3 + 5
    with pytest.raises(ConfigurationError, match=r"inputs\['bundle'\] lack 'more'; requires\(\) of Bundle\(\) has"):
        run_in_memory(Bundled(), {"bundle": {"visits": VISITS}})
    report = run_on_empty_frames(Bundled(), given={Bundle: given})
    assert [(repr(row.task), str(row.outcome)) for row in report.rows] == [("Bundle()", "given"), ("Bundled()", "ran")]
