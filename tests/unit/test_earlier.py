"""What an earlier version wrote: its unique ids are still those of the same tasks, its artifacts count and load."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from earlier import pipeline
from earlier.pipeline import All, Everything, Fingerprinted, Given, Notes, Parts, Several, Table, Value

from airflow_kart import DateInterval, ParameterVisibility, Target, TaskOnKart, Workspace, build
from airflow_kart.storage import RUNS

UNIQUE_IDS = {
    "Everything": "cf949ad258194338922caec41735c0e9",
    "Fingerprinted": "bc0aff3113c96fe966315632c1d5b428",
    "Notes": "b1913af3e1eca94de7f544e21ace3a4b",
    "Parts": "102ec9be49bae37df574e992b502c0d6",
    "Several": "1d729df40615b96283b31dfb77b8da6b",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Any:
    with zipfile.ZipFile(Path(pipeline.__file__).with_name("workspace.zip")) as archive:
        archive.extractall(tmp_path / "earlier")
    with Workspace(str(tmp_path / "earlier")):
        yield tmp_path / "earlier"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and RUNS not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def loaded(task: TaskOnKart[Any]) -> Any:
    output = task.output()
    assert isinstance(output, Target)
    return output.load()


def test_unique_ids_are_as_they_were() -> None:
    tasks: list[TaskOnKart[Any]] = [Everything(), Fingerprinted(), Notes(), Parts(), Several()]
    assert {type(task).__name__: task.unique_id for task in tasks} == UNIQUE_IDS


def test_everything_is_complete_and_nothing_runs(workspace: Path) -> None:
    before = contents(workspace)
    assert All().complete()
    build(All())
    assert contents(workspace) == before


@pytest.mark.parametrize("extension", ["parquet", "feather", "csv", "tsv", "pkl", "csv.gz"])
def test_tables_load(workspace: Path, extension: str) -> None:
    pd.testing.assert_frame_equal(loaded(Table(extension=extension)), pipeline.frame())


@pytest.mark.parametrize("extension", ["json", "ndjson", "txt", "npy", "npz"])
def test_values_load(workspace: Path, extension: str) -> None:
    np.testing.assert_equal(loaded(Value(extension=extension)), pipeline.value_of(extension))


def test_parts_load(workspace: Path) -> None:
    assert [len(part) for part in Parts().output().load_parts()] == [2, 2, 2]


def test_a_pickled_task_loads_with_all_that_its_parameters_hold(workspace: Path) -> None:
    found = loaded(Everything())
    assert found["task"] == Everything()
    assert found["task"].secret == "hush"
    assert found["options"] == {"a": {"b": (1, 2)}}
    assert type(found["options"]) is type(Everything().options)
    assert found["days"] == DateInterval.month(2024, 5)
    assert found["parameter"].visibility is ParameterVisibility.PUBLIC


def test_objects_of_classes_that_travelled_by_value_load(workspace: Path) -> None:
    note, noting, cls = loaded(Notes())
    assert note.text == "remember"
    assert (noting.size, type(noting)) == (5, cls)
    assert issubclass(cls, TaskOnKart)


def test_what_was_read_from_an_external_artifact_is_told_by_its_sidecar(workspace: Path) -> None:
    rows = Several().output()["rows"]
    assert rows.load() == 2
    sidecar = rows.sidecar()
    assert sidecar is not None
    assert list(sidecar.inputs) == [f"/srv/kart/{Path(Given().output().uri).relative_to(workspace)}"]


def test_a_task_is_restored_from_its_sidecar(workspace: Path) -> None:
    assert TaskOnKart.restore(UNIQUE_IDS["Everything"], secret="hush") == Everything()
