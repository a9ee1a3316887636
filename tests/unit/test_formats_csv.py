"""CSV: every separator, and files of others, whose values come through exactly."""

from __future__ import annotations

import datetime as dt
import io
import string
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from test_formats import through

from airflow_kart.exceptions import ConfigurationError
from airflow_kart.formats import CsvFormat

SEPARATORS = sorted(set(string.printable) - set('"\r\n'))
CELLS = st.one_of(
    st.text(string.printable.replace("\r", ""), max_size=6), st.sampled_from(["", "1.5", "-1", "a b", "10:20"])
)


def check(separator: str, texts: list[str], number: float, integer: int, moment: dt.datetime) -> None:
    size = len(texts)
    frame = pd.DataFrame(
        {
            "t": pd.Series(texts, dtype=object),
            f"f{separator}": [number] * size,
            "i": [integer] * size,
            "m": pd.Series([moment] * size, dtype="datetime64[us]"),
            "b": [True] * size,
            "d e-f.g:h": pd.Series([1, *[None] * (size - 1)], dtype="Int64"),
        }
    )
    assert_frame_equal(through(CsvFormat(separator=separator), frame), frame)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_every_separator(separator: str) -> None:
    texts = ["a b", "x:y", "-", ".", "", separator, f'"{separator}', "1.5", "true"]
    check(separator, texts, -1.5e300, -1234567890, dt.datetime(2024, 1, 1, 10, 20, 30, 567))


@given(
    st.sampled_from(SEPARATORS),
    st.lists(CELLS, min_size=1, max_size=3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1)),
)
def test_a_table_comes_back_whatever_separates_it(
    separator: str, texts: list[str], number: float, integer: int, moment: dt.datetime
) -> None:
    check(separator, texts, number, integer, moment)


def read(content: str, **options: Any) -> Any:
    return CsvFormat(**options).load(io.BytesIO(content.encode()))


@pytest.mark.parametrize(
    ("cells", "loaded"),
    [
        (["18446744073709551615", "9007199254740993"], [18446744073709551615, 9007199254740993]),
        (["12345678901234567890123", "9007199254740993"], ["12345678901234567890123", "9007199254740993"]),
        (["-9223372036854775809", "1"], ["-9223372036854775809", "1"]),
        (["9223372036854775807", "-1"], [9223372036854775807, -1]),
        (["9007199254740993", "1.5"], ["9007199254740993", "1.5"]),
        (["1", "true"], ["1", "true"]),
        (["0", "1"], [0, 1]),
        (["true", "False"], [True, False]),
        (["0x10"], ["0x10"]),
        (["0x10", "16"], ["0x10", "16"]),
        (["007", "8"], ["007", "8"]),
        (["007", "1.5"], ["007", "1.5"]),
        (["0.5", "1e5"], [0.5, 1e5]),
        (["-0", "1"], [-0.0, 1.0]),
        (["1", "2"], [1, 2]),
        (["2024-01-01"], [dt.date(2024, 1, 1)]),
    ],
    ids=str,
)
def test_values_of_others_are_exact(cells: list[str], loaded: list[Any]) -> None:
    assert read("\n".join(["x", *cells, ""]))["x"].tolist() == loaded
    assert read("\n".join(["x", *cells, ""]), kind="polars")["x"].to_list() == loaded
    assert read("\n".join(["a,x", *[f"1,{cell}" for cell in cells], ""]))["x"].tolist() == loaded


@given(
    st.lists(
        st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text("0123456789abx.-+", min_size=1)),
        min_size=1,
    )
)
def test_no_integer_of_others_changes(values: list[Any]) -> None:
    cells = [str(value) for value in values]
    found = read("\n".join(["x", *cells, ""]), kind="pyarrow")["x"].to_pylist()
    for cell, value in zip(cells, found, strict=True):
        if isinstance(value, float):
            assert not cell.lstrip("+-").isdigit() or float(value) == int(cell)
        elif isinstance(value, (int, bool, str)):
            assert str(value) == cell


def test_missing_values_and_empty_texts_of_others() -> None:
    found = read('a,b,c\n1,,x\n,true,""\n', kind="pyarrow").to_pydict()
    assert found == {"a": [1, None], "b": [None, True], "c": ["x", ""]}


def test_types_that_are_given_are_not_guessed() -> None:
    text = "id,code,when,flag\n1,007,2024-01-01,1\n2,008,2024-01-02,0\n"
    types = {"id": "int32", "code": int, "when": str, "flag": bool, "absent": float}
    found = read(text, column_types=types, kind="pyarrow")
    assert {name: str(one) for name, one in zip(found.column_names, found.schema.types, strict=True)} == {
        "id": "int32",
        "code": "int64",
        "when": "large_string",
        "flag": "bool",
    }
    assert found["code"].to_pylist() == [7, 8]
    with pytest.raises(ConfigurationError, match=r"column_types=.*'a': 'nothing'"):
        CsvFormat(column_types={"a": "nothing"})
    frame = pl.DataFrame({"id": [1]})
    assert through(CsvFormat(column_types={"id": str}), frame).schema == frame.schema  # the sidecar knows better
