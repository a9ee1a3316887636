"""airflow_kart: class graphs of tasks, compiled into Airflow DAGs that recompute nothing they already have."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_kart.artifacts.target import Target
    from airflow_kart.audit.adoption.adopt import adopt
    from airflow_kart.audit.adoption.undo import undo_adoption
    from airflow_kart.audit.catalogue.artifacts import load
    from airflow_kart.audit.differences.difference import difference
    from airflow_kart.audit.verification.checksums import verify_checksums
    from airflow_kart.audit.verification.verify import verify
    from airflow_kart.compiler.binding import run_date, run_partition
    from airflow_kart.compiler.dag import KartDag
    from airflow_kart.compiler.decorator import kart_dag
    from airflow_kart.compiler.group import KartTaskGroup
    from airflow_kart.operators.plan import KartPlanOperator
    from airflow_kart.operators.report import KartReportOperator
    from airflow_kart.operators.retries import KartRetryPolicy
    from airflow_kart.operators.task import KartOperator
    from airflow_kart.parameters import *
    from airflow_kart.parameters.shared import SharedParameters
    from airflow_kart.runtime.build import build
    from airflow_kart.storage.workspace import Workspace
    from airflow_kart.tasks.kinds import ExternalTask, WrapperTask
    from airflow_kart.tasks.task import TaskOnKart

__version__ = "0.1.0"

__all__ = [
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

# Where each public name is defined: loaded when first used, so that importing the package costs next to nothing.
_HOMES = {
    "ExternalTask": "airflow_kart.tasks.kinds",
    "KartDag": "airflow_kart.compiler.dag",
    "KartOperator": "airflow_kart.operators.task",
    "KartPlanOperator": "airflow_kart.operators.plan",
    "KartReportOperator": "airflow_kart.operators.report",
    "KartRetryPolicy": "airflow_kart.operators.retries",
    "KartTaskGroup": "airflow_kart.compiler.group",
    "SharedParameters": "airflow_kart.parameters.shared",
    "Target": "airflow_kart.artifacts.target",
    "TaskOnKart": "airflow_kart.tasks.task",
    "Workspace": "airflow_kart.storage.workspace",
    "WrapperTask": "airflow_kart.tasks.kinds",
    "adopt": "airflow_kart.audit.adoption.adopt",
    "build": "airflow_kart.runtime.build",
    "difference": "airflow_kart.audit.differences.difference",
    "kart_dag": "airflow_kart.compiler.decorator",
    "load": "airflow_kart.audit.catalogue.artifacts",
    "run_date": "airflow_kart.compiler.binding",
    "run_partition": "airflow_kart.compiler.binding",
    "undo_adoption": "airflow_kart.audit.adoption.undo",
    "verify": "airflow_kart.audit.verification.verify",
    "verify_checksums": "airflow_kart.audit.verification.checksums",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "airflow_kart.parameters")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
