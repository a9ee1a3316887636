"""Mistakes in the declaration of a task, and names of gokart and luigi: each is an error that says what to write."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pickle
import sys
import typing
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from airflow_kart import (
    BoolParameter,
    ExternalTask,
    IntParameter,
    ListTaskInstanceParameter,
    Parameter,
    SharedParameters,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    WrapperTask,
    build,
)
from airflow_kart.exceptions import (
    KartError,
    MissingParameterError,
    ParameterError,
    RequirementError,
    TargetError,
    UnknownParameterError,
)
from airflow_kart.testing import in_memory_workspace

task_of: Any = TaskOnKart


class Colour(enum.Enum):
    RED = 1


class Day(TaskOnKart[int]):
    depth: int = IntParameter(default=1)

    def run(self) -> None:
        self.dump(self.depth)


# Values that look like parameters.


@pytest.mark.parametrize(
    ("annotation", "value", "parameter"),
    [
        ("int", 3, "IntParameter"),
        (int, 3, "IntParameter"),
        ("bool", True, "BoolParameter"),
        ("float", 0.5, "FloatParameter"),
        ("str", "a", "StrParameter"),
        ("dt.date", dt.date(2024, 1, 1), "DateParameter"),
        ("dt.datetime", dt.datetime(2024, 1, 1), "DateSecondParameter"),
        ("list[int]", [1], "ListParameter"),
        (list[int], [1], "ListParameter"),
        ("dict", {}, "DictParameter"),
        ("Colour", Colour.RED, "EnumParameter"),
        ("Path", Path("a"), "PathParameter"),
        ("object", object, "Parameter"),
        ("int | None", None, "Parameter"),
    ],
)
def test_an_annotated_value_that_is_no_parameter_is_refused(annotation: Any, value: Any, parameter: str) -> None:
    with pytest.raises(ParameterError, match=rf"H\.x is .*, and no parameter: .* Write x: .* = {parameter}\(") as caught:
        type("H", (TaskOnKart,), {"x": value, "__annotations__": {"x": annotation}})
    assert (caught.value.task, caught.value.parameter) == ("H", "x")


def test_constants_are_free() -> None:
    class Free(TaskOnKart[int]):
        depth: ClassVar[int] = 3
        other: typing.ClassVar = 3
        quoted: "ClassVar[int]" = 3  # noqa: UP037 - quotes on purpose
        final: Final = 3
        LIMIT: int = 3
        _own: int = 3
        plain = 3
        parameter: int = IntParameter(default=1)

        @property
        def value(self) -> int:
            return self.depth

    type("Switched", (TaskOnKart,), {"rerun": True, "__annotations__": {"rerun": "bool", "declared": "int"}})
    for annotation in (ClassVar[int], ClassVar, Final, Final[int]):
        type("Evaluated", (TaskOnKart,), {"x": 3, "__annotations__": {"x": annotation}})
    assert (Free().value, list(Free.get_parameters())) == (3, ["parameter"])


def test_an_attribute_of_a_base_class_may_be_annotated_but_no_parameter_may_be_lost() -> None:
    class Base(TaskOnKart[int]):
        plain = 1
        depth: int = IntParameter(default=6)

    class Right(Base):
        plain: int = 2

    with pytest.raises(ParameterError, match=r"Wrong\.depth is int 3, and no parameter"):

        class Wrong(Base):
            depth: int = 3


def test_shared_parameters_are_checked_too() -> None:
    with pytest.raises(ParameterError, match=r"Region\.country is str 'jp', and no parameter"):

        class Region(SharedParameters):
            country: str = "jp"


# Decorators.


@pytest.mark.parametrize("options", [{"frozen": False}, {"frozen": True}, {"init": False}])
def test_a_dataclass_is_refused_when_it_is_made(options: dict[str, bool]) -> None:
    class Plain(TaskOnKart[int]):
        x: int = IntParameter(default=1)

    assert Plain(x=2).x == 2
    data: Any = dataclasses.dataclass(**options)(Plain)
    with pytest.raises(ParameterError, match=r"Plain is decorated with @dataclass.* remove the decorator"):
        data(x=2)
    heir = type("Heir", (data,), {})
    with pytest.raises(ParameterError, match=r"Heir is decorated with @dataclass"):
        heir()


def test_attrs_is_refused_when_it_is_made() -> None:
    attrs = pytest.importorskip("attrs")
    decorated = attrs.define(slots=False)(type("Plain", (TaskOnKart,), {}))
    with pytest.raises(ParameterError, match=r"decorated with @define of attrs"):
        decorated()


# Options of the configuration.


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "airflow.configuration", raising=False)
    return (tmp_path / "airflow.cfg").write_text


def test_a_misspelt_option_is_an_error(cfg: Any) -> None:
    class Train(TaskOnKart[int]):
        depth: int = IntParameter(default=6)

    cfg("[kart.Train]\ndpeth = 5\n")
    with pytest.raises(
        UnknownParameterError, match=r"\[kart\.Train\] dpeth.*Train has no parameter dpeth; did you mean dep"
    ) as caught:
        Train()
    assert (caught.value.task, caught.value.parameter) == (Train.__qualname__, "dpeth")
    assert Train(depth=1).depth == 1


def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Learn(TaskOnKart[int]):
        depth: int = IntParameter(default=6)

    monkeypatch.setenv("AIRFLOW__KART_LEARN__DPETH", "5")
    with pytest.raises(UnknownParameterError, match=r"AIRFLOW__KART_LEARN__DPETH: .*did you mean depth"):
        Learn()


def test_options_in_any_case_of_any_class_of_the_name_are_right(cfg: Any) -> None:
    def make(name: str, *names: str) -> Any:
        return type(
            "Same", (TaskOnKart,), {name: IntParameter(default=1), **{each: IntParameter(default=2) for each in names}}
        )

    one, other = make("depth"), make("width")
    cfg("[DEFAULT]\nanything = 1\n[kart.Same]\nDEPTH = 5\nwidth = 7\n")
    assert (one().depth, other().width) == (5, 7)


def test_an_option_of_a_base_class_is_checked(cfg: Any) -> None:
    class Market(SharedParameters):
        country: str = StrParameter(default="jp")

    class Prices(Market, TaskOnKart[int]):
        pass

    cfg("[kart.Market]\ncuontry = fr\n")
    with pytest.raises(UnknownParameterError, match=r"\[kart\.Market\] cuontry.*Market has no parameter cuontry"):
        Prices()
    cfg("[kart.Market]\ncountry = fr\n")
    assert Prices().country == "fr"


# Methods.


@pytest.mark.parametrize("name", ["run", "requires", "output"])
def test_an_async_method_is_refused(name: str) -> None:
    async def method(self: Any) -> None: ...

    async def generator(self: Any) -> Any:
        yield 1

    for function in (method, generator):
        made = type("Async", (TaskOnKart,), {name: function})
        with pytest.raises(ParameterError, match=rf"Async\.{name}\(\) is async.* asyncio\.run"):
            _ = made().unique_id
        heir = type("Heir", (made,), {})
        with pytest.raises(ParameterError, match=rf"Heir\.{name}\(\) is async"), in_memory_workspace():
            build(heir(), progress=False)


def test_a_key_of_requires_that_is_no_text_is_told_as_the_key() -> None:
    class Keys(TaskOnKart[int]):
        def requires(self) -> Any:
            return {"days": {dt.date(2024, 1, 1): Day()}}

    with pytest.raises(
        RequirementError, match=r"a dict with the key .*date\(2024, 1, 1\) at \['days'\]; let keys be str"
    ) as caught:
        _ = Keys().unique_id
    assert "'2024-01-01': ..." in str(caught.value)


def test_a_key_of_output_that_is_no_text_is_told_as_the_key() -> None:
    class Keys(TaskOnKart[int]):
        def output(self) -> Any:
            return {1.5: self.make_target("a.pkl")}

        def run(self) -> None: ...

    with pytest.raises(TargetError, match=r"returned a dict with the key 1\.5; let keys be str"), in_memory_workspace():
        build(Keys(), progress=False)


def test_an_error_of_the_package_in_requires_comes_through() -> None:
    class Mine(KartError):
        pass

    class Failing(TaskOnKart[int]):
        def requires(self) -> Any:
            raise Mine("on purpose")

    class Consumer(TaskOnKart[int]):
        def requires(self) -> Any:
            return Failing()

    for task in (Failing(), Consumer()):
        with pytest.raises(Mine, match="on purpose"):
            _ = task.unique_id
        with pytest.raises(Mine), in_memory_workspace():
            build(task, progress=False)


def test_a_class_with_an_output_and_no_run_is_told_of_external_tasks() -> None:
    class Prices(TaskOnKart[str]):
        def output(self) -> Any:
            return self.make_target("prices.txt")

    with pytest.raises(KartError, match=r"Prices has no run\(\); .*ExternalTask"), in_memory_workspace():
        build(Prices(), progress=False)


# Coming from gokart and luigi.


def test_a_default_may_be_given_by_position() -> None:
    class Positional(TaskOnKart[int]):
        depth: int = IntParameter(6)  # type: ignore[call-arg]
        name: str = Parameter("a", significant=False)  # type: ignore[call-arg]
        bounded: int = IntParameter(3, min_value=1)  # type: ignore[call-arg]

    make_task: Any = Positional
    task = make_task()
    assert (task.depth, task.name, task.bounded) == (6, "a", 3)
    assert not Positional.get_parameters()["name"].significant
    make: Any = IntParameter
    for values in ({"min_value": 2, "default": 2}, {"default": 2}):
        with pytest.raises(ParameterError, match="IntParameter takes one value by position, the default"):
            make(1, **values)
    with pytest.raises(ParameterError, match=r"depth \(default\): give an int"):
        type("Wrong", (TaskOnKart,), {"depth": make("6")})


def test_a_parameter_of_ones_own_may_take_values_by_position() -> None:
    class Scaled(Parameter[str]):
        factor: int

        def __new__(cls, factor: int, *, default: Any = "x", **options: Any) -> Any:
            return cls._declare(default, options, factor=factor)  # type: ignore[arg-type]

    class Heir(Scaled):
        pass

    kinds: list[Any] = [Scaled, Heir]
    for kind in kinds:
        assert type("Own", (TaskOnKart,), {"x": kind(3)})._parameters["x"].factor == 3  # type: ignore[attr-defined]


def test_a_parameter_of_a_task_may_name_its_class_in_brackets() -> None:
    single: Any = TaskInstanceParameter
    several: Any = ListTaskInstanceParameter

    class Holder(TaskOnKart[int]):
        one: Any = single[Day]()
        many: Any = several[Day](default=())

    assert Holder(one=Day()).requires() == {"one": Day(), "many": ()}
    copy: Any = pickle.loads(pickle.dumps(Holder._parameters["one"]))
    assert vars(copy).keys() == vars(Holder._parameters["one"]).keys()


def test_a_missing_bool_tells_luigis_default() -> None:
    class Loud(TaskOnKart[int]):
        verbose: bool = BoolParameter()
        depth: int = IntParameter()

    with pytest.raises(MissingParameterError, match=r"Loud\(verbose=\.\.\.\); .*BoolParameter\(default=False\)"):
        Loud(depth=1)  # type: ignore[call-arg]
    with pytest.raises(MissingParameterError, match=r"Loud\(depth=\.\.\.\)$"):
        Loud(verbose=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("rerun", r"rerun = True on the class, or give build\(rerun="),
        ("workspace_directory", r"give build\(\), KartDag or a block `with Workspace"),
        ("local_temporary_directory", "TMPDIR"),
        ("strict_check", "set strict_check = True on the class"),
        ("fix_random_seed_methods", "seed_functions"),
        ("redis_host", "redis_conn_id"),
        ("serialized_task_definition_check", 'code_version = "auto"'),
    ],
)
def test_a_parameter_of_every_gokart_task_is_told_by_its_name_here(name: str, advice: str) -> None:
    make: Any = Day
    with pytest.raises(UnknownParameterError, match=rf"Day has no parameter {name}; .*{advice}") as caught:
        make(**{name: True})
    assert (caught.value.task, caught.value.parameter) == ("Day", name)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("load_data_frame", r"load\(columns="),
        ("make_unique_id", "unique_id"),
        ("get_processing_time", "run.seconds"),
        ("param_kwargs", "get_parameters"),
        ("task_id", "unique_id"),
    ],
)
def test_a_method_of_gokart_is_told_by_its_name_here(name: str, advice: str) -> None:
    with pytest.raises(AttributeError, match=rf"'Day' object has no attribute '{name}'; in its place: .*{advice}"):
        getattr(Day(), name)
    assert not hasattr(Day(), name)


def test_other_attributes_are_missing_as_ever() -> None:
    class Own(TaskOnKart[int]):
        task_id: str = StrParameter(default="mine")

        @property
        def deps(self) -> Any:
            return self.nothing_of_the_kind  # type: ignore[attr-defined]

    assert Own().task_id == "mine"
    with pytest.raises(AttributeError, match=r"'Own' object has no attribute 'nothing_of_the_kind'$"):
        _ = Own().deps
    with pytest.raises(AttributeError, match=r"^'Day' object has no attribute 'nothing'$") as caught:
        _ = Day().nothing  # type: ignore[attr-defined]
    assert (caught.value.name, caught.value.obj) == ("nothing", Day())


@pytest.mark.parametrize("name", ["task_namespace", "retry_count", "fix_random_seed_methods", "store_index_in_feather"])
def test_a_declaration_without_effect_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"Old\.{name} has no effect here; in its place: "):
        type("Old", (TaskOnKart,), {name: "x"})
    assert type("New", (TaskOnKart,), {name: IntParameter(default=1)})().get_parameters()


def test_an_overridden_method_of_gokart_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"Old\.make_unique_id has no effect here; in its place: unique_id"):
        type("Old", (TaskOnKart,), {"make_unique_id": lambda self: "x"})
    with pytest.raises(ParameterError, match=r"Old\.complete\(\) would not be asked"):
        type("Old", (TaskOnKart,), {"complete": lambda self: True})


@pytest.mark.parametrize("base", [TaskOnKart, ExternalTask])
def test_a_processor_is_told_as_a_format(base: Any) -> None:
    class Old(base):  # type: ignore[misc]
        def output(self) -> Any:
            return self.make_target("a.csv", processor=object())

        def run(self) -> None: ...

    with pytest.raises(TargetError, match=r"Old: make_target\(\) takes no option processor; in its place: format="):
        Old().output()
    with pytest.raises(TargetError, match="takes no option proces; it takes format and schema"):
        task_of().make_target("a.csv", proces=1)


# What gokart's pipelines do, and works here.


class Group(WrapperTask):
    days: Any = ListTaskInstanceParameter(default=[Day(), Day(depth=2)])


class Outer(WrapperTask):
    def requires(self) -> Any:
        return {"group": Group(), "single": Day(depth=7)}


class Reader(TaskOnKart[Any]):
    def requires(self) -> Any:
        return {"outer": Outer(), "day": Day()}

    def run(self) -> None:
        self.dump(
            [self.load("outer"), self.load(Group()), self.load()["outer"]["single"], list(self.load_generator("outer"))]
        )


def test_loading_a_wrapper_loads_what_it_groups() -> None:
    with in_memory_workspace():
        outer, group, single, parts = build(Reader(), progress=False)
    assert outer == {"group": {"days": [1, 2]}, "single": 7}
    assert (group, single, parts) == ({"days": [1, 2]}, 7, [1, 2, 7])


class Passing(TaskOnKart[int]):
    day: Any = TaskInstanceParameter(default=Day(depth=5))

    def output(self) -> Any:
        return self.input()["day"]


class PassingMore(Passing):
    def output(self) -> Any:
        return {"day": self.input()["day"], "own": self.make_target("own.pkl")}

    def run(self) -> None:
        self.dump(self.load("day") + 1, "own")


class Behind(TaskOnKart[int]):
    passing: Any = TaskInstanceParameter(default=Passing())

    def run(self) -> None:
        self.dump(self.load("passing") + 10)


def test_a_task_may_pass_the_target_of_an_input_on(workspace: Path) -> None:
    assert build(Behind(), progress=False) == 15
    assert Passing().complete()
    assert build(Passing(), progress=False) == 5
    more: Any = PassingMore()
    assert build(more, progress=False) == {"day": 5, "own": 6}
    assert build(more, progress=False, rerun=["PassingMore"]) == {"day": 5, "own": 6}
    assert len(list(workspace.rglob("*.pkl"))) == 3


def test_two_tasks_that_write_one_file_are_refused_still() -> None:
    class One(TaskOnKart[int]):
        def output(self) -> Any:
            return self.make_target("same.pkl", use_unique_id=False)

    class Two(TaskOnKart[int]):
        def requires(self) -> Any:
            return One()

        def output(self) -> Any:
            return self.make_target("same.pkl", use_unique_id=False)

    with pytest.raises(TargetError, match="both write"), in_memory_workspace():
        build(Two(), progress=False)
