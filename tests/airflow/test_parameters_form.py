"""The trigger form: what each parameter offers there is what Airflow itself accepts."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import ParamValidationError

from airflow_kart import (
    ChoiceListParameter,
    DateInterval,
    DateIntervalParameter,
    DateMinuteParameter,
    DateParameter,
    DictParameter,
    EnumListParameter,
    FloatParameter,
    KartDag,
    MonthParameter,
    NumericalParameter,
    OptionalChoiceParameter,
    OptionalEnumParameter,
    OptionalFloatParameter,
    OptionalIntParameter,
    OptionalYearParameter,
    OptionalZonedDateSecondParameter,
    PathParameter,
    StrParameter,
    TaskOnKart,
    TimeDeltaParameter,
    TupleParameter,
    ZonedDateSecondParameter,
)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


LIMITS = {
    "title": "Limits",
    "description": "By name",
    "default": {},
    "additionalProperties": {"type": "integer"},
}


class Formed(TaskOnKart[int]):
    day: dt.date = DateParameter(default=dt.date(2026, 3, 17))
    month: dt.date = MonthParameter(default=dt.date(2026, 3, 17))
    year_or: dt.date | None = OptionalYearParameter(default=None)
    minute: dt.datetime = DateMinuteParameter(default=dt.datetime(2026, 3, 17, 19, 7), interval=15)
    zoned: dt.datetime = ZonedDateSecondParameter(default=dt.datetime(2026, 3, 17, 19, tzinfo=dt.timezone.utc))
    zoned_or: dt.datetime | None = OptionalZonedDateSecondParameter(default=None)
    interval: DateInterval = DateIntervalParameter(default=DateInterval.week(2026, 12))
    duration: dt.timedelta = TimeDeltaParameter(default=dt.timedelta(days=1, seconds=1.5))
    share: float = NumericalParameter(var_type=float, default=0.5, min_value=0.0, max_value=1.0, include_min=False)
    depth_or: int | None = OptionalIntParameter(default=None, min_value=1)
    letter_or: str | None = OptionalChoiceParameter(choices=["a", "b"], default=None)
    digits: tuple[int, ...] = ChoiceListParameter(choices=[1, 2], default=[2, 1])
    colour_or: Colour | None = OptionalEnumParameter(enum=Colour, default=None)
    colours: tuple[Colour, ...] = EnumListParameter(enum=Colour, default=[Colour.GREEN])
    path: Path = PathParameter(default=Path("a/b"))
    pair: tuple[int, str] = TupleParameter(default=(1, "a"))
    limits: Mapping[str, int] = DictParameter(default={"a": 1}, schema=LIMITS)
    text: str = StrParameter()


WRONG = {
    "day": "2026-3-1",
    "month": "2026-03-17",
    "zoned": "yesterday",
    "share": 1.0,
    "depth_or": 0,
    "letter_or": "c",
    "digits": [3],
    "colours": ["BLUE"],
    "limits": {"a": "b"},
    "interval": "2026-03-17--",
    "path": "",
    "minute": "19:07",
}


@pytest.fixture
def form(monkeypatch):
    monkeypatch.setenv("AIRFLOW__KART_FORMED__TEXT", "configured")
    dag = KartDag("form", Formed, schedule=None)
    return {name: dag.params.get_param(name) for name in Formed.get_parameters()}


def test_airflow_takes_what_the_form_offers(form):
    assert form["text"].value == "configured"
    for param in form.values():
        param.resolve()
    read = {
        name: Formed.get_parameters()[name].read(json.loads(json.dumps(param.value)), "Formed", name)
        for name, param in form.items()
    }
    assert Formed(**read) == Formed()  # type: ignore[call-arg]
    assert (form["limits"].schema.get("title"), form["limits"].description) == ("limits", None)


@pytest.mark.parametrize("name", WRONG)
def test_airflow_refuses_a_wrong_value(form, name):
    with pytest.raises(ParamValidationError):
        form[name].resolve(WRONG[name])


class Floats(TaskOnKart[int]):
    rate: float = FloatParameter(default=0.5, min_value=0, max_value=1, description="what the state takes")
    free: float = FloatParameter(default=1.0)
    rate_or: float | None = OptionalFloatParameter(default=None, max_value=2)
    above: float = NumericalParameter(var_type=float, default=1.0, min_value=0.0, max_value=3.0, include_min=False)
    bare: float = FloatParameter(default=2.0, description="Ready?")
    endless: float = FloatParameter(default=math.inf)
    missing: float = FloatParameter(default=1.0, allow_inf_nan=True)
    missing_or: float | None = OptionalFloatParameter(default=None, allow_inf_nan=True)


def test_a_float_is_a_number_field_with_its_bounds_unless_it_may_be_nan_or_inf():
    params = KartDag("form_floats", Floats, schedule=None).params
    schema = {name: params.get_param(name).schema for name in Floats.get_parameters()}
    text = {"type": ["number", "string"], "pattern": r"^(nan|-?inf)$"}
    assert schema["rate"] == {"type": "number", "minimum": 0, "maximum": 1, "title": "rate"}
    assert schema["free"]["type"] == "number"
    assert schema["rate_or"]["type"] == ["number", "null"]
    assert schema["endless"] == {**text, "title": "endless"} and schema["missing"] == {**text, "title": "missing"}
    assert schema["missing_or"]["type"] == ["number", "string", "null"]
    assert [params.get_param(name).description for name in ("rate", "free", "rate_or", "above", "bare")] == [
        "What the state takes. At least 0.0, at most 1.0.",
        None,
        "At most 2.0.",
        "More than 0.0, less than 3.0.",
        "Ready?",
    ]
    with pytest.raises(ParamValidationError):
        params.get_param("free").resolve("nan")
    given = KartDag("form_floats_given", Floats(free=-math.inf), schedule=None).params.get_param("free")
    assert (given.resolve(), given.resolve("nan"), given.resolve(3.0)) == ("-inf", "nan", 3.0)
