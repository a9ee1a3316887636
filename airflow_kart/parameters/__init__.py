"""Typed parameters of tasks, and the immutable value that a task's parameters make.

Parsing, checking and writing of values live here. Parameters know no store, no format and no run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kart.idioms.late import late
from airflow_kart.parameters.base import UNSET, Options, Origin, Parameter, ParameterVisibility
from airflow_kart.parameters.configured import configured_or_default, origins_of

if TYPE_CHECKING:
    from airflow_kart.parameters.choice import (
        ChoiceListParameter,
        ChoiceParameter,
        OptionalChoiceListParameter,
        OptionalChoiceParameter,
    )
    from airflow_kart.parameters.collection import (
        DictParameter,
        ListParameter,
        OptionalDictParameter,
        OptionalListParameter,
        OptionalTupleParameter,
        TupleParameter,
    )
    from airflow_kart.parameters.date import (
        DateParameter,
        MonthParameter,
        OptionalDateParameter,
        OptionalMonthParameter,
        OptionalYearParameter,
        YearParameter,
    )
    from airflow_kart.parameters.duration import OptionalTimeDeltaParameter, TimeDeltaParameter
    from airflow_kart.parameters.enumeration import (
        EnumListParameter,
        EnumParameter,
        OptionalEnumListParameter,
        OptionalEnumParameter,
    )
    from airflow_kart.parameters.frozen import FrozenDict
    from airflow_kart.parameters.instance import (
        ListTaskInstanceParameter,
        OptionalListTaskInstanceParameter,
        OptionalTaskInstanceParameter,
        TaskInstanceParameter,
    )
    from airflow_kart.parameters.interval import DateInterval, DateIntervalParameter, OptionalDateIntervalParameter
    from airflow_kart.parameters.moment import (
        DateHourParameter,
        DateMinuteParameter,
        DateSecondParameter,
        OptionalDateHourParameter,
        OptionalDateMinuteParameter,
        OptionalDateSecondParameter,
        OptionalZonedDateSecondParameter,
        ZonedDateSecondParameter,
    )
    from airflow_kart.parameters.number import (
        FloatParameter,
        IntParameter,
        NumericalParameter,
        OptionalFloatParameter,
        OptionalIntParameter,
        OptionalNumericalParameter,
    )
    from airflow_kart.parameters.optional import OptionalOf
    from airflow_kart.parameters.path import OptionalPathParameter, PathParameter
    from airflow_kart.parameters.serializable import OptionalSerializableParameter, Serializable, SerializableParameter
    from airflow_kart.parameters.switch import BoolParameter, ExplicitBoolParameter, OptionalBoolParameter
    from airflow_kart.parameters.task_class import OptionalTaskParameter, TaskParameter
    from airflow_kart.parameters.text import OptionalParameter, OptionalStrParameter, StrParameter

__all__ = [
    "UNSET",
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
    "FloatParameter",
    "FrozenDict",
    "IntParameter",
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
    "OptionalOf",
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
    "Options",
    "Origin",
    "Parameter",
    "ParameterVisibility",
    "PathParameter",
    "Serializable",
    "SerializableParameter",
    "StrParameter",
    "TaskInstanceParameter",
    "TaskParameter",
    "TimeDeltaParameter",
    "TupleParameter",
    "YearParameter",
    "ZonedDateSecondParameter",
    "configured_or_default",
    "origins_of",
]

# The module of each parameter: most tasks need two or three of them.
_HOMES = {
    "BoolParameter": ".switch",
    "ChoiceListParameter": ".choice",
    "ChoiceParameter": ".choice",
    "DateHourParameter": ".moment",
    "DateInterval": ".interval",
    "DateIntervalParameter": ".interval",
    "DateMinuteParameter": ".moment",
    "DateParameter": ".date",
    "DateSecondParameter": ".moment",
    "DictParameter": ".collection",
    "EnumListParameter": ".enumeration",
    "EnumParameter": ".enumeration",
    "ExplicitBoolParameter": ".switch",
    "FloatParameter": ".number",
    "FrozenDict": ".frozen",
    "IntParameter": ".number",
    "ListParameter": ".collection",
    "ListTaskInstanceParameter": ".instance",
    "MonthParameter": ".date",
    "NumericalParameter": ".number",
    "OptionalBoolParameter": ".switch",
    "OptionalChoiceListParameter": ".choice",
    "OptionalChoiceParameter": ".choice",
    "OptionalDateHourParameter": ".moment",
    "OptionalDateIntervalParameter": ".interval",
    "OptionalDateMinuteParameter": ".moment",
    "OptionalDateParameter": ".date",
    "OptionalDateSecondParameter": ".moment",
    "OptionalDictParameter": ".collection",
    "OptionalEnumListParameter": ".enumeration",
    "OptionalEnumParameter": ".enumeration",
    "OptionalFloatParameter": ".number",
    "OptionalIntParameter": ".number",
    "OptionalListParameter": ".collection",
    "OptionalListTaskInstanceParameter": ".instance",
    "OptionalMonthParameter": ".date",
    "OptionalNumericalParameter": ".number",
    "OptionalOf": ".optional",
    "OptionalParameter": ".text",
    "OptionalPathParameter": ".path",
    "OptionalSerializableParameter": ".serializable",
    "OptionalStrParameter": ".text",
    "OptionalTaskInstanceParameter": ".instance",
    "OptionalTaskParameter": ".task_class",
    "OptionalTimeDeltaParameter": ".duration",
    "OptionalTupleParameter": ".collection",
    "OptionalYearParameter": ".date",
    "OptionalZonedDateSecondParameter": ".moment",
    "PathParameter": ".path",
    "Serializable": ".serializable",
    "SerializableParameter": ".serializable",
    "StrParameter": ".text",
    "TaskInstanceParameter": ".instance",
    "TaskParameter": ".task_class",
    "TimeDeltaParameter": ".duration",
    "TupleParameter": ".collection",
    "YearParameter": ".date",
    "ZonedDateSecondParameter": ".moment",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = late(__name__, _HOMES, __all__)
