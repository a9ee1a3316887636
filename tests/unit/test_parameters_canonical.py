"""A value is what its id counts: two tasks of one id are indistinguishable to ``run()``, whatever their parameters are."""

from __future__ import annotations

import datetime as dt
import fractions
import math
from collections import Counter, OrderedDict
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parameters_laws import CASES, Leaf

from airflow_kart import (
    ChoiceParameter,
    DateSecondParameter,
    DictParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    Parameter,
    SerializableParameter,
    TaskOnKart,
    TimeDeltaParameter,
    ZonedDateSecondParameter,
)
from airflow_kart.exceptions import IdentityError, ParameterValueError
from airflow_kart.identity.appearance import encode_parameter
from airflow_kart.identity.encoding import encode

UTC = dt.timezone.utc


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


def appearance(value: Any) -> Any:
    """Return everything that code sees of a value: types and texts, all the way down, in the order of iteration."""
    if isinstance(value, dict):
        return type(value), [(appearance(key), appearance(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [appearance(item) for item in value]
    return type(value), repr(value), math.copysign(1, value) if isinstance(value, float) else None


def disguises(value: Any) -> list[Any]:
    """Return values that are equal to a value, or nearly, and look different."""
    found: list[Any] = []
    if isinstance(value, bool):
        return [np.bool_(value), int(value)]
    if isinstance(value, str):
        found += [Text(value), value.encode("utf-8", "surrogatepass")]
    elif isinstance(value, int):
        found += [Whole(value), float(value) if abs(value) < 2**53 else value]
        found += [np.int64(value)] if -(2**63) <= value < 2**63 else []
    elif isinstance(value, float):
        found += [np.float64(value), -value, fractions.Fraction(1, 3), np.longdouble(value)]
    elif isinstance(value, dt.datetime):
        found += [pendulum.instance(value, tz=None) if value.tzinfo is None else value.astimezone(UTC)]
        found += [value.replace(fold=1 - value.fold), *([value.astimezone(ZoneInfo("Asia/Tokyo"))] if value.tzinfo else [])]
        if 1700 < value.year < 2200:
            found += [pd.Timestamp(value), pd.Timestamp(value) + pd.Timedelta(1)]
    elif isinstance(value, dt.date):
        found += [pendulum.date(value.year, value.month, value.day)]
    elif isinstance(value, dt.timedelta):
        if abs(value) < dt.timedelta(days=100_000):
            found += [pd.Timedelta(value), pd.Timedelta(value) + pd.Timedelta(1), pendulum.duration(seconds=1) + value]
    elif isinstance(value, dict):
        found += [dict(reversed(list(value.items()))), OrderedDict(value)]
    elif isinstance(value, (list, tuple)):
        found += [list(value), tuple(value)]
        found += [[other, *value[1:]] for other in (disguises(value[0]) if value else [])]
    elif isinstance(value, PurePosixPath):
        found += [PurePosixPath(value), value / "."]
    return found


def accepted(parameter: Any, value: Any) -> Any:
    try:
        return parameter.accept(value, "Owner", "knob")
    except ParameterValueError:
        return None


@settings(max_examples=800)
@given(st.sampled_from(CASES).flatmap(lambda case: st.tuples(st.just(case.parameter), case.values)), st.data())
def test_values_of_one_id_are_indistinguishable(case: tuple[Any, Any], data: st.DataObject) -> None:
    parameter, value = case
    one = parameter.normalize(value)
    other = accepted(parameter, data.draw(st.sampled_from([value, *disguises(value)])))
    if not parameter.holds_tasks and other is not None and encode_parameter(one) == encode_parameter(other):
        assert appearance(one) == appearance(other)
    assert appearance(one) == appearance(parameter.parse(parameter.serialize(one))) or parameter.holds_tasks


class Anything(Parameter[Any]):
    """A user's own parameter that normalises nothing."""

    def normalize(self, value: object) -> Any:
        return value


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.binary(max_size=3)
    | st.dates() | st.datetimes() | st.datetimes(timezones=st.timezones()) | st.timedeltas() | st.times()
    | st.decimals(allow_nan=False) | st.uuids() | st.sampled_from([PurePosixPath("a")]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=400)
@given(anything, st.data())
def test_what_a_parameter_of_ones_own_leaves_as_it_is_counts(value: Any, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from([value, *disguises(value)]))
    try:
        same_id = encode_parameter(value) == encode_parameter(other)
    except IdentityError:
        return
    if same_id:
        assert appearance(value) == appearance(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1,), [1]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: 1, 2: 2}, {2: 2, 1: 1}),
        ((0.0,), (-0.0,)),
        ({"a": (0.0,)}, {"a": (-0.0,)}),
        (Decimal("1.1"), Decimal("1.10")),
        (Decimal(0), Decimal("-0")),
        (dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))),
        (dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Etc/UTC"))),
        (dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "GMT"))),
        (dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, fold=1)),
        (dt.time(1), dt.time(1, fold=1)),
        (dt.date(2024, 1, 1), pendulum.date(2024, 1, 1)),
        (dt.datetime(2024, 1, 1), pd.Timestamp(2024, 1, 1)),
        (dt.timedelta(1), pd.Timedelta(days=1)),
        (frozenset({1}), {1}),
        (frozenset({0.0}), frozenset({-0.0})),
        (frozenset({(1, -0.0)}), frozenset({(1, 0.0)})),
        ({"a": 1}, OrderedDict(a=1)),
        ({"a": 1}, Counter("a")),
    ],
)
def test_equal_values_that_look_different_have_two_ids_and_one_canonical_encoding(one: Any, other: Any) -> None:
    assert encode(one) == encode(other)
    assert encode_parameter(one) != encode_parameter(other)


@pytest.mark.parametrize(
    "value", [None, 1, "a", 0.5, (1, ("a",)), dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
              Decimal("1.5"), Decimal("1E+3"), Decimal(0), Decimal("NaN"), frozenset({1, 2}), Leaf(n=1)],
    ids=repr,
)  # fmt: skip
def test_a_canonical_value_has_its_canonical_encoding(value: Any) -> None:
    assert encode_parameter(value) == encode(value)


@pytest.mark.parametrize(
    "value", [pd.Timestamp("2024-01-01 00:00:00.000000001"), pd.Timedelta("1ns"), pd.NaT, [pd.Timedelta("1ns")]], ids=repr
)
def test_nanoseconds_are_refused_as_no_encoding_has_them(value: Any) -> None:
    class Own(TaskOnKart[int]):
        at: Any = Anything()

    with pytest.raises(IdentityError, match=r"Own\.at: .*; round the value") as caught:
        _ = Own(at=value).unique_id
    assert (caught.value.task, caught.value.parameter) == (Own.__qualname__, "at")


def test_a_moment_of_pendulum_has_an_encoding() -> None:
    moment = pendulum.datetime(2024, 1, 1, tz="Asia/Tokyo")
    assert encode(moment) == encode(dt.datetime(2023, 12, 31, 15, tzinfo=UTC))


# What each parameter makes of values that are nearly right.


def test_the_keys_of_a_dict_are_sorted() -> None:
    class Head(TaskOnKart[str]):
        names: Any = DictParameter()

    one, other = Head(names={"a": 1, "b": {"d": 1, "c": 2}}), Head(names={"b": {"c": 2, "d": 1}, "a": 1})
    assert one.unique_id == other.unique_id
    assert str(one.names) == str(other.names) == "{'a': 1, 'b': {'c': 2, 'd': 1}}"


def test_there_is_one_zero() -> None:
    class Text(TaskOnKart[str]):
        number: float = FloatParameter()
        listed: Any = ListParameter()
        chosen: float = ChoiceParameter(choices=[-0.0, 1.0])

    one, other = (Text(number=zero, listed=[zero], chosen=zero) for zero in (0.0, -0.0))
    assert one.unique_id == other.unique_id
    assert repr(one) == repr(other)
    assert (repr(other.number), repr(other.listed), repr(other.chosen)) == ("0.0", "(0.0,)", "0.0")


def test_the_offset_of_a_moment_counts() -> None:
    class Day(TaskOnKart[str]):
        at: dt.datetime = ZonedDateSecondParameter()

    there = dt.datetime(2024, 1, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert Day(at=there).unique_id != Day(at=there.astimezone(UTC)).unique_id
    assert Day(at=there).at.day == 1
    assert Day(at=there).unique_id == Day(at=dt.datetime(2024, 1, 1, 0, 30, tzinfo=ZoneInfo("Europe/Paris"))).unique_id


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (TimeDeltaParameter(), pd.Timedelta("1ns"), "has a fraction of a microsecond"),
        (TimeDeltaParameter(), pd.Timedelta("1s") + pd.Timedelta("999ns"), "has a fraction of a microsecond"),
        (FloatParameter(), 2**53 + 1, "lies between two floats; choose one: 9007199254740992.0"),
        (FloatParameter(), fractions.Fraction(1, 3), "lies between two floats"),
        (FloatParameter(), np.nextafter(np.longdouble(1), np.longdouble(2)), "lies between two floats"),
        (DateSecondParameter(), pd.NaT, "NaT"),
        (TimeDeltaParameter(), pd.NaT, "give a datetime.timedelta"),
        (IntParameter(), np.float64(3), "give an int"),
    ],
)
def test_a_value_that_would_change_is_refused(parameter: Any, value: Any, message: str) -> None:
    with pytest.raises(ParameterValueError, match=message):
        parameter.accept(value, "Owner", "knob")


@pytest.mark.parametrize(
    ("parameter", "value", "plain"),
    [
        (TimeDeltaParameter(), pd.Timedelta("1us"), dt.timedelta(microseconds=1)),
        (FloatParameter(), np.float32(0.1), 0.10000000149011612),
        (FloatParameter(), fractions.Fraction(1, 4), 0.25),
        (FloatParameter(), 2**53, 9007199254740992.0),
        (IntParameter(), np.uint64(2**64 - 1), 2**64 - 1),
        (IntParameter(), Whole(3), 3),
        (DateSecondParameter(), pd.Timestamp("2024-01-01 00:00:01"), dt.datetime(2024, 1, 1, 0, 0, 1)),
        (ZonedDateSecondParameter(), pd.Timestamp("2024-01-01", tz="UTC"), dt.datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_libraries_make_of_a_value_becomes_the_plain_one(parameter: Any, value: Any, plain: Any) -> None:
    accepted = parameter.accept(value, "Owner", "knob")
    assert (accepted, type(accepted)) == (plain, type(plain))


class Label:
    def __init__(self, text: str, note: str = "") -> None:
        self.text, self.note = text, note

    def gokart_serialize(self) -> str:
        return self.text.lower()

    @classmethod
    def gokart_deserialize(cls, text: str) -> Label:
        return cls(text)


class Louder(Label):
    @classmethod
    def gokart_deserialize(cls, text: str) -> Louder:
        return cls(f"{text}!")


def test_an_object_is_what_its_text_says() -> None:
    parameter: Any = SerializableParameter(object_type=Label)
    kept = parameter.accept(Label("ABC", note="not in the text"), "Owner", "knob")
    assert (kept.text, kept.note) == ("abc", "")
    assert type(parameter.accept(Louder("a"), "Owner", "knob")) is Label
    assert parameter.read("ABC", "Owner", "knob").text == "abc"


def test_an_object_whose_text_is_not_enough_is_refused() -> None:
    parameter: Any = SerializableParameter(object_type=Louder)
    with pytest.raises(ParameterValueError, match=r"Louder\.gokart_deserialize\('a'\) returns an object whose .* is 'a!'"):
        parameter.accept(Louder("a"), "Owner", "knob")


@pytest.mark.parametrize("offset", [dt.timedelta(hours=23, minutes=59), -dt.timedelta(hours=23, minutes=59)])
@pytest.mark.parametrize("moment", [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)])
def test_the_first_and_the_last_moments_of_the_calendar_have_ids(moment: dt.datetime, offset: dt.timedelta) -> None:
    class At(TaskOnKart[int]):
        at: dt.datetime = ZonedDateSecondParameter()

    there = moment.replace(tzinfo=dt.timezone(offset))
    task = At(at=there)
    assert (task.at, task.at.utcoffset()) == (there, offset)
    assert task.unique_id == At(at=there.replace(microsecond=1)).unique_id != At(at=moment.replace(tzinfo=UTC)).unique_id
    parameter = At.get_parameters()["at"]
    assert parameter.read(parameter.serialize(task.at), "At", "at") == there
