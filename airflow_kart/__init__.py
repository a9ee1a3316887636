"""airflow_kart: class graphs of tasks, compiled into Airflow DAGs that recompute nothing they already have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kart.idioms.late import late

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

# Where each public name is defined.
_HOMES = {
    **dict.fromkeys(__all__, ".parameters"),
    "ExternalTask": ".tasks.kinds",
    "KartDag": ".compiler.dag",
    "KartOperator": ".operators.task",
    "KartPlanOperator": ".operators.plan",
    "KartReportOperator": ".operators.report",
    "KartRetryPolicy": ".operators.retries",
    "KartTaskGroup": ".compiler.group",
    "SharedParameters": ".parameters.shared",
    "Target": ".artifacts.target",
    "TaskOnKart": ".tasks.task",
    "Workspace": ".storage.workspace",
    "WrapperTask": ".tasks.kinds",
    "adopt": ".audit.adoption.adopt",
    "build": ".runtime.build",
    "difference": ".audit.differences.difference",
    "kart_dag": ".compiler.decorator",
    "load": ".audit.catalogue.artifacts",
    "run_date": ".compiler.binding",
    "run_partition": ".compiler.binding",
    "undo_adoption": ".audit.adoption.undo",
    "verify": ".audit.verification.verify",
    "verify_checksums": ".audit.verification.checksums",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = late(__name__, _HOMES, [*__all__, "__version__"])
