"""Sidecars as they are really written fit the schema that ships with the package."""

from __future__ import annotations

import datetime as dt
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd

from airflow_kart import (
    DateParameter,
    ParameterVisibility,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    build,
)

SCHEMA = json.loads(files("airflow_kart.artifacts.sidecar").joinpath("sidecar.schema.json").read_text())


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
        self.dump("text", "two")


def written(workspace: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(workspace.rglob("*.kart.json"))]


def test_every_sidecar_of_a_build_fits(tmp_path: Path) -> None:
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


def test_the_sidecar_of_a_direct_dump_fits(workspace: Path) -> None:
    Table().output().dump(pd.DataFrame({"a": [1]}))
    (sidecar,) = written(workspace)
    jsonschema.validate(sidecar, SCHEMA)
    assert "table" in sidecar["artifact"]["uri"]


def test_whatever_is_logged_the_sidecar_fits(tmp_path: Path) -> None:
    class Chatty(TaskOnKart[int]):
        def run(self) -> None:
            self.task_log.update(when=dt.date(2024, 1, 1), score=float("nan"), count=np.int64(3), what=object, pair=(1, 2))
            self.dump(1)

    build(Chatty(), workspace_directory=tmp_path)
    (sidecar,) = written(tmp_path)
    jsonschema.validate(sidecar, SCHEMA)
    logged = {"when": "2024-01-01", "score": "nan", "count": 3, "what": "<class 'object'>", "pair": [1, 2]}
    assert sidecar["task_log"] == logged
