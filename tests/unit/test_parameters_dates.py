"""Dates, moments, intervals and durations: what they read and write, and that luigi reads and writes the same."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import gokart
import luigi
import luigi.date_interval as luigi_intervals
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart.exceptions import ParameterValueError
from airflow_kart.identity.encoding import encode
from airflow_kart.parameters import (
    DateHourParameter,
    DateInterval,
    DateIntervalParameter,
    DateMinuteParameter,
    DateParameter,
    DateSecondParameter,
    MonthParameter,
    TimeDeltaParameter,
    YearParameter,
    ZonedDateSecondParameter,
)

DATES = {DateParameter: luigi.DateParameter, MonthParameter: luigi.MonthParameter, YearParameter: luigi.YearParameter}
MOMENTS: dict[Any, Any] = {
    DateHourParameter: luigi.DateHourParameter,
    DateMinuteParameter: luigi.DateMinuteParameter,
    DateSecondParameter: luigi.DateSecondParameter,
}
dates = st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1))
moments = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1))
PLUS_NINE = dt.timezone(dt.timedelta(hours=9))


@given(st.sampled_from(list(DATES)), st.integers(1, 40), dates, dates)
def test_dates_are_those_of_luigi(kind: Any, interval: int, start: dt.date, day: dt.date) -> None:
    ours, theirs = kind(interval=interval, start=start), DATES[kind](interval=interval, start=start)
    value = ours.normalize(day)
    assert value == theirs.normalize(day)
    assert ours.serialize(value) == theirs.serialize(value)
    assert theirs.normalize(theirs.parse(ours.serialize(value))) == value


@given(st.sampled_from(list(MOMENTS)), st.integers(1, 2000), moments, moments)
def test_moments_are_those_of_luigi(kind: Any, interval: int, start: dt.datetime, moment: dt.datetime) -> None:
    start = start.replace(microsecond=0)
    ours, theirs = kind(interval=interval, start=start), MOMENTS[kind](interval=interval, start=start)
    value = ours.normalize(moment)
    assert value == theirs.normalize(moment)
    plain, plain_theirs = kind(), MOMENTS[kind]()
    text = plain.serialize(plain.normalize(moment))
    assert text == plain_theirs.serialize(moment)
    assert plain.parse(text) == plain_theirs.parse(text)


@given(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(PLUS_NINE)))
def test_moments_with_a_zone_are_those_of_gokart(moment: dt.datetime) -> None:
    ours: Any = ZonedDateSecondParameter()
    theirs = gokart.ZonedDateSecondParameter()
    text = ours.serialize(ours.normalize(moment))
    assert text == theirs.serialize(theirs.normalize(moment))
    assert theirs.parse(text) == ours.parse(text)


@given(
    st.builds(luigi_intervals.Year, st.integers(1001, 9990))
    | st.builds(luigi_intervals.Month, st.integers(1001, 9990), st.integers(1, 12))
    | st.builds(luigi_intervals.Week, st.integers(1001, 9990), st.integers(1, 52))
    | st.builds(luigi_intervals.Date.from_date, st.dates(dt.date(1001, 1, 8), dt.date(9000, 1, 1)))
)
def test_intervals_are_those_of_luigi(theirs: Any) -> None:
    ours = DateInterval.parse(theirs.to_string())
    assert (ours.start, ours.end) == (theirs.date_a, theirs.date_b)
    assert str(ours) == theirs.to_string()
    assert list(ours) == theirs.dates()
    assert (str(ours.next()), str(ours.prev())) == (theirs.next().to_string(), theirs.prev().to_string())


@given(dates, st.integers(1, 999))
def test_a_free_interval_is_that_of_luigi(start: dt.date, length: int) -> None:
    theirs = luigi_intervals.Custom(start, start + dt.timedelta(days=length))
    parsed = DateInterval.parse(theirs.to_string())
    assert parsed == DateInterval(theirs.date_a, theirs.date_b)
    again: Any = luigi.DateIntervalParameter().parse(str(parsed))
    assert (again.date_a, again.date_b) == (theirs.date_a, theirs.date_b)


@given(
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=99999)).map(
        lambda value: value - dt.timedelta(0, 0, value.microseconds)
    )
)
def test_durations_are_those_of_luigi(value: dt.timedelta) -> None:
    ours: Any = TimeDeltaParameter()
    theirs = luigi.TimeDeltaParameter()
    text = ours.serialize(value)
    assert text == theirs.serialize(value)
    assert theirs.parse(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", dt.timedelta(seconds=90)),
        ("0", dt.timedelta(0)),
        ("1.5", dt.timedelta(seconds=1.5)),
        ("-1.000001", dt.timedelta(seconds=-1, microseconds=-1)),
        ("1 day 2 hours", dt.timedelta(days=1, hours=2)),
        ("1 d 2 h", dt.timedelta(days=1, hours=2)),
        ("1 week", dt.timedelta(weeks=1)),
        ("2 weeks 3 days 4 hours 5 minutes 6 seconds", dt.timedelta(17, 6, 0, 0, 5, 4)),
        ("1d2h", dt.timedelta(days=1, hours=2)),
        ("10m", dt.timedelta(minutes=10)),
        ("P1DT2H", dt.timedelta(days=1, hours=2)),
        ("PT1M", dt.timedelta(minutes=1)),
        ("P2W", dt.timedelta(weeks=2)),
        ("PT0.5S", dt.timedelta(milliseconds=500)),
        ("-P1D", dt.timedelta(days=-1)),
    ],
)
def test_a_duration_is_read(text: str, value: dt.timedelta) -> None:
    parameter: Any = TimeDeltaParameter()
    assert parameter.parse(text) == value
    if "-" not in text and "." not in text and text not in ("1d2h", "10m"):
        assert luigi.TimeDeltaParameter().parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (MonthParameter, "2026-03", dt.date(2026, 3, 1)),
        (YearParameter, " 2026 ", dt.date(2026, 1, 1)),
        (DateHourParameter, "2026-03-17T19", dt.datetime(2026, 3, 17, 19)),
        (DateMinuteParameter, "2026-03-17T1907", dt.datetime(2026, 3, 17, 19, 7)),
        (DateMinuteParameter, "2026-03-17T19:07", dt.datetime(2026, 3, 17, 19, 7)),
        (DateSecondParameter, "2026-03-17T190738", dt.datetime(2026, 3, 17, 19, 7, 38)),
        (DateSecondParameter, "2026-03-17T19:07:38", dt.datetime(2026, 3, 17, 19, 7, 38)),
        (ZonedDateSecondParameter, "2026-03-17T19:07:38+09:00", dt.datetime(2026, 3, 17, 19, 7, 38, tzinfo=PLUS_NINE)),
        (ZonedDateSecondParameter, "2026-03-17T19:07:38+0900", dt.datetime(2026, 3, 17, 19, 7, 38, tzinfo=PLUS_NINE)),
        (ZonedDateSecondParameter, "2026-03-17 19:07:38Z", dt.datetime(2026, 3, 17, 19, 7, 38, tzinfo=dt.timezone.utc)),
        (ZonedDateSecondParameter, "2026-03-17T19:07:38.123Z", dt.datetime(2026, 3, 17, 19, 7, 38, tzinfo=dt.timezone.utc)),
        (ZonedDateSecondParameter, "2026-03-17T19:07z", dt.datetime(2026, 3, 17, 19, 7, tzinfo=dt.timezone.utc)),
    ],
)
def test_a_date_is_read(kind: Any, text: str, value: Any) -> None:
    assert kind().read(text, "Owner", "knob") == value


@pytest.mark.parametrize(
    ("kind", "given_value", "kept"),
    [
        (MonthParameter, dt.date(2026, 3, 17), dt.date(2026, 3, 1)),
        (MonthParameter, pendulum.date(2026, 3, 17), dt.date(2026, 3, 1)),
        (YearParameter, dt.date(2026, 3, 17), dt.date(2026, 1, 1)),
        (DateHourParameter, dt.datetime(2026, 3, 17, 19, 59, 59, 9), dt.datetime(2026, 3, 17, 19)),
        (DateSecondParameter, pendulum.naive(2026, 3, 17, 19, 59, 59, 9), dt.datetime(2026, 3, 17, 19, 59, 59)),
        (TimeDeltaParameter, pendulum.duration(days=1, seconds=2), dt.timedelta(days=1, seconds=2)),
        (TimeDeltaParameter, pendulum.duration(days=-1, microseconds=2), dt.timedelta(days=-1, microseconds=2)),
    ],
)
def test_a_value_has_one_form(kind: Any, given_value: Any, kept: Any) -> None:
    value = kind().normalize(given_value)
    assert value == kept
    assert type(value) is type(kept)


def test_an_interval_of_moments_starts_where_it_is_told_to() -> None:
    quarter: Any = DateMinuteParameter(interval=15)
    late: Any = DateMinuteParameter(interval=15, start=dt.datetime(2026, 1, 1, 0, 5))
    assert quarter.normalize(dt.datetime(2026, 3, 17, 19, 7)) == dt.datetime(2026, 3, 17, 19, 0)
    assert late.normalize(dt.datetime(2026, 3, 17, 19, 7)) == dt.datetime(2026, 3, 17, 19, 5)


def test_a_zone_becomes_its_offset() -> None:
    parameter: Any = ZonedDateSecondParameter()
    paris = dt.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Paris"))
    value = parameter.normalize(paris)
    assert parameter.serialize(value) == "2026-07-01T12:00:00+02:00"
    assert value == paris
    assert encode(value) == encode(paris.astimezone(dt.timezone.utc))


def test_a_local_time_before_time_zones_is_written_in_utc() -> None:
    parameter: Any = ZonedDateSecondParameter()
    moment = dt.datetime(1880, 1, 1, 12, tzinfo=ZoneInfo("Europe/Paris"))
    value = parameter.normalize(moment)
    assert value == moment
    assert parameter.serialize(value) == "1880-01-01T11:50:39+00:00"


def test_an_interval_is_a_value() -> None:
    march = DateInterval.month(2026, 3)
    assert march == DateInterval(dt.date(2026, 3, 1), dt.date(2026, 4, 1)) == DateInterval.parse("2026-03")
    assert {march: 1}[DateInterval.parse("2026-03-01-2026-04-01")] == 1
    assert (len(march), dt.date(2026, 3, 31) in march, dt.date(2026, 4, 1) in march) == (31, True, False)
    assert dt.datetime(2026, 3, 31) not in march
    assert list(march)[-1] == dt.date(2026, 3, 31)
    with pytest.raises(AttributeError):
        march.start = dt.date(2026, 1, 1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "following", "before"),
    [
        ("2026", "2027", "2025"),
        ("2026-12", "2027-01", "2026-11"),
        ("2026-W53", "2027-W01", "2026-W52"),
        ("2026-12-31", "2027-01-01", "2026-12-30"),
        ("2026-01-01-2026-04-01", "2026-04-01-2026-07-01", "2025-10-01-2026-01-01"),
        ("2026-01-02-2026-01-05", "2026-01-05-2026-01-08", "2025-12-30-2026-01-02"),
    ],
)
def test_intervals_follow_each_other(text: str, following: str, before: str) -> None:
    interval = DateInterval.parse(text)
    assert (str(interval), str(interval.next()), str(interval.prev())) == (text, following, before)


@pytest.mark.parametrize("ends", [("2026-01-02", "2026-01-01"), ("2026-01-01", "2026-01-01")])
def test_an_interval_without_a_day_is_refused(ends: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="there is no day; let the end be later"):
        DateInterval(*map(dt.date.fromisoformat, ends))


def test_an_interval_of_moments_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call \.date\(\) on it"):
        DateInterval(dt.datetime(2026, 1, 1), dt.date(2026, 1, 2))


def test_the_golden_encoding_of_an_interval() -> None:
    expected = "6f34393a7331333a646174652d696e74657276616c6c32383a6431303a323032362d30312d30316431303a323032372d30312d3031"
    assert encode(DateInterval.year(2026)).hex() == expected
    assert encode(DateInterval.year(2026)) != encode((dt.date(2026, 1, 1), dt.date(2027, 1, 1)))


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (DateSecondParameter, dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), "use ZonedDateSecondParameter"),
        (ZonedDateSecondParameter, dt.datetime(2026, 1, 1), r"add one: \.replace\(tzinfo=\.\.\.\)"),
        (
            DateHourParameter,
            dt.date(2026, 1, 1),
            r"give a datetime\.datetime, not date",
        ),
        (DateIntervalParameter, "2026", "give a DateInterval, not str '2026'"),
        (TimeDeltaParameter, 90, r"give a datetime\.timedelta, not int 90"),
    ],
)
def test_a_refusal_says_what_to_give(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(ParameterValueError, match=words):
        kind().accept(value, "Owner", "knob")
