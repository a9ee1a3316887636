"""The tasks whose artifacts are in ``workspace.zip``: one of each format, kind and parameter.

The zip was written by :func:`make`, with the package as it was before its modules were moved into districts. This file
must not change: the code of :class:`Fingerprinted` counts in its unique id.
"""

from __future__ import annotations

import datetime as dt
import enum
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from airflow_kart import (
    BoolParameter,
    ChoiceParameter,
    DateInterval,
    DateIntervalParameter,
    DateParameter,
    DictParameter,
    EnumParameter,
    ExternalTask,
    FloatParameter,
    IntParameter,
    ListParameter,
    ListTaskInstanceParameter,
    ParameterVisibility,
    PathParameter,
    SharedParameters,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    TaskParameter,
    TimeDeltaParameter,
    WrapperTask,
    ZonedDateSecondParameter,
    build,
)

DAY = dt.date(2024, 5, 6)
NOON = dt.datetime(2024, 5, 6, 12, tzinfo=dt.timezone.utc)
NOTES = """
import dataclasses

from airflow_kart import IntParameter, TaskOnKart


@dataclasses.dataclass
class Note:
    text: str


class Noting(TaskOnKart[int]):
    size: int = IntParameter(default=3)
"""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Region(SharedParameters):
    country: str = StrParameter(default="jp")


class Table(Region, TaskOnKart[pd.DataFrame]):
    """A table in one of the formats."""

    extension: str = ChoiceParameter(choices=["parquet", "feather", "csv", "tsv", "pkl", "csv.gz"])

    def output(self) -> Target:
        return self.make_target(f"tables/table.{self.extension}")

    def run(self) -> None:
        self.dump(frame())


def frame() -> pd.DataFrame:
    days = pd.to_datetime(["2024-05-06", "2024-05-07"])
    made: pd.DataFrame = pd.DataFrame({"item": ["tea", "rice"], "price": [3.5, 2.0], "day": days})
    return made


class Parts(TaskOnKart[pd.DataFrame]):
    def output(self) -> Target:
        return self.make_large_data_frame_target("tables/parts.zip")

    def run(self) -> None:
        self.dump_generator(pd.DataFrame({"part": [index, index]}) for index in range(3))


class Value(TaskOnKart[Any]):
    """A value in one of the formats."""

    extension: str = ChoiceParameter(choices=["json", "ndjson", "txt", "npy", "npz"])

    def output(self) -> Target:
        return self.make_target(f"values/value.{self.extension}")

    def run(self) -> None:
        self.dump(value_of(self.extension))


def value_of(extension: str) -> Any:
    return {
        "json": {"list": [1, 2.5, None], "text": "né"},
        "ndjson": [{"a": 1}, {"a": 2}],
        "txt": "two\nlines",
        "npy": np.arange(6).reshape(2, 3),
        "npz": {"one": np.arange(3), "two": np.ones(2)},
    }[extension]


class Everything(TaskOnKart[Any]):
    """A task with a parameter of many types; it dumps itself and what its parameters hold."""

    flag: bool = BoolParameter(default=True)
    number: int = IntParameter(default=7)
    share: float = FloatParameter(default=0.25)
    day: dt.date = DateParameter(default=DAY)
    days: DateInterval = DateIntervalParameter(default=DateInterval.month(2024, 5))
    moment: dt.datetime = ZonedDateSecondParameter(default=NOON)
    span: dt.timedelta = TimeDeltaParameter(default=dt.timedelta(hours=36))
    colour: Colour = EnumParameter(enum=Colour, default=Colour.BLUE)
    options: Any = DictParameter(default={"a": {"b": [1, 2]}})
    names: Any = ListParameter(default=["x", "y"])
    path: Path = PathParameter(default=Path("data/in.csv"))
    table: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Table(extension="parquet"))
    tables: Any = ListTaskInstanceParameter(default=[Table(extension="csv"), Table(extension="feather")])
    kind: Any = TaskParameter(default=Parts)
    secret: str = StrParameter(default="hush", visibility=ParameterVisibility.PRIVATE, significant=False)

    def run(self) -> None:
        self.dump(
            {"task": self, "options": self.options, "days": self.days, "parameter": type(self).get_parameters()["days"]}
        )


class Notes(TaskOnKart[Any]):
    """Objects of a DAG file's classes, which other processes cannot import: a plain one, a task, a class."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "notes.py")
            file.write_text(NOTES)
            name = "unusual_prefix_" + "0" * 40 + "_notes"
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self.dump([module.Note("remember"), module.Noting(size=5), module.Noting])


class Fingerprinted(TaskOnKart[int]):
    code_version = "auto"

    def run(self) -> None:
        self.dump(doubled(21))


def doubled(number: int) -> int:
    return number * 2


class Given(ExternalTask[pd.DataFrame]):
    def output(self) -> Target:
        return self.make_target("given/given.csv")


class Several(TaskOnKart[Any]):
    given: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Given())

    def output(self) -> dict[str, Target]:
        return {"rows": self.make_target("several/rows.json"), "text": self.make_target("several/text.txt")}

    def run(self) -> None:
        self.task_log["rows"] = len(self.load(self.given))
        self.dump(self.task_log["rows"], "rows")
        self.dump("done", "text")


class All(WrapperTask):
    def requires(self) -> Any:
        return {
            "tables": [Table(extension=each) for each in ("parquet", "feather", "csv", "tsv", "pkl", "csv.gz")],
            "values": [Value(extension=each) for each in ("json", "ndjson", "txt", "npy", "npz")],
            "parts": Parts(),
            "everything": Everything(),
            "notes": Notes(),
            "fingerprinted": Fingerprinted(),
            "several": Several(),
        }


def make(directory: str) -> None:
    """Make the workspace."""
    Path(directory, "given").mkdir(parents=True)
    Path(directory, "given", "given.csv").write_text("a,b\n1,2\n3,4\n")
    build(All(), workspace_directory=directory)
