"""Right uses of the public face: a type checker must accept every line, and infer exactly the asserted types."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
from airflow.sdk import DAG, Asset
from typing_extensions import assert_type

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
    ParameterVisibility,
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
from airflow_kart.formats import CsvFormat
from airflow_kart.testing import assert_runs_on_empty_frames, run_in_memory, try_in_memory
from airflow_kart.views import graphviz, mermaid, tree
from airflow_kart.views import table as table_of_tasks


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Everything(TaskOnKart[str]):
    """One parameter of each type, with a default and without."""

    text: str = StrParameter()
    plain: str = Parameter()
    whole: int = IntParameter(min_value=0, max_value=10)
    number: float = FloatParameter(min_value=0.5, allow_inf_nan=True)
    switch: bool = BoolParameter()
    day: dt.date = DateParameter()
    colour: Colour = EnumParameter(enum=Colour)
    names: tuple[str, ...] = ListParameter()
    limits: Mapping[str, int] = DictParameter()

    text_or: str = StrParameter(default="a", description="A text")
    plain_or: str = Parameter(default="a")
    whole_or: int = IntParameter(default=1, significant=False)
    number_or: float = FloatParameter(default=1)
    switch_or: bool = BoolParameter(default=True, visibility=ParameterVisibility.HIDDEN)
    day_or: dt.date = DateParameter(default=dt.date(2026, 1, 1), compile_value=dt.date(2026, 1, 2))
    colour_or: Colour = EnumParameter(enum=Colour, default=Colour.BLUE)
    names_or: tuple[str, ...] = ListParameter(default=["a"])
    limits_or: Mapping[str, int] = DictParameter(default={"a": 1})


def attributes_have_the_values_types(task: Everything) -> None:
    assert_type(task.text, str)
    assert_type(task.plain, str)
    assert_type(task.whole, int)
    assert_type(task.number, float)
    assert_type(task.switch, bool)
    assert_type(task.day, dt.date)
    assert_type(task.colour, Colour)
    assert_type(task.names, tuple[str, ...])
    assert_type(task.limits, Mapping[str, int])
    assert_type(task.text_or, str)
    assert_type(task.plain_or, str)
    assert_type(task.whole_or, int)
    assert_type(task.number_or, float)
    assert_type(task.switch_or, bool)
    assert_type(task.day_or, dt.date)
    assert_type(task.colour_or, Colour)
    assert_type(task.names_or, tuple[str, ...])
    assert_type(task.limits_or, Mapping[str, int])
    assert_type(task.unique_id, str)
    assert_type(task.complete(), bool)
    assert_type(task.task_log, dict[str, Any])


def parameters_have_the_values_types_by_themselves() -> None:
    assert_type(StrParameter(), str)
    assert_type(IntParameter(), int)
    assert_type(FloatParameter(), float)
    assert_type(BoolParameter(), bool)
    assert_type(DateParameter(), dt.date)
    assert_type(EnumParameter(enum=Colour), Colour)
    assert_type(ListParameter(default=[1, 2]), tuple[int, ...])
    assert_type(DictParameter(default={"a": 1}), Mapping[str, int])


def tasks_are_made_by_keyword() -> None:
    task = Everything(
        text="a",
        plain="a",
        whole=1,
        number=1,
        switch=True,
        day=dt.date(2026, 1, 1),
        colour=Colour.RED,
        names=("a", "b"),
        limits={"a": 1},
        whole_or=2,
    )
    assert_type(task, Everything)
    assert_type(Table(), Table)
    assert_type(Table(rows=3), Table)


class Table(TaskOnKart[pd.DataFrame]):
    rows: int = IntParameter(default=1)

    def output(self) -> Target:
        target = self.make_target("table.parquet")
        assert_type(target, Target)
        assert_type(target.uri, str)
        return self.make_target("table.parquet", use_unique_id=False)

    def run(self) -> None:
        self.dump(pd.DataFrame({"row": range(self.rows)}))


class Named(Table):
    """Inherits its parameters and what it dumps."""

    name: str = StrParameter(default="a")


class Count(TaskOnKart[int]):
    table: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()
    exact: Table = TaskInstanceParameter(expected_type=Table)
    others: tuple[TaskOnKart[int], ...] = ListTaskInstanceParameter(default=())

    def requires(self) -> dict[str, Any]:
        return {"table": self.table, "others": list(self.others)}

    def run(self) -> None:
        assert_type(self.table, TaskOnKart[pd.DataFrame])
        assert_type(self.exact, Table)
        assert_type(self.others, tuple[TaskOnKart[int], ...])
        assert_type(self.load(self.table), pd.DataFrame)
        assert_type(self.load(self.exact), pd.DataFrame)
        assert_type(self.load(self.others), list[int])
        assert_type(self.load([self.table, self.table]), list[pd.DataFrame])
        assert_type(self.load({"first": self.table}), dict[str, pd.DataFrame])
        assert_type(self.load(self.table, columns=["a"]), pd.DataFrame)
        assert_type(self.load([self.table], columns=("a", "b")), list[pd.DataFrame])
        assert_type(self.load({"first": self.table}, columns=["a"]), dict[str, pd.DataFrame])
        assert_type(self.load("table", columns=["a"]), Any)
        assert_type(self.load(columns=["a"]), Any)
        assert_type(self.table.output().load(columns=["a"]), Any)
        rows: pd.DataFrame = self.load("table")
        first: int = self.load(0)
        everything: dict[str, Any] = self.load()
        self.task_log["rows"] = len(rows)
        self.dump(len(rows) + first + len(everything))


class Point:
    """Writes itself as text."""

    def gokart_serialize(self) -> str:
        return "point"

    @classmethod
    def gokart_deserialize(cls, s: str) -> Point:
        return cls()


class Moments(TaskOnKart[str]):
    month: dt.date = MonthParameter()
    year: dt.date = YearParameter(default=dt.date(2026, 1, 1), interval=2)
    week: dt.date = DateParameter(interval=7, start=dt.date(2026, 1, 5))
    hour: dt.datetime = DateHourParameter()
    minute: dt.datetime = DateMinuteParameter(default=dt.datetime(2026, 1, 1), interval=15)
    second: dt.datetime = DateSecondParameter(start=dt.datetime(2026, 1, 1))
    zoned: dt.datetime = ZonedDateSecondParameter()
    interval: DateInterval = DateIntervalParameter(default=DateInterval.month(2026, 1))
    duration: dt.timedelta = TimeDeltaParameter()

    month_or: dt.date | None = OptionalMonthParameter(default=None)
    year_or: dt.date | None = OptionalYearParameter(default=dt.date(2026, 1, 1))
    day_or: dt.date | None = OptionalDateParameter()
    hour_or: dt.datetime | None = OptionalDateHourParameter(default=None)
    minute_or: dt.datetime | None = OptionalDateMinuteParameter(default=None, interval=15)
    second_or: dt.datetime | None = OptionalDateSecondParameter()
    zoned_or: dt.datetime | None = OptionalZonedDateSecondParameter(default=None)
    interval_or: DateInterval | None = OptionalDateIntervalParameter()
    duration_or: dt.timedelta | None = OptionalTimeDeltaParameter(default=dt.timedelta(days=1))


class Several(TaskOnKart[str]):
    explicit: bool = ExplicitBoolParameter(default=True)
    share: float = NumericalParameter(var_type=float, min_value=0.0, max_value=1.0, include_max=True)
    amount: int = NumericalParameter(var_type=int, default=1)
    letter: str = ChoiceParameter(choices=["a", "b"])
    digit: int = ChoiceParameter(choices=(1, 2), default=1, var_type=int)
    letters: tuple[str, ...] = ChoiceListParameter(choices=["a", "b"])
    digits: Sequence[int] = ChoiceListParameter(choices=[1, 2], default=[1])
    colours: tuple[Colour, ...] = EnumListParameter(enum=Colour)
    more_colours: Sequence[Colour] = EnumListParameter(enum=Colour, default=[Colour.RED])
    path: Path = PathParameter(exists=True)
    pair: tuple[int, str] = TupleParameter(default=(1, "a"))
    any_tuple: tuple[int, str] = TupleParameter()
    checked: Mapping[str, int] = DictParameter(default={}, schema={"type": "object"})
    listed: tuple[int, ...] = ListParameter(default=[1], schema={"maxItems": 3})
    step: type[TaskOnKart[Any]] = TaskParameter()
    table_class: type[Table] = TaskParameter(expected_type=Table)
    named_class: type[TaskOnKart[pd.DataFrame]] = TaskParameter(default=Table)
    point: Point = SerializableParameter(object_type=Point)
    point_default: Point = SerializableParameter(object_type=Point, default=Point())


class Maybe(TaskOnKart[str]):
    plain: str | None = OptionalParameter(default=None)
    text: str | None = OptionalStrParameter(default="a")
    whole: int | None = OptionalIntParameter(default=None, min_value=1)
    number: float | None = OptionalFloatParameter(default=1)
    amount: int | None = OptionalNumericalParameter(var_type=int, default=None, max_value=3)
    share: float | None = OptionalNumericalParameter(var_type=float)
    switch: bool | None = OptionalBoolParameter()
    colour: Colour | None = OptionalEnumParameter(enum=Colour, default=None)
    colour_required: Colour | None = OptionalEnumParameter(enum=Colour)
    colours: tuple[Colour, ...] | None = OptionalEnumListParameter(enum=Colour, default=None)
    letter: str | None = OptionalChoiceParameter(choices=["a"], default=None)
    letters: tuple[str, ...] | None = OptionalChoiceListParameter(choices=["a"])
    path: Path | None = OptionalPathParameter(default=None, absolute=True)
    names: tuple[str, ...] | None = OptionalListParameter(default=None)
    pair: tuple[int, str] | None = OptionalTupleParameter(default=(1, "a"))
    limits: Mapping[str, int] | None = OptionalDictParameter(default={"a": 1})
    step: type[Table] | None = OptionalTaskParameter(expected_type=Table, default=None)
    point: Point | None = OptionalSerializableParameter(object_type=Point, default=None)
    table: TaskOnKart[pd.DataFrame] | None = OptionalTaskInstanceParameter(default=None)
    tables: tuple[TaskOnKart[int], ...] | None = OptionalListTaskInstanceParameter(default=None)


def the_other_parameters_have_the_values_types_by_themselves() -> None:
    assert_type(MonthParameter(), dt.date)
    assert_type(OptionalMonthParameter(), "dt.date | None")
    assert_type(YearParameter(), dt.date)
    assert_type(DateHourParameter(), dt.datetime)
    assert_type(DateMinuteParameter(), dt.datetime)
    assert_type(DateSecondParameter(), dt.datetime)
    assert_type(ZonedDateSecondParameter(), dt.datetime)
    assert_type(OptionalDateHourParameter(default=None), "dt.datetime | None")
    assert_type(DateIntervalParameter(), DateInterval)
    assert_type(OptionalTimeDeltaParameter(default=None), "dt.timedelta | None")
    assert_type(NumericalParameter(var_type=float), float)
    assert_type(OptionalNumericalParameter(var_type=int), "int | None")
    assert_type(OptionalIntParameter(default=1), "int | None")
    assert_type(OptionalStrParameter(default="a"), "str | None")
    assert_type(ChoiceParameter(choices=[1, 2]), int)
    assert_type(OptionalChoiceParameter(choices=["a"], default=None), "str | None")
    assert_type(ChoiceListParameter(choices=["a"]), "tuple[str, ...]")
    assert_type(EnumListParameter(enum=Colour), "tuple[Colour, ...]")
    assert_type(OptionalEnumParameter(enum=Colour, default=None), "Colour | None")
    assert_type(PathParameter(), Path)
    assert_type(TaskParameter(expected_type=Table), type[Table])
    assert_type(SerializableParameter(object_type=Point), Point)
    assert_type(OptionalListParameter(default=["a"]), "tuple[str, ...] | None")
    first: dt.date = next(iter(DateInterval.parse("2026-W12").next()))
    assert_type(first, dt.date)


class Region(SharedParameters):
    country: str = StrParameter(default="jp")


class Visits(Region, TaskOnKart[int]):
    limit: int = IntParameter(kw_only=False)
    rate: float = FloatParameter(default=0.5, kw_only=False)
    word: str | None = OptionalStrParameter(default=None)
    land: str = Region.country


def settings_are_shared() -> None:
    assert_type(Region(country="fr").country, str)
    assert_type(Visits(1, country="fr", land="de").land, str)
    assert_type(Visits(1).word, "str | None")


def parameters_are_given_by_position_where_they_say_so() -> None:
    assert_type(Visits(1), Visits)
    assert_type(Visits(1, 0.5), Visits)
    assert_type(Visits(1, rate=0.5, word="a"), Visits)
    Maybe(number=None, share=0.5, switch=None, colour_required=Colour.RED, letters=None)


class Two(TaskOnKart[dict[str, float]]):
    """Several outputs: the type of the task is that of what loading returns, and a named output is of any type."""

    def output(self) -> dict[str, Target]:
        return {"mean": self.make_target("mean.json"), "count": self.make_target("count.json")}

    def run(self) -> None:
        self.dump(1.5, "mean")
        self.dump(3, target="count")
        self.dump(3, self.output()["count"])


class Scores(TypedDict):
    table: pd.DataFrame
    best: int


class Scored(TaskOnKart[Scores]):
    def output(self) -> dict[str, Target]:
        return {"table": self.make_target("table.parquet"), "best": self.make_target("best.json")}

    def run(self) -> None:
        self.dump(pd.DataFrame(), "table")
        self.dump(3, "best", {"label": "text"})


class Parts(TaskOnKart[list[str]]):
    def output(self) -> list[Target]:
        return [self.make_target("first.txt"), self.make_target("second.txt")]

    def run(self) -> None:
        two, scored = Two(), Scored()
        assert_type(self.load(two), dict[str, float])
        assert_type(self.load(two, "mean"), float)
        assert_type(self.load(scored), Scores)
        assert_type(self.load(scored)["table"], pd.DataFrame)
        assert_type(self.load(scored, "best"), Any)
        assert_type(self.load([two])[0]["mean"], float)
        assert_type(self.load("scores", "best"), Any)
        assert_type(self.load("scores", 0, "best", columns=["a"]), Any)
        assert_type(self.load(Parts(), 0), str)
        assert_type(self.load_generator(two, "mean"), Iterator[float])
        assert_type(self.load_generator("scores", "table"), Iterator[Any])
        assert_type(self.input(), Any)
        assert_type(self.input("scores", "best"), Any)
        assert_type(self.input(two, "mean"), Any)
        self.dump("a", 0)


def upstream_takes_any_task_of_its_type() -> None:
    assert_type(Count(table=Table(), exact=Table()), Count)
    assert_type(Count(table=Named(), exact=Named(), others=(Count(table=Table(), exact=Table()),)), Count)


def build_returns_what_the_task_dumps(task: TaskOnKart[float]) -> None:
    assert_type(build(Table()), pd.DataFrame)
    assert_type(build(Count(table=Table(), exact=Table())), int)
    assert_type(build(Two(), workers=2), dict[str, float])
    assert_type(build(Scored()), Scores)
    assert_type(build(Scored())["best"], int)
    assert_type(build(task, workspace_directory=Path("workspace"), rerun=["Ta*"]), float)


def clone_keeps_or_changes_the_class(task: Named) -> None:
    assert_type(task.clone(), Named)
    assert_type(task.clone(rows=2), Named)
    assert_type(task.clone(Table), Table)
    assert_type(task.clone(Count, table=task), Count)


def workspace_is_a_context_manager() -> None:
    with Workspace("workspace") as workspace:
        assert_type(workspace, Workspace)
        assert_type(workspace.directory, str)
        assert_type(workspace.uri("a.pkl"), str)
    assert_type(Workspace.current(), Workspace)


def run_date_is_a_template() -> None:
    assert_type(run_date(), str)
    assert_type(run_date(tz="Europe/Paris"), str)
    assert_type(run_date(offset=dt.timedelta(days=-1)), str)


def dags_are_made_from_tasks_and_classes() -> None:
    dag = KartDag("by_task", Table(rows=2))
    assert_type(dag, KartDag)
    whole: DAG = dag
    KartDag(
        dag_id="by_class",
        root=Everything,
        bind={"day": run_date(), "whole": 3},
        workspace=Workspace("s3://bucket/workspace", aws_conn_id="aws", read_from=("/shared",), lock="lease"),
        on_cached="success",
        plan=False,
        operator_kwargs={"retries": 2},
        schedule="@daily",
        start_date=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc),
        catchup=whole.catchup,
        tags=["kart"],
    )
    KartDag("several", root=[Table, Table(rows=2), Named()], workspace_directory="/workspace")
    KartDag("text", root=Table, workspace="{{ var.value.bucket }}/workspace")
    with DAG("outer"):
        assert_type(KartTaskGroup("inner", Table, bind={"rows": 2}, on_cached="skip", tooltip="Tables"), KartTaskGroup)
        operator = KartOperator(task_id="table", task=Table(), bind={"rows": "{{ params.rows }}"}, retries=2)
        assert_type(operator, KartOperator)
        assert_type(operator.task, TaskOnKart[Any])


@kart_dag(schedule="@daily", bind={"day": run_date()}, on_cached="success", tags=["kart"])
class Daily(TaskOnKart[int]):
    day: dt.date = DateParameter()


@kart_dag("named_dag")
class Weekly(TaskOnKart[int]):
    week: int = IntParameter(default=1)


def decorated_classes_stay_classes() -> None:
    assert_type(Daily(day=dt.date(2026, 1, 1)), Daily)
    assert_type(build(Daily(day=dt.date(2026, 1, 1))), int)
    assert_type(Weekly().week, int)


class Shared(TaskOnKart[str]):
    """What a class may set besides parameters."""

    operator_kwargs = {"pool": "gpu", "retries": 2}
    assets = (Asset("shop"), "shop/{day}", lambda task: f"shop/{task.unique_id}")
    assets_when_cached = True
    code_version = "2"
    inline = True
    rerun = True
    strict_check = True
    modification_time_check = True
    fail_on_empty_dump = True
    column_types = {"day": dt.date, "rows": "int64"}
    seed_functions = ("random.seed", "torch.manual_seed")
    seed_value = 7


class Group(WrapperTask):
    def requires(self) -> list[TaskOnKart[Any]]:
        return [Table(), Shared()]


class Delivered(ExternalTask[pd.DataFrame]):
    poll_seconds = 5
    timeout = dt.timedelta(hours=1)

    def output(self) -> Target:
        return self.make_target("/incoming/table.csv", format=CsvFormat(separator=";"))


def save(model: dict[str, float], path: str) -> None:
    Path(path).write_text(str(model))


def restore_model(path: str) -> dict[str, float]:
    return {path: 1.0}


class InParts(TaskOnKart[dict[str, Any]]):
    def output(self) -> dict[str, Target]:
        return {
            "parts": self.make_large_data_frame_target("parts.zip", max_byte=1 << 20),
            "model": self.make_model_target("model.zip", save, restore_model),
            "plain": self.make_target("plain.csv", use_unique_id=False, format=CsvFormat(encoding="cp932")),
        }

    def run(self) -> None:
        assert_type(self.load_generator(Table()), Iterator[pd.DataFrame])
        assert_type(self.load_generator([Table(), Table(rows=2)]), Iterator[pd.DataFrame])
        assert_type(self.load_generator({"a": Shared()}), Iterator[str])
        assert_type(self.load_generator("key"), Iterator[Any])
        assert_type(self.load_generator(), Iterator[Any])
        self.dump_generator(self.load_generator(Table()), "parts")
        self.dump_generator([pd.DataFrame()], "parts")
        self.rng.normal()


class Dynamic(TaskOnKart[int]):
    def run(self) -> Iterator[TaskOnKart[Any]]:
        yield Table()
        self.dump(1)


def kinds_of_tasks() -> None:
    build(Group())
    assert_type(build(Delivered()), pd.DataFrame)
    assert_type(build(Dynamic()), int)
    assert_type(Table.restore("0" * 32), Table)
    assert_type(Shared.restore("0" * 32, token="x"), Shared)


def tests_and_views() -> None:
    assert_type(run_in_memory(Table(), {"a": 1}), pd.DataFrame)
    assert_type(try_in_memory(Shared()).value, str)
    assert_runs_on_empty_frames(Group(), given={Table: pd.DataFrame()})
    assert_type(tree(Group(), details=True), str)
    assert_type(table_of_tasks(Group()), pd.DataFrame)
    assert_type(mermaid(Group()), str)
    assert_type(graphviz(Group(), ignore=["Table"]), str)
