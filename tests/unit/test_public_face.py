from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

import airflow_kart
from airflow_kart import exceptions, formats, parameters, storage
from airflow_kart.artifacts import sidecar

PUBLIC = [
    "BoolParameter",
    "ChoiceListParameter",
    "ChoiceParameter",
    "DateHourParameter",
    "DateInterval",
    "DateIntervalParameter",
    "DateMinuteParameter",
    "DateParameter",
    "DateSecondParameter",
    "DictParameter",
    "EnumListParameter",
    "EnumParameter",
    "ExplicitBoolParameter",
    "ExternalTask",
    "FloatParameter",
    "IntParameter",
    "KartDag",
    "KartOperator",
    "KartPlanOperator",
    "KartReportOperator",
    "KartRetryPolicy",
    "KartTaskGroup",
    "ListParameter",
    "ListTaskInstanceParameter",
    "MonthParameter",
    "NumericalParameter",
    "OptionalBoolParameter",
    "OptionalChoiceListParameter",
    "OptionalChoiceParameter",
    "OptionalDateHourParameter",
    "OptionalDateIntervalParameter",
    "OptionalDateMinuteParameter",
    "OptionalDateParameter",
    "OptionalDateSecondParameter",
    "OptionalDictParameter",
    "OptionalEnumListParameter",
    "OptionalEnumParameter",
    "OptionalFloatParameter",
    "OptionalIntParameter",
    "OptionalListParameter",
    "OptionalListTaskInstanceParameter",
    "OptionalMonthParameter",
    "OptionalNumericalParameter",
    "OptionalParameter",
    "OptionalPathParameter",
    "OptionalSerializableParameter",
    "OptionalStrParameter",
    "OptionalTaskInstanceParameter",
    "OptionalTaskParameter",
    "OptionalTimeDeltaParameter",
    "OptionalTupleParameter",
    "OptionalYearParameter",
    "OptionalZonedDateSecondParameter",
    "Parameter",
    "ParameterVisibility",
    "PathParameter",
    "Serializable",
    "SerializableParameter",
    "SharedParameters",
    "StrParameter",
    "Target",
    "TaskInstanceParameter",
    "TaskOnKart",
    "TaskParameter",
    "TimeDeltaParameter",
    "TupleParameter",
    "Workspace",
    "WrapperTask",
    "YearParameter",
    "ZonedDateSecondParameter",
    "adopt",
    "build",
    "difference",
    "kart_dag",
    "load",
    "run_date",
    "run_partition",
    "undo_adoption",
    "verify",
    "verify_checksums",
]
OF_AIRFLOW = {
    "KartDag",
    "KartOperator",
    "KartPlanOperator",
    "KartReportOperator",
    "KartTaskGroup",
    "kart_dag",
    "load",
    "run_date",
    "run_partition",
    "undo_adoption",
}
HEAVY = [
    "airflow",
    "pandas",
    "numpy",
    "polars",
    "pyarrow",
    "boto3",
    "google.cloud",
    "sklearn",
    "matplotlib",
    "PIL",
    "dill",
    "sqlalchemy",
    "redis",
]


def test_the_public_names_are_these() -> None:
    assert airflow_kart.__all__ == PUBLIC
    assert sorted(airflow_kart.__all__) == airflow_kart.__all__
    assert set(PUBLIC) < set(dir(airflow_kart))
    assert airflow_kart.__version__.count(".") == 2


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in OF_AIRFLOW])
def test_a_public_name_loads(name: str) -> None:
    assert getattr(airflow_kart, name).__name__ == name


def test_a_name_that_is_not_public_does_not_load() -> None:
    with pytest.raises(AttributeError, match="module 'airflow_kart' has no attribute 'Nothing'"):
        _ = airflow_kart.Nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [exceptions, formats, parameters, sidecar, storage], ids=lambda module: module.__name__)
def test_the_names_of_a_package_exist(module: Any) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_error_is_a_kart_error_and_drawn_in_the_tree(name: str) -> None:
    assert issubclass(getattr(exceptions, name), exceptions.KartError)
    assert name in (exceptions.__doc__ or "")
    assert getattr(exceptions, name).__doc__


@pytest.mark.parametrize("name", exceptions.__all__)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickled", "copied"])
def test_an_error_keeps_what_it_carries(name: str, copied: Any) -> None:
    error = getattr(exceptions, name)("no luck", task="Train(n=1)", uri="s3://b/a.pkl", parameter="n")
    error.add_context("while trying", task="Other()")
    error.__cause__ = ValueError("why")
    found = copied(error)
    assert type(found) is type(error)
    assert str(found) == "while trying: no luck"
    assert (found.task, found.uri, found.parameter) == ("Train(n=1)", "s3://b/a.pkl", "n")


def test_errors_come_back_whole_from_another_process(python: Any) -> None:
    found = json.loads(python(code=FROM_A_WORKER))
    assert found == [[name, "no luck", None, "s3://b/a.pkl", None] for name in exceptions.__all__]


FROM_A_WORKER = """
import json
from concurrent.futures import ProcessPoolExecutor
from airflow_kart import exceptions
def fail(name):
    raise getattr(exceptions, name)("no luck", uri="s3://b/a.pkl")
with ProcessPoolExecutor(1) as pool:
    errors = [pool.submit(fail, name).exception() for name in exceptions.__all__]
print(json.dumps([[type(error).__name__, str(error), error.task, error.uri, error.parameter] for error in errors]))
"""


LOADED = """
import json, sys, time
before = set(sys.modules)
started = time.perf_counter()
{statement}
seconds = time.perf_counter() - started
print(json.dumps([sorted(set(sys.modules) - before), seconds]))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import airflow_kart",
        "from airflow_kart import TaskOnKart, Target, Workspace, IntParameter, TaskInstanceParameter, build",
        "import airflow_kart.formats, airflow_kart.formats.pickle, airflow_kart.formats.tables.csv, airflow_kart.formats.json",
        "import airflow_kart.get_provider_info, airflow_kart.operators.blueprint, airflow_kart.runtime.runner",
    ],
)
def test_heavy_libraries_are_not_loaded(python: Any, statement: str) -> None:
    loaded, _ = json.loads(python(code=LOADED.format(statement=statement)))
    heavy = [name for name in loaded if any(name == library or name.startswith(f"{library}.") for library in HEAVY)]
    assert heavy == []


def test_importing_the_package_takes_no_time(python: Any) -> None:
    runs = [json.loads(python(code=LOADED.format(statement="import airflow_kart")))[1] for _ in range(3)]
    assert min(runs) < 0.05


DECLARE_AND_BUILD = """
from airflow_kart import IntParameter, TaskOnKart, build
class Task(TaskOnKart):
    n = IntParameter(default=1)
    def output(self):
        return self.make_target("a.json")
    def run(self):
        self.dump(self.n)
assert build(Task(), workspace_directory="ws") == 1
import json, sys
print(json.dumps(sorted(sys.modules)))
"""


def test_a_build_loads_neither_airflow_nor_pandas(python: Any) -> None:
    loaded = json.loads(python(code=DECLARE_AND_BUILD))
    assert not {"airflow", "pandas", "pyarrow", "sqlalchemy"} & set(loaded)
