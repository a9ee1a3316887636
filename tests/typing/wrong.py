"""Wrong uses of the public face: a type checker must report the lines that end in ``# wrong``, and no other."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from airflow_kart import (
    BoolParameter,
    ChoiceListParameter,
    ChoiceParameter,
    DateHourParameter,
    DateInterval,
    DateIntervalParameter,
    DateMinuteParameter,
    DateParameter,
    DateSecondParameter,
    DictParameter,
    EnumListParameter,
    EnumParameter,
    ExplicitBoolParameter,
    ExternalTask,
    FloatParameter,
    IntParameter,
    KartDag,
    KartOperator,
    KartTaskGroup,
    ListParameter,
    ListTaskInstanceParameter,
    MonthParameter,
    NumericalParameter,
    OptionalBoolParameter,
    OptionalChoiceListParameter,
    OptionalChoiceParameter,
    OptionalDateHourParameter,
    OptionalDateIntervalParameter,
    OptionalDateMinuteParameter,
    OptionalDateParameter,
    OptionalDateSecondParameter,
    OptionalDictParameter,
    OptionalEnumListParameter,
    OptionalEnumParameter,
    OptionalFloatParameter,
    OptionalIntParameter,
    OptionalListParameter,
    OptionalListTaskInstanceParameter,
    OptionalMonthParameter,
    OptionalNumericalParameter,
    OptionalParameter,
    OptionalPathParameter,
    OptionalSerializableParameter,
    OptionalStrParameter,
    OptionalTaskInstanceParameter,
    OptionalTaskParameter,
    OptionalTimeDeltaParameter,
    OptionalTupleParameter,
    OptionalYearParameter,
    OptionalZonedDateSecondParameter,
    Parameter,
    PathParameter,
    SerializableParameter,
    SharedParameters,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    TaskParameter,
    TimeDeltaParameter,
    TupleParameter,
    Workspace,
    WrapperTask,
    YearParameter,
    ZonedDateSecondParameter,
    build,
    kart_dag,
    run_date,
)
from airflow_kart.testing import run_in_memory
from airflow_kart.views import tree


class Colour(enum.Enum):
    RED = 1


class Size(enum.Enum):
    BIG = 1


class Table(TaskOnKart[pd.DataFrame]):
    rows: int = IntParameter(default=1)


class Count(TaskOnKart[int]):
    table: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()
    depth: int = IntParameter()
    rate: float = FloatParameter(default=0.5)
    text: str = StrParameter(default="a")
    day: dt.date = DateParameter(default=dt.date(2026, 1, 1))
    switch: bool = BoolParameter(default=True)
    colour: Colour = EnumParameter(enum=Colour, default=Colour.RED)
    names: tuple[str, ...] = ListParameter(default=())
    limits: Mapping[str, int] = DictParameter(default={})
    others: tuple[TaskOnKart[int], ...] = ListTaskInstanceParameter(default=())


class DumpsTheWrongType(TaskOnKart[int]):
    def run(self) -> None:
        self.dump("a")  # wrong
        self.dump(None)  # wrong
        self.dump(1, 0.5)  # wrong
        self.dump()  # wrong


class LoadsTheWrongThing(TaskOnKart[int]):
    table: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()

    def run(self) -> None:
        count: int = self.load(self.table)  # wrong
        self.load(0.5)  # wrong
        self.load({1: self.table})  # wrong
        self.load(self.table, columns=[1])  # wrong
        self.load(self.table, columns={"a"})  # wrong
        self.load(self.table, ["a"])  # wrong
        one_column: int = self.load(self.table, columns=["a"])  # wrong
        self.dump(self.load([self.table])[0])  # wrong
        self.dump(count)


class Several(TaskOnKart[dict[str, float]]):
    def run(self) -> None:
        self.dump(1.5)  # wrong
        text: str = self.load(Several(), "mean")  # wrong
        one: float = self.load(Several())  # wrong
        self.load(Several(), 0.5)  # wrong
        self.input(None, 0.5)  # wrong
        self.dump(one, text)


class ReturnsTheWrongThing(TaskOnKart[int]):
    def run(self) -> int:  # wrong
        return 1


class WrongDefaults(TaskOnKart[int]):
    text: str = StrParameter(default=1)  # wrong
    depth: int = IntParameter(default="6")  # wrong
    share: int = IntParameter(default=0.5)  # wrong
    rate: float = FloatParameter(default="0.5")  # wrong
    switch: bool = BoolParameter(default="yes")  # wrong
    day: dt.date = DateParameter(default="2026-01-01")  # wrong
    colour: Colour = EnumParameter(enum=Colour, default=Size.BIG)  # wrong
    optional: int | None = IntParameter(default=None)  # wrong
    by_name: Colour = EnumParameter(enum=Colour, default="RED")  # wrong
    names: tuple[str, ...] = ListParameter(default=[1])  # wrong
    limits: Mapping[str, int] = DictParameter(default={"a": "b"})  # wrong


class WrongAnnotations(TaskOnKart[int]):
    text: int = StrParameter()  # wrong
    depth: str = IntParameter()  # wrong
    rate: int = FloatParameter()  # wrong
    switch: str = BoolParameter()  # wrong
    day: str = DateParameter()  # wrong
    moment: dt.datetime = DateParameter()  # wrong
    colour: str = EnumParameter(enum=Colour)  # wrong
    names: list[str] = ListParameter()  # wrong
    limits: dict[str, int] = DictParameter()  # wrong


NOON = dt.datetime(2026, 1, 1, 12)


class Mute:
    """Does not write itself as text."""


class WrongMoments(TaskOnKart[int]):
    month: dt.date = MonthParameter(default="2026-01")  # wrong
    month_text: str = MonthParameter()  # wrong
    year: dt.date = YearParameter(default=2026)  # wrong
    year_interval: dt.date = YearParameter(interval="2")  # wrong
    hour: dt.datetime = DateHourParameter(default=dt.date(2026, 1, 1))  # wrong
    minute: dt.datetime = DateMinuteParameter(interval=0.5)  # wrong
    second: dt.time = DateSecondParameter()  # wrong
    zoned: dt.datetime = ZonedDateSecondParameter(interval=5)  # wrong
    zoned_text: str = ZonedDateSecondParameter()  # wrong
    interval: DateInterval = DateIntervalParameter(default="2026-01")  # wrong
    interval_dates: tuple[dt.date, dt.date] = DateIntervalParameter()  # wrong
    duration: dt.timedelta = TimeDeltaParameter(default=90)  # wrong
    duration_seconds: int = TimeDeltaParameter()  # wrong


class WrongChoices(TaskOnKart[int]):
    explicit: bool = ExplicitBoolParameter(default=1)  # wrong
    kind: str = NumericalParameter(var_type=str)  # wrong
    whole: int = NumericalParameter(var_type=float)  # wrong
    share: float = NumericalParameter(var_type=float, default="0.5")  # wrong
    without_type: int = NumericalParameter(max_value=3)  # wrong
    letter: int = ChoiceParameter(choices=["a"])  # wrong
    default: str = ChoiceParameter(choices=["a"], default=1)  # wrong
    no_choices: str = ChoiceParameter()  # wrong
    letters: str = ChoiceListParameter(choices=["a"])  # wrong
    digits: tuple[int, ...] = ChoiceListParameter(choices=["a"])  # wrong
    colours: tuple[Size, ...] = EnumListParameter(enum=Colour)  # wrong
    colours_default: tuple[Colour, ...] = EnumListParameter(enum=Colour, default=Colour.RED)  # wrong
    path: Path = PathParameter(default="a/b")  # wrong
    path_text: str = PathParameter()  # wrong
    path_option: Path = PathParameter(exists="yes")  # wrong
    pair: tuple[int, str] = TupleParameter(default=(1, 2))  # wrong
    pair_list: list[int] = TupleParameter()  # wrong
    pair_default: tuple[int, str] = TupleParameter(default=3)  # wrong
    schema: Mapping[str, int] = DictParameter(schema="object")  # wrong
    step: type[Count] = TaskParameter(expected_type=Table)  # wrong
    step_instance: Table = TaskParameter(expected_type=Table)  # wrong
    step_default: type[Table] = TaskParameter(default=Count)  # wrong
    mute: Mute = SerializableParameter(object_type=Mute)  # wrong
    no_type: Mute = SerializableParameter()  # wrong


class WrongOptionals(TaskOnKart[int]):
    plain: str | None = OptionalParameter(default=1)  # wrong
    text: str = OptionalStrParameter(default="a")  # wrong
    whole: int = OptionalIntParameter()  # wrong
    whole_text: int | None = OptionalIntParameter(default="1")  # wrong
    number: int | None = OptionalFloatParameter(default=None)  # wrong
    amount: int = OptionalNumericalParameter(var_type=int)  # wrong
    switch: bool | None = OptionalBoolParameter(default="yes")  # wrong
    day: dt.date = OptionalDateParameter()  # wrong
    month: dt.date | None = OptionalMonthParameter(default="2026-01")  # wrong
    year: dt.date = OptionalYearParameter(default=None)  # wrong
    hour: dt.datetime | None = OptionalDateHourParameter(default="T01")  # wrong
    minute: dt.datetime | None = OptionalDateMinuteParameter(interval="15")  # wrong
    second: dt.datetime = OptionalDateSecondParameter(default=NOON)  # wrong
    zoned: dt.datetime = OptionalZonedDateSecondParameter()  # wrong
    interval: DateInterval = OptionalDateIntervalParameter()  # wrong
    duration: dt.timedelta | None = OptionalTimeDeltaParameter(default=1)  # wrong
    colour: Colour = OptionalEnumParameter(enum=Colour, default=None)  # wrong
    colour_default: Colour | None = OptionalEnumParameter(enum=Colour, default="RED")  # wrong
    colours: tuple[Colour, ...] = OptionalEnumListParameter(enum=Colour)  # wrong
    letter: str = OptionalChoiceParameter(choices=["a"])  # wrong
    letters: tuple[str, ...] = OptionalChoiceListParameter(choices=["a"])  # wrong
    path: Path = OptionalPathParameter(default=None)  # wrong
    names: tuple[str, ...] = OptionalListParameter(default=None)  # wrong
    pair: tuple[int, str] = OptionalTupleParameter(default=(1, "a"))  # wrong
    limits: Mapping[str, int] = OptionalDictParameter(default={"a": 1})  # wrong
    step: type[Table] = OptionalTaskParameter(expected_type=Table)  # wrong
    mute: Mute | None = OptionalSerializableParameter(object_type=Mute)  # wrong
    tables: tuple[Table, ...] = OptionalListTaskInstanceParameter(default=None)  # wrong
    table: Table | None = OptionalTaskInstanceParameter(expected_type="Table")  # wrong


class Region(SharedParameters):
    country: str = StrParameter(default="jp")


class WronglyShared(Region, TaskOnKart[int]):
    limit: int = IntParameter(kw_only=False)
    number: int = Region.country  # wrong
    unknown: str = Region.county  # wrong
    switch: bool = BoolParameter(default=True)


def settings_are_shared_wrongly() -> None:
    Region("fr")  # wrong
    Region(country=1)  # wrong
    WronglyShared()  # wrong
    WronglyShared("1")  # wrong
    WronglyShared(1, True)  # wrong
    WronglyShared(1, limit=2)  # wrong
    WronglyShared(1, country=2)  # wrong


class WrongOverride(Table):
    rows: str = StrParameter()  # wrong


class WrongOptions(TaskOnKart[int]):
    positional: int = IntParameter(6)  # wrong
    by_position: int = IntParameter(kw_only="no")  # wrong
    unknown: int = IntParameter(minimum=1)  # wrong
    bound: int = IntParameter(min_value="1")  # wrong
    described: str = StrParameter(description=1)  # wrong
    significant: str = StrParameter(significant="no")  # wrong
    visible: str = StrParameter(visibility="private")  # wrong
    ranged: str = StrParameter(min_value=1)  # wrong
    unknown_base: str = Parameter(minimum=1)  # wrong
    no_enum: Colour = EnumParameter()  # wrong
    not_a_type: Table = TaskInstanceParameter(expected_type="Table")  # wrong


class Plain(TaskOnKart[int]):
    plain: str = Parameter()


def tasks_are_made_wrongly(table: Table) -> None:
    Plain()  # wrong
    Plain("a")  # wrong
    Count()  # wrong
    Count(table=table)  # wrong
    Count(table, 1)  # wrong
    Count(table=table, depth="1")  # wrong
    Count(table=table, depth=0.5)  # wrong
    Count(table=table, depth=1, rate="0.5")  # wrong
    Count(table=table, depth=1, text=1)  # wrong
    Count(table=table, depth=1, day="2026-01-01")  # wrong
    Count(table=table, depth=1, switch="yes")  # wrong
    Count(table=table, depth=1, colour=Size.BIG)  # wrong
    Count(table=table, depth=1, names=(1, 2))  # wrong
    Count(table=table, depth=1, limits={"a": "b"})  # wrong
    Count(table=table, depth=1, others=(table,))  # wrong
    Count(table=table, depth=1, dept=1)  # wrong
    Count(table=Table, depth=1)  # wrong
    Count(table="table", depth=1)  # wrong
    Count(table=Count(table=table, depth=1), depth=1)  # wrong
    Table(1)  # wrong
    Table(row=1)  # wrong
    Table(unique_id=None)  # wrong


def tasks_are_used_wrongly(table: Table, count: Count) -> None:
    table.rows = 2  # wrong
    count.table = table  # wrong
    count.dept  # wrong
    wide: str = table.rows  # wrong
    table.clone(int)  # wrong
    named: Count = table.clone()  # wrong
    table.make_target(1)  # wrong


def built_wrongly(table: Table) -> None:
    number: int = build(table)  # wrong
    build(Table)  # wrong
    build("table")  # wrong
    build(table, 2)  # wrong
    build(table, workers="2")  # wrong
    build(table, processes=2)  # wrong
    build(table, workspace_directory=1)  # wrong


def dags_are_made_wrongly(table: Table) -> None:
    KartDag()  # wrong
    KartDag("no_root")  # wrong
    KartDag(1, table)  # wrong
    KartDag("dag", "table")  # wrong
    KartDag("dag", int)  # wrong
    KartDag("dag", table, {"rows": 1})  # wrong
    KartDag("dag", table, bind=["rows"])  # wrong
    KartDag("dag", table, on_cached="fail")  # wrong
    KartDag("dag", table, plan="no")  # wrong
    KartDag("dag", table, workspace_directory=1)  # wrong
    KartDag("dag", table, workspace=1)  # wrong
    KartDag("dag", table, workspace_directory=Workspace("/ws"))  # wrong
    KartDag("dag", table, operator_kwargs=["pool"])  # wrong
    KartTaskGroup("group")  # wrong
    KartTaskGroup("group", table, on_cached="fail")  # wrong
    KartOperator(task_id="table")  # wrong
    KartOperator(table)  # wrong
    KartOperator(task_id="table", task=Table)  # wrong
    KartOperator(task_id="table", task=table, on_cached="fail")  # wrong
    Workspace()  # wrong
    Workspace(1)  # wrong
    run_date(1)  # wrong
    run_date(offset=1)  # wrong
    tomorrow: dt.date = run_date()  # wrong


@kart_dag(on_cached="fail")  # wrong
class WronglyCached(TaskOnKart[int]):
    pass


kart_dag()(Colour)  # wrong


@kart_dag  # wrong
class WithoutCall(TaskOnKart[int]):
    pass


@kart_dag(bind=["day"])  # wrong
class WronglyBound(TaskOnKart[int]):
    pass


class WrongClass(TaskOnKart[int]):
    operator_kwargs = ["pool"]  # wrong
    assets = (3,)  # wrong
    assets_when_cached = "yes"  # wrong
    code_version = 2  # wrong
    inline = "yes"  # wrong
    rerun = "no"  # wrong
    strict_check = "no"  # wrong
    modification_time_check = None  # wrong
    fail_on_empty_dump = "no"  # wrong
    column_types = ["day"]  # wrong
    seed_functions = "random.seed"  # wrong
    seed_value = 0.5  # wrong


class WronglyDelivered(ExternalTask[str]):
    poll_seconds = "often"  # wrong
    timeout = 60  # wrong


def save_number(number: int, path: str) -> None:
    pass


def load_text(path: str) -> str:
    return path


class WrongParts(TaskOnKart[str]):
    def output(self) -> dict[str, Target]:
        return {
            "path": self.make_large_data_frame_target(1),  # wrong
            "size": self.make_large_data_frame_target(max_byte="64 MB"),  # wrong
            "model": self.make_model_target("model.zip", save_number, load_number="x"),  # wrong
            "load": self.make_model_target("model.zip", save_number, 7),  # wrong
            "format": self.make_target("a.csv", format="csv"),  # wrong
        }

    def run(self) -> None:
        self.dump_generator([1])  # wrong
        self.dump_generator(1)  # wrong
        numbers: Iterator[int] = self.load_generator(WrongParts())  # wrong
        self.load_generator(1.5)  # wrong
        self.rng = None  # wrong


class WrongGroup(WrapperTask):
    def run(self) -> int:  # wrong
        return 1


text: int = WrongParts.restore("0" * 32)  # wrong
WrongParts.restore(7)  # wrong
in_memory: int = run_in_memory(WrongParts())  # wrong
run_in_memory(WrongParts)  # wrong
lines: list[str] = tree(WrongParts())  # wrong


def misspelt() -> None:
    from airflow_kart import KartDags  # wrong
    from airflow_kart.formats import PickelFormat  # wrong
    from airflow_kart.parameters import IntegerParameter  # wrong
    from airflow_kart.storage import S3store  # wrong
