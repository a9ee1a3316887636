"""What is accepted comes back equal and of its class: subclasses, time zones, and objects in columns; the rest is refused."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_formats import through
from test_formats_rehearsal import VALUES, Number, Sized, alike

from airflow_kart.exceptions import FormatError
from airflow_kart.formats import (
    CsvFormat,
    FeatherFormat,
    GzipFormat,
    IniFormat,
    JsonFormat,
    NdjsonFormat,
    NpzFormat,
    ParquetFormat,
    PngFormat,
    TextFormat,
    ZipFormat,
)

TABLES = [CsvFormat(), JsonFormat(), NdjsonFormat(), ParquetFormat(), FeatherFormat(), GzipFormat(inner=JsonFormat())]


class Level(enum.IntEnum):
    LOW = 1


class Name(str, enum.Enum):
    ADA = "ada"


class Names(list[str]):
    pass


@given(VALUES)
def test_json_values(value: object) -> None:
    try:
        found = through(JsonFormat(), value)
    except FormatError:
        return
    assert alike(found, value)
    assert alike(through(NdjsonFormat(), [value, value]), [value, value])


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (Level.LOW, "the Level at $ would become a int"),
        ({"a": Name.ADA}, "the Name at $.a would become a str"),
        ({Name.ADA: 1}, "at $ would become a str"),
        ([collections.Counter("aab")], "the Counter at $[0] would become a dict"),
        (collections.defaultdict(list), "the defaultdict at $ would become a dict"),
        (collections.OrderedDict(a=1), "the OrderedDict at $ would become a dict"),
        ({"a": {"b": Names("x")}}, "the Names at $.a.b would become a list"),
        ([np.float64(1.5)], "the float64 at $[0] would become a float"),
        ((1, 2), "the tuple at $ would become a list"),
    ],
)
def test_what_would_become_plain_in_json_is_refused(value: object, becomes: str) -> None:
    for target_format, dumped in ((JsonFormat(), value), (NdjsonFormat(), [value])):
        with pytest.raises(FormatError) as refused:
            through(target_format, dumped)
        assert becomes.replace("$", "$[0]" if dumped is not value else "$") in str(refused.value)


@pytest.mark.parametrize(
    ("target_format", "value"),
    [
        (TextFormat(), Name.ADA),
        (TextFormat(), Sized("a")),
        (TextFormat(), Names("ab")),
        (TextFormat(), ["a", Name.ADA]),
        (IniFormat(), Sized("[a]")),
        (NpzFormat(), collections.defaultdict[str, Any](list, a=np.arange(2))),
        (NpzFormat(), collections.OrderedDict(a=np.arange(2))),
        (ZipFormat(), collections.OrderedDict(a=b"")),
        (PngFormat(), type("Bytes", (bytes,), {})(b"\x89PNG\r\n\x1a\n")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_of_built_in_classes_are_refused(target_format: Any, value: object) -> None:
    with pytest.raises(FormatError, match=r"would load this .* as a (str|list|dict|bytes); dump"):
        through(target_format, value)


ZONES: Any = st.sampled_from(
    [None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=9)), zoneinfo.ZoneInfo("Europe/Paris"), zoneinfo.ZoneInfo("UTC")]
)
MOMENTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1), timezones=ZONES)
DAYS = st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1))
KINDS: list[st.SearchStrategy[Any]] = [
    st.integers(-(2**62), 2**62),
    st.builds(Number, st.integers(0, 9)),
    st.just(Level.LOW),
    st.text("ab", max_size=2),
    st.just(Name.ADA),
    st.builds(Sized, st.text("ab", max_size=2)),
    st.booleans(),
    st.binary(max_size=2),
    st.floats(allow_nan=False),
    st.builds(np.float64, st.floats(allow_nan=False)),
    DAYS,
    MOMENTS,
    st.builds(pd.Timestamp, DAYS),
    st.times(),
    st.timedeltas(dt.timedelta(0), dt.timedelta(9)),
    st.decimals(0, 9, places=2),
    st.lists(st.one_of(DAYS, MOMENTS, st.integers(0, 9)), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.one_of(DAYS, MOMENTS, st.text("ab")), max_size=2),
]
COLUMNS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=2).flatmap(
    lambda kinds: st.lists(st.one_of(*kinds, st.none()), min_size=1, max_size=4)
)


def column_of(values: list[Any]) -> pd.DataFrame:
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    frame: pd.DataFrame = pd.DataFrame({"a": pd.Series(objects, dtype=object)})
    return frame


def shown(value: Any) -> Any:
    """Return an object's class and its value with the time zone, all the way down."""
    if isinstance(value, dict):
        return {key: shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner) for inner in value]
    if isinstance(value, dt.datetime):
        return type(value), value.isoformat()
    return None if value is pd.NaT or value is None else (type(value), value)


@pytest.mark.parametrize("target_format", TABLES, ids=lambda one: one.name)
@settings(max_examples=60)
@given(values=COLUMNS)
def test_objects_in_columns(target_format: Any, values: list[Any]) -> None:
    frame = column_of(values)
    try:
        found = through(target_format, frame)
    except FormatError:
        return
    assert shown(found["a"].tolist()) == shown(values)


@pytest.mark.parametrize("target_format", TABLES, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "values",
    [
        [dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 5)],
        [
            dt.datetime(2024, 1, 1, 5, tzinfo=dt.timezone.utc),
            dt.datetime(2024, 1, 1, 5, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")),
        ],
        [["a", Name.ADA]],
        [Name.ADA, "b"],
        [Level.LOW],
        [
            [
                dt.datetime(2024, 1, 1, 5, tzinfo=dt.timezone.utc),
                dt.datetime(2024, 1, 1, 5, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            ]
        ],
    ],
    ids=["dates and datetimes", "zones", "in a list", "a subclass of str", "a subclass of int", "zones in a list"],
)
def test_objects_that_would_change_are_refused(target_format: Any, values: list[Any]) -> None:
    with pytest.raises(FormatError):
        through(target_format, column_of(values))


@pytest.mark.parametrize("target_format", [ParquetFormat(), FeatherFormat()], ids=lambda one: one.name)
def test_indexes_and_categories_of_several_classes_are_refused(target_format: Any) -> None:
    days = [dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 5)]
    frames = [
        pd.DataFrame({"a": [1, 2]}, index=pd.Index(days, dtype=object)),
        pd.DataFrame({"a": pd.Categorical([1, 2], categories=[1, 2]).rename_categories(pd.Index(days, dtype=object))}),
        pd.DataFrame([[1, 2]], columns=pd.Index([Name.ADA, "b"], dtype=object)),
        pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_arrays([pd.Index(days, dtype=object), [1, 2]])),
    ]
    for frame in frames:
        with pytest.raises(FormatError, match="several types"):
            through(target_format, frame)


@pytest.mark.parametrize("zone", ["utc", "fixed", "Europe/Paris"])
@pytest.mark.parametrize("target_format", [ParquetFormat(), FeatherFormat()], ids=lambda one: one.name)
def test_moments_of_one_zone_keep_it(target_format: Any, zone: str) -> None:
    fixed = {"utc": dt.timezone.utc, "fixed": dt.timezone(dt.timedelta(hours=5, minutes=30))}
    moments = [dt.datetime(2024, month, 1, 5, tzinfo=fixed.get(zone) or zoneinfo.ZoneInfo(zone)) for month in (1, 7)]
    assert shown(through(target_format, column_of(moments))["a"].tolist()) == shown(moments)


class Frame(pd.DataFrame):
    """As pandera's typed frames: a subclass without attributes of its own."""


class GeoFrame(pd.DataFrame):
    """As geopandas' frames, which keep the name of their geometry."""

    _metadata = ["geometry_column"]
    geometry_column: str | None = None


class PolarsFrame(pl.DataFrame):
    pass


@pytest.mark.parametrize("target_format", TABLES, ids=lambda one: one.name)
def test_subclasses_of_frames(target_format: Any) -> None:
    found = through(target_format, Frame({"a": [1, 2]}))
    assert type(found) is pd.DataFrame and found["a"].tolist() == [1, 2]
    found = through(target_format, PolarsFrame({"a": [1, 2]}))
    assert type(found) is pl.DataFrame and found["a"].to_list() == [1, 2]
    geo = GeoFrame({"a": [1, 2]})
    assert type(through(target_format, geo)) is pd.DataFrame
    geo.geometry_column = "a"
    with pytest.raises(FormatError, match="would lose the attributes geometry_column of this"):
        through(target_format, geo)


@given(st.lists(st.one_of(st.text(max_size=3), st.none(), st.just(Name.ADA), st.just(float("nan"))), min_size=1, max_size=3))
def test_texts_in_csv(values: list[Any]) -> None:
    assume(any(isinstance(value, str) for value in values))
    try:
        found = through(CsvFormat(), column_of(values))["a"].tolist()
    except FormatError:
        assert Name.ADA in values or any(
            "\0" in value or not value.isprintable() for value in values if isinstance(value, str)
        )
        return
    assert [value if isinstance(value, str) else None for value in found] == [
        value if isinstance(value, str) else None for value in values
    ]
    assert {type(value) for value in found if isinstance(value, str)} == {str}


def test_scales_of_decimals_and_arrow_tables_are_kept() -> None:
    values = [decimal.Decimal("1.5"), decimal.Decimal("2.25"), None]
    assert through(FeatherFormat(), column_of(values))["a"].tolist() == values
    table = pa.table({"a": pa.array([dt.datetime(2024, 1, 1, 5)], pa.timestamp("us", "Asia/Tokyo"))})
    assert through(FeatherFormat(), table).equals(table)
