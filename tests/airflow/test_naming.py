"""Task ids and groups: readable, and the same from parse to parse."""

from __future__ import annotations

import datetime as dt
import enum
import re
from typing import Any

import pytest
from harness.pipeline import Clean, Judged, Noted, Raw, Window

from airflow_kart import (
    DateParameter,
    EnumParameter,
    IntParameter,
    KartDag,
    ParameterVisibility,
    StrParameter,
    TaskOnKart,
    run_date,
)
from airflow_kart.compiler.naming import task_ids
from airflow_kart.compiler.structure import StructureNode

DAY = dt.date(2024, 5, 6)
STEP = "from airflow_kart import TaskOnKart\nclass Step(TaskOnKart[int]):\n    pass\n"


def ids(root, **options):
    return set(KartDag("naming", root, schedule=None, **options).task_ids) - {"plan", "report"}


class Region(enum.Enum):
    EU = 1
    US = 2


class Part(Noted):
    region: Region = EnumParameter(enum=Region)
    size: int = IntParameter(default=1)


class Report(Noted):
    def requires(self):
        return {"eu": Part(region=Region.EU), "us": [Part(region=Region.US), Part(region=Region.US, size=2)]}


def test_values_that_no_run_changes_tell_tasks_apart_where_they_suffice():
    assert ids(Report()) == {"report_task", "part__EU_1", "part__US_1", "part__US_2"}


def test_values_of_a_sample_are_never_part_of_an_id():
    expected = {"judged", "model", "window", "clean__0", "clean__1", "raw__0", "raw__1"}
    assert ids(Judged, bind={"day": run_date()}) == expected
    assert ids(Judged(day=DAY)) == expected  # the trigger form may change the day


def test_the_keys_of_requires_tell_tasks_apart_where_values_cannot():
    class Both(Noted):
        day: dt.date = DateParameter()

        def requires(self):
            return {"past": Window(day=self.day), "next": [Clean(day=self.day + dt.timedelta(days=1))]}

    found = ids(Both, bind={"day": run_date()})
    assert found == {"both", "window", "clean__past_0", "clean__1", "clean__next_0", "raw__past_0", "raw__1", "raw__next_0"}


def test_a_sibling_of_another_class_changes_no_id():
    class Alone(Noted):
        day: dt.date = DateParameter()

        def requires(self):
            return [Window(day=self.day)]

    class Extra(Noted):
        pass

    class WithSibling(Alone):
        def requires(self):
            return [Extra(), *super().requires()]

    before = ids(Alone, bind={"day": run_date()}) - {"alone"}
    after = ids(WithSibling, bind={"day": run_date()}) - {"with_sibling", "extra"}
    assert before == after


def test_tasks_that_are_equal_only_for_some_days_stay_two():
    class Month(Noted):
        day: dt.date = DateParameter(compile_value=dt.date(2024, 5, 1))

        def requires(self):
            return {"today": Raw(day=self.day), "first": Raw(day=self.day.replace(day=1))}

    assert ids(Month, bind={"day": run_date()}) == {"month", "raw__today", "raw__first"}


def test_a_shared_task_stays_one_when_only_some_of_its_consumers_have_twins(run_dag):
    class Common(Noted):
        pass

    class Day(Noted):
        day: dt.date = DateParameter()

        def requires(self):
            return {"common": Common(), "raw": Raw(day=self.day)}

    class Weekday(Noted):
        day: dt.date = DateParameter(compile_value=dt.date(2024, 5, 6))

        def requires(self):
            return [Day(day=self.day - dt.timedelta(days=back)) for back in range(self.day.weekday() + 3)]

    found = ids(Weekday, bind={"day": run_date()})
    assert "common" in found
    assert not [task_id for task_id in found if task_id.startswith("common__")]


def test_classes_of_one_name_are_told_apart_by_their_modules(load_module):
    first = load_module(STEP, "first_module").Step
    second = load_module(STEP, "second_module").Step

    class Steps(TaskOnKart[int]):
        def requires(self):
            return [first(), second()]

    assert ids(Steps()) == {"steps", "step__first_module", "step__second_module"}


def test_long_and_odd_values_make_valid_ids():
    class Odd(Noted):
        name: str = StrParameter()

    class Odds(Noted):
        def requires(self):
            return {f"key {name}": Odd(name=name) for name in ("ä/ö", "ä ö", "x" * 300, "")}

    found = ids(Odds())
    assert len(found) == 5
    assert all(len(task_id) < 250 for task_id in found)


def test_many_tasks_of_a_class_are_a_group_that_leaves_ids_alone():
    dag = KartDag("naming_groups", Window(day=DAY, days=5), schedule=None)
    groups = dag.task_group.get_task_group_dict()
    assert set(groups) == {None, "clean", "raw"}
    assert set(groups["clean"].children) == {f"clean__{index}" for index in range(5)}
    assert dag.get_task("window").upstream_task_ids == {f"clean__{index}" for index in range(5)}


def test_classes_that_need_each_other_in_turn_are_not_grouped():
    class Ping(Noted):
        left: int = IntParameter()

        def requires(self):
            return Pong(left=self.left - 1) if self.left else None

    class Pong(Noted):
        left: int = IntParameter()

        def requires(self):
            return Ping(left=self.left - 1) if self.left else None

    dag = KartDag("naming_turns", Ping(left=9), schedule=None)
    assert set(dag.task_group.get_task_group_dict()) == {None}
    chain = {"ping", *(f"ping__{step}" for step in (2, 4, 6, 8)), *(f"pong__{step}" for step in (1, 3, 5, 7, 9))}
    assert set(dag.task_ids) == {*chain, "plan", "report"}
    dag.task_group.topological_sort()


def test_documentation_comes_from_docstrings_and_descriptions():
    dag = KartDag("naming_docs", Judged, bind={"day": run_date()}, schedule=None)
    documentation: Any = dag.get_task("judged").doc_md
    assert documentation.startswith("A model, judged on a day.")
    assert "- `day`: Day to judge on" in documentation
    assert "Class `harness.pipeline.Judged`" in documentation


def test_operator_arguments_of_the_class_win_over_those_of_the_dag():
    class Heavy(Noted):
        operator_kwargs = {"pool": "gpu", "retries": 4}

        def requires(self):
            return Raw(day=DAY)

    dag = KartDag("naming_kwargs", Heavy(), schedule=None, operator_kwargs={"retries": 1, "queue": "big"})
    assert (dag.get_task("heavy").pool, dag.get_task("heavy").retries, dag.get_task("heavy").queue) == ("gpu", 4, "big")
    assert (dag.get_task("raw").pool, dag.get_task("raw").retries) == ("default_pool", 1)


class Picky(Noted):
    day: dt.date = DateParameter()
    token: str = StrParameter(default="hush", visibility=ParameterVisibility.PRIVATE, significant=False)

    def requires(self):
        if self.day != DAY:
            raise ValueError(f"no data of {self.day.year}")
        return {"eu": Part(region=Region.EU), "us": Part(region=Region.US)}


def test_a_second_sample_that_does_not_compile_is_said_once_with_its_reason(caplog):
    with caplog.at_level("INFO", "airflow_kart"):
        found = ids(Picky(day=DAY), bind={"token": "{{ var.value.hush }}"})
    assert found == {"picky", "part__eu", "part__us"}
    (record,) = [record for record in caplog.records if record.name.startswith("airflow_kart.compiler")]
    assert record.levelname == "WARNING"
    assert re.search(
        r"^Picky does not compile with a second sample, day=datetime\.date\(\d+, \d+, \d+\), token=\*\*\*: Picky\(.*\)\.requires\(\) "
        r"failed: ValueError: no data of \d+\. So task ids come from the keys",
        record.getMessage(),
    )
    assert "hush" not in record.getMessage()


def test_a_second_sample_that_compiles_is_not_spoken_of(caplog):
    with caplog.at_level("INFO", "airflow_kart"):
        ids(Judged, bind={"day": run_date()})
    assert [record for record in caplog.records if record.name.startswith("airflow_kart.compiler")] == []


class Named(TaskOnKart[int]):
    name: str = StrParameter(default="")
    size: int = IntParameter(default=0)


def ids_at(*trails, tasks=None):
    """The ids of one class's tasks at these keys; by default no value is fixed."""
    at = (
        [(task, task, trail) for task, trail in zip(tasks, trails, strict=True)]
        if tasks
        else [(Named(), None, t) for t in trails]
    )
    nodes = {(str(index), ""): StructureNode(*given) for index, given in enumerate(at)}
    found = task_ids(nodes)
    assert list(found) == list(nodes)
    return list(found.values())


@pytest.mark.parametrize(
    ("trails", "expected"),
    [
        ([("a", 0)], ["named"]),
        ([("a",), ("b",)], ["named__a", "named__b"]),
        ([("a", "x"), ("b", "x")], ["named__a", "named__b"]),
        ([("a", "x", "y"), ("b", "x", "y")], ["named__a", "named__b"]),
        ([("a", "x", "y", "z"), ("b", "x", "y", "z")], ["named__a", "named__b"]),
        ([("c", "a", "x"), ("c", "b", "x")], ["named__a", "named__b"]),
        ([("a", "k", "x"), ("b", "k", "y"), ("c", "j", "x")], ["named__k_x", "named__y", "named__j_x"]),
        ([("a", "k", "x"), ("b", "k", "x"), ("c", "k", "y")], ["named__a_k_x", "named__b_k_x", "named__y"]),
        ([("next",) * steps for steps in (1, 2, 3)], ["named", "named__next", "named__next_next"]),
        ([("next",) * steps for steps in (3, 2, 1)], ["named__next_next", "named__next", "named"]),
        ([("x",), ("b", "x")], ["named", "named__b"]),
        ([("x", "b"), ("b", "x"), ("x", "x", "x")], ["named__b", "named__b_x", "named__x_x"]),
    ],
)
def test_the_shortest_end_of_the_keys_that_no_other_task_has(trails, expected):
    assert ids_at(*trails) == expected


def test_keys_that_look_alike_in_an_id_are_told_apart_by_a_digest():
    one, other, third = ids_at(("a b",), ("a/b",), ("c",))
    assert third == "named__c"
    assert one != other
    assert re.fullmatch(r"named__a_b_[0-9a-f]{8}", one) and re.fullmatch(r"named__a_b_[0-9a-f]{8}", other)
    assert re.fullmatch(r"named__[0-9a-f]{8}", ids_at(("ä",), ("ö",))[0])
    assert [one, other, third] == ids_at(("a b",), ("a/b",), ("c",))


def test_an_id_of_200_characters_stays_and_a_longer_one_ends_in_a_digest():
    longest = 200 - len("named__")
    assert ids_at(("x" * longest,), ("y",)) == ["named__" + "x" * longest, "named__y"]
    cut, other = ids_at(("x" * (longest + 1),), ("x" * (longest + 2),))
    assert cut != other
    assert re.fullmatch(rf"named__x{{{longest}}}_[0-9a-f]{{8}}", cut)


@pytest.mark.parametrize("length", [1, 40])
def test_a_short_fixed_value_tells_tasks_apart(length):
    tasks = [Named(name="x" * length, size=1), Named(name="y" * length, size=1), Named(name="y" * length, size=2)]
    expected = [f"named__{'x' * length}_1", f"named__{'y' * length}_1", f"named__{'y' * length}_2"]
    assert ids_at(("a",), ("b",), ("c",), tasks=tasks) == expected


@pytest.mark.parametrize("name", ["", "ä", "x" * 41])
def test_a_fixed_value_without_a_short_text_leaves_the_others_and_the_keys(name):
    tasks = [Named(name=name, size=1), Named(name="y", size=1), Named(name="y", size=2)]
    assert ids_at(("a",), ("b",), ("c",), tasks=tasks) == ["named__1_a", "named__1_b", "named__2"]
