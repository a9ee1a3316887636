"""What type checkers are told of classes with parameters: the constructor takes the parameters by keyword."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time nothing loads the parameters that no class declares
    from typing_extensions import dataclass_transform

    from airflow_kart import parameters

    @dataclass_transform(
        kw_only_default=True,
        frozen_default=True,
        field_specifiers=(
            parameters.BoolParameter,
            parameters.ChoiceListParameter,
            parameters.ChoiceParameter,
            parameters.DateHourParameter,
            parameters.DateIntervalParameter,
            parameters.DateMinuteParameter,
            parameters.DateParameter,
            parameters.DateSecondParameter,
            parameters.DictParameter,
            parameters.EnumListParameter,
            parameters.EnumParameter,
            parameters.ExplicitBoolParameter,
            parameters.FloatParameter,
            parameters.IntParameter,
            parameters.ListParameter,
            parameters.ListTaskInstanceParameter,
            parameters.MonthParameter,
            parameters.NumericalParameter,
            parameters.OptionalBoolParameter,
            parameters.OptionalChoiceListParameter,
            parameters.OptionalChoiceParameter,
            parameters.OptionalDateHourParameter,
            parameters.OptionalDateIntervalParameter,
            parameters.OptionalDateMinuteParameter,
            parameters.OptionalDateParameter,
            parameters.OptionalDateSecondParameter,
            parameters.OptionalDictParameter,
            parameters.OptionalEnumListParameter,
            parameters.OptionalEnumParameter,
            parameters.OptionalFloatParameter,
            parameters.OptionalIntParameter,
            parameters.OptionalListParameter,
            parameters.OptionalListTaskInstanceParameter,
            parameters.OptionalMonthParameter,
            parameters.OptionalNumericalParameter,
            parameters.OptionalParameter,
            parameters.OptionalPathParameter,
            parameters.OptionalSerializableParameter,
            parameters.OptionalStrParameter,
            parameters.OptionalTaskInstanceParameter,
            parameters.OptionalTaskParameter,
            parameters.OptionalTimeDeltaParameter,
            parameters.OptionalTupleParameter,
            parameters.OptionalYearParameter,
            parameters.OptionalZonedDateSecondParameter,
            parameters.Parameter,
            parameters.PathParameter,
            parameters.SerializableParameter,
            parameters.StrParameter,
            parameters.TaskInstanceParameter,
            parameters.TaskParameter,
            parameters.TimeDeltaParameter,
            parameters.TupleParameter,
            parameters.YearParameter,
            parameters.ZonedDateSecondParameter,
        ),
    )
    class Declared:
        """The base of :class:`~airflow_kart.parameters.parametrized.Parametrized`."""

else:
    Declared = object
