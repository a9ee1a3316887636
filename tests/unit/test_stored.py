"""Addresses in artifacts: what pickles, and deferred tasks, name of this package. These never change."""

from __future__ import annotations

import datetime as dt
import importlib.util
import io
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pandas as pd
import pytest
from earlier.pipeline import Everything

import airflow_kart
from airflow_kart import DateInterval, IntParameter, TaskOnKart, Workspace, exceptions, formats, parameters, stored
from airflow_kart.formats.pickle import dumps

GOLDEN = {
    "airflow_kart.stored": ["Unpickler", "blank", "complete_enum", "make", "named", "restore_class", "with_values"],
    "airflow_kart.triggers.external": ["ExternalArtifactTrigger"],
    "airflow_kart.triggers.lock": ["LockTrigger"],
}
"""Every address that artifacts and deferred tasks may hold."""
DAG_FILE = """
from airflow_kart import DateIntervalParameter, Target, TaskOnKart, build, exceptions, formats, views
from airflow_kart.formats import CsvFormat
from airflow_kart.parameters import FrozenDict


class Report(TaskOnKart[str]):
    days = DateIntervalParameter()

    def output(self) -> Target:
        return self.make_target("report.csv", format=CsvFormat(separator=";"))

    def run(self) -> None:
        views.tree(self)
        if not isinstance({}, FrozenDict):
            raise exceptions.KartError(str(build))


class Failure(exceptions.StorageError):
    pass


def describe(task):
    return formats.PickleFormat() if isinstance(task, Report) else TaskOnKart
"""


@pytest.fixture
def dag_file(tmp_path: Path) -> Iterator[ModuleType]:
    """A module as Airflow loads a DAG file, which no other process can import."""
    path = tmp_path / "report.py"
    path.write_text(DAG_FILE)
    name = f"unusual_prefix_{'a' * 40}_report"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def addresses_in(data: bytes) -> set[str]:
    """Return what a pickle, and the pickles inside it, name of this package."""
    found: set[str] = set()

    class Recorder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module.partition(".")[0] == "airflow_kart":
                found.add(f"{module}.{name}")
            if name == "restore_class":
                return lambda _module, _name, by_value: Recorder(io.BytesIO(by_value)).load()
            return super().find_class(module, name)

    Recorder(io.BytesIO(data)).load()
    return found


VALUES: dict[str, Callable[[], Any]] = {
    "task": Everything,
    "task class": lambda: Everything,
    "class of the package": lambda: [TaskOnKart, Workspace, IntParameter, formats.CsvFormat, exceptions.KartError],
    "function of the package": lambda: [airflow_kart.build, formats.format_for],
    "parameters": lambda: dict(Everything.get_parameters()),
    "frozen dict": lambda: Everything().options,
    "date interval": lambda: DateInterval.week(2026, 12),
    "unset": lambda: parameters.UNSET,
    "visibility": lambda: parameters.ParameterVisibility.HIDDEN,
    "format": lambda: formats.CsvFormat(separator=";"),
    "workspace": lambda: Workspace("/data", read_from=("/other",)),
    "error": lambda: exceptions.MissingArtifactError("gone"),
    "frame of dates": lambda: pd.DataFrame({"days": [DateInterval.day(dt.date(2026, 1, 2))] * 3}),
}


@pytest.mark.parametrize("kind", VALUES)
def test_pickles_hold_no_other_address(kind: str) -> None:
    value = VALUES[kind]()
    data = dumps(value)
    assert addresses_in(data) <= {f"airflow_kart.stored.{name}" for name in GOLDEN["airflow_kart.stored"]}
    loaded = formats.PickleFormat().load(io.BytesIO(data))
    assert repr(loaded) == repr(value)


@pytest.mark.parametrize("what", ["Report", "Failure", "describe", "instance", "error"])
def test_pickles_of_a_dag_file_hold_no_other_address(
    dag_file: ModuleType, what: str, tmp_path: Path, python: Callable[..., str]
) -> None:
    made = {
        "instance": lambda: dag_file.Report(days=DateInterval.month(2026, 1)),
        "error": lambda: dag_file.Failure("refused"),
    }
    value = made[what]() if what in made else getattr(dag_file, what)
    data = dumps(value)
    assert "airflow_kart.stored.named" in addresses_in(data)
    assert addresses_in(data) <= {f"airflow_kart.stored.{name}" for name in GOLDEN["airflow_kart.stored"]}
    (tmp_path / "pickle").write_bytes(data)
    code = "import sys, airflow_kart.formats as f; print(f.PickleFormat().load(open(sys.argv[1], 'rb')))"
    assert re.search("Report|Failure|describe|refused", python(tmp_path / "pickle", code=code))


@pytest.mark.parametrize("pickler", [pickle.dumps, cloudpickle.dumps])
def test_values_keep_their_addresses_in_pickles_of_other_libraries(pickler: Callable[[Any], bytes]) -> None:
    values = [Everything().options, DateInterval.week(2026, 12), parameters.UNSET, Everything()]
    assert addresses_in(pickler(values)) <= {f"airflow_kart.stored.{name}" for name in GOLDEN["airflow_kart.stored"]}
    assert pickle.loads(pickler(values)) == values


def test_all_addresses_lead_somewhere() -> None:
    for module, names in GOLDEN.items():
        found = importlib.import_module(module)
        assert found.__all__ == names


def test_deferred_tasks_hold_the_addresses_of_triggers() -> None:
    from airflow_kart.triggers.external import ExternalArtifactTrigger
    from airflow_kart.triggers.lock import LockTrigger

    triggers = [
        ExternalArtifactTrigger(["/data/in.csv"], 60.0),
        LockTrigger(task="A()", unique_id="0" * 32, sidecars={}, since=0.0, workspace_directory="/data"),
    ]
    for trigger in triggers:
        module, _, name = trigger.serialize()[0].rpartition(".")
        assert name in GOLDEN[module]


def test_an_address_that_is_no_more_is_an_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchFormat"):
        stored.named("formats.NoSuchFormat")
    gone = b"cairflow_kart.gone\nNothing\n."
    with pytest.raises(ModuleNotFoundError):
        stored.Unpickler(io.BytesIO(gone)).load()
    with pytest.raises(ModuleNotFoundError):
        stored.Unpickler(io.BytesIO(b"cother_package.gone\nTaskOnKart\n.")).load()


@pytest.mark.parametrize(
    ("former", "now"),
    [
        (b"cairflow_kart.task\nTaskOnKart\n.", TaskOnKart),
        (b"cairflow_kart.gone\nCsvFormat\n.", formats.CsvFormat),
        (b"cairflow_kart.parametrized\n_make\n.", stored.with_values),
        (b"cairflow_kart.parameters.base\n_blank\n.", stored.blank),
    ],
)
def test_former_addresses_lead_to_what_is_there_now(former: bytes, now: Any) -> None:
    assert stored.Unpickler(io.BytesIO(former)).load() is now
