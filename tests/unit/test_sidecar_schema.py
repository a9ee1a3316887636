"""Sidecars as they are really written fit the schema that ships with the package."""

from __future__ import annotations

import datetime as dt
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from airflow_kart import (
    DateParameter,
    ParameterVisibility,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    build,
)
from airflow_kart.exceptions import TargetError

SCHEMA = json.loads(files("airflow_kart.sidecar").joinpath("sidecar.schema.json").read_text())


class Table(TaskOnKart[pd.DataFrame]):
    day: dt.date = DateParameter(default=dt.date(2024, 1, 1))
    password: str = StrParameter(default="hush", visibility=ParameterVisibility.PRIVATE, significant=False)

    def output(self) -> Target:
        return self.make_target("table.parquet")

    def run(self) -> None:
        self.dump(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))


class Summary(TaskOnKart[dict[str, int]]):
    table: TaskOnKart[pd.DataFrame] = TaskInstanceParameter(default=Table())

    def requires(self) -> dict[str, list[TaskOnKart[pd.DataFrame]]]:
        return {"tables": [self.table]}

    def output(self) -> dict[str, Target]:
        return {"one": self.make_target("one.json"), "two": self.make_target("two.txt")}

    def run(self) -> None:
        self.task_log["rows"] = 2
        self.dump({"rows": len(self.load("tables")[0])}, "one")
        self.dump("text", "two")  # type: ignore[arg-type]


def written(workspace: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(workspace.rglob("*.kart.json"))]


def test_every_sidecar_of_a_build_fits(tmp_path):
    build(Summary(), workspace_directory=tmp_path)
    sidecars = written(tmp_path)
    assert len(sidecars) == 3
    for sidecar in sidecars:
        jsonschema.validate(sidecar, SCHEMA, format_checker=jsonschema.FormatChecker())
    one, table, two = sidecars
    assert one["upstream"][0]["key"] == ["tables", 0]
    assert one["upstream"][0]["artifacts"] == [{"uri": table["artifact"]["uri"], "sha256": table["artifact"]["sha256"]}]
    assert one["task_log"] == two["task_log"] == {"rows": 2}
    assert table["artifact"]["rows"] == 2
    assert list(table["artifact"]["columns"]) == ["a", "b"]
    assert table["task"]["parameters"]["password"] == {
        "type": "StrParameter",
        "significant": False,
        "private": True,
        "digest": None,
    }


def test_the_sidecar_of_a_direct_dump_fits(workspace):
    Table().output().dump(pd.DataFrame({"a": [1]}))
    (sidecar,) = written(workspace)
    jsonschema.validate(sidecar, SCHEMA)
    assert "table" in sidecar["artifact"]["uri"]


def test_a_log_that_is_not_json_is_refused_and_nothing_is_published(tmp_path):
    class Chatty(TaskOnKart[int]):
        def run(self) -> None:
            self.task_log["when"] = dt.date(2024, 1, 1)
            self.dump(1)

    with pytest.raises(TargetError, match="task_log holds something that is not JSON"):
        build(Chatty(), workspace_directory=tmp_path)
    assert written(tmp_path) == []
