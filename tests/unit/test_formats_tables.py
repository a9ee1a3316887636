"""Tables of every library, in every format that holds tables."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import math
import os
from pathlib import Path
from typing import Any, TypedDict

import hypothesis.extra.numpy as np_strategies
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from test_formats import Memory, through

from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats import (
    CsvFormat,
    FeatherFormat,
    GzipFormat,
    JsonFormat,
    NdjsonFormat,
    ParquetFormat,
    describe,
    format_for,
    of_kind,
    table_kind_of,
)
from airflow_kart.storage import LocalStore


class Scored(TypedDict):
    """Several outputs, one of them a table."""

    best: int
    table: pl.DataFrame


BINARY = [
    *(ParquetFormat(compression=name) for name in ("zstd", "snappy", "gzip", "none")),
    *(FeatherFormat(compression=name) for name in ("lz4", "zstd", "none")),
]
TEXT = [
    CsvFormat(),
    CsvFormat(separator=";", encoding="utf-16"),
    CsvFormat(separator="\t", encoding="utf-8-sig"),
    GzipFormat(inner=CsvFormat()),
    JsonFormat(),
    NdjsonFormat(),
    GzipFormat(inner=NdjsonFormat(), level=1),
]
ALL = [*BINARY, *TEXT]


def is_json(target_format: Any) -> bool:
    return "json" in target_format.name


def frames_equal(one: Any, other: Any) -> None:
    pd.testing.assert_frame_equal(one, other, check_column_type=False, check_exact=True)


# What every format keeps. Years below 1 and above 9999 are no datetimes of Python.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
names = st.lists(text.filter(bool), min_size=1, max_size=4, unique=True)
moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
finite = st.floats(allow_nan=False, allow_infinity=False)
PLAIN_POLARS: dict[Any, Any] = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Int8: st.integers(-128, 127),
    pl.Float64: finite,
    pl.Float32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    pl.Boolean: st.booleans(),
    pl.String: text,
    pl.Date: st.dates(),
    pl.Time: st.times(),
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("ns"): moments,
    pl.Datetime("ms", "Asia/Tokyo"): moments.map(lambda moment: moment.replace(microsecond=0)),
    pl.Decimal(20, 3): st.decimals(-(10**9), 10**9, places=3),
    pl.Null: st.none(),
}
NESTED_POLARS: dict[Any, Any] = {
    pl.List(pl.Int64): st.lists(st.none() | st.integers(-5, 5), max_size=3),
    pl.Struct({"x": pl.String, "y": pl.List(pl.Boolean)}): st.fixed_dictionaries(
        {"x": st.none() | text, "y": st.lists(st.booleans())}
    ),
    pl.Array(pl.Int16, 2): st.lists(st.integers(-9, 9), min_size=2, max_size=2),
}
RICH_POLARS: dict[Any, Any] = {
    pl.Float64: st.floats(),
    pl.Binary: st.binary(max_size=4),
    pl.Duration("us"): st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
    pl.Enum(["y", "x", "unused"]): st.sampled_from(["x", "y"]),
    pl.Categorical: text,
    pl.List(pl.Datetime("us")): st.lists(moments, max_size=2),
}


@st.composite
def polars_frames(draw: Any, kinds: dict[Any, Any]) -> pl.DataFrame:
    schema = {name: draw(st.sampled_from(list(kinds))) for name in draw(names)}
    rows = draw(st.integers(0, 6))
    columns = {
        name: draw(st.lists(st.none() | kinds[dtype], min_size=rows, max_size=rows)) for name, dtype in schema.items()
    }
    return pl.DataFrame(columns, schema=schema)


@pytest.mark.parametrize("target_format", ALL, ids=str)
@given(frame=polars_frames(PLAIN_POLARS))
def test_polars_reads_back_from_every_format(target_format: Any, frame: pl.DataFrame) -> None:
    assert_frame_equal(through(target_format, frame), frame, check_exact=True)


@pytest.mark.parametrize("target_format", BINARY, ids=str)
@given(frame=polars_frames(PLAIN_POLARS | NESTED_POLARS | RICH_POLARS))
def test_polars_keeps_every_type(target_format: Any, frame: pl.DataFrame) -> None:
    assert_frame_equal(through(target_format, frame), frame, check_exact=True)


@pytest.mark.parametrize("target_format", [JsonFormat(), NdjsonFormat()], ids=str)
@given(frame=polars_frames(PLAIN_POLARS | NESTED_POLARS))
def test_json_keeps_nested_columns(target_format: Any, frame: pl.DataFrame) -> None:
    assert_frame_equal(through(target_format, frame), frame, check_exact=True)


@pytest.mark.parametrize(
    "target_format", [ParquetFormat(), FeatherFormat(), CsvFormat(), JsonFormat(), NdjsonFormat()], ids=str
)
@given(frame=polars_frames(PLAIN_POLARS))
def test_a_lazy_frame_reads_back(target_format: Any, frame: pl.DataFrame) -> None:
    loaded = through(target_format, frame.lazy())
    assert isinstance(loaded, pl.LazyFrame)
    assert_frame_equal(loaded.collect(), frame, check_exact=True)


@pytest.mark.parametrize("target_format", ALL, ids=str)
@given(frame=polars_frames(PLAIN_POLARS))
def test_pyarrow_reads_back_from_every_format(target_format: Any, frame: pl.DataFrame) -> None:
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    loaded = through(target_format, table)
    assert loaded.schema == table.schema
    assert loaded.equals(table)


PLAIN_PANDAS: dict[str, Any] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "int8": st.integers(-128, 127),
    "float64": finite | st.just(math.nan),
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "object": st.none() | text,
    "str": st.none() | text,
    "string": st.none() | text,
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "boolean": st.none() | st.booleans(),
    "datetime64[us]": st.none() | moments,
    "datetime64[ns]": st.none() | moments,
    "datetime64[s]": st.none() | moments.map(lambda moment: moment.replace(microsecond=0)),
    "datetime64[us, Europe/Berlin]": st.none() | moments,
}
RICH_PANDAS: dict[str, Any] = {
    "float64": st.floats(),
    "timedelta64[us]": st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
    "period[M]": st.none() | st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)).map(lambda day: pd.Period(day, "M")),
    "bytes": st.none() | st.binary(max_size=3),
    "dates": st.none() | st.dates(),
    "integers": st.none() | st.integers(-(2**63), 2**63 - 1),
    "booleans": st.none() | st.booleans(),
    "decimals": st.none() | st.decimals(-(10**9), 10**9, places=2),
    "lists": st.none() | st.lists(st.integers(-9, 9), max_size=3),
    "structs": st.none() | st.fixed_dictionaries({"x": st.integers(-9, 9), "y": st.lists(text)}),
    "arrays": st.none() | np_strategies.arrays(np.float32, st.integers(1, 3), elements=st.floats(width=32, allow_nan=False)),
    "texts with NaN": st.just(math.nan) | text,
    "numbers as categories": st.sampled_from([3, 1]),
    "texts as categories": st.none() | st.sampled_from(["x", "y"]),
}


def pandas_column(kind: str, values: list[Any]) -> Any:
    if kind == "numbers as categories":
        return pd.Categorical(values, categories=[9, 3, 1])
    if kind == "texts as categories":
        return pd.Categorical(values, categories=["unused", "y", "x"], ordered=True)
    if kind in RICH_PANDAS and kind not in ("float64", "timedelta64[us]", "period[M]"):
        return pd.Series(values, dtype=object)
    if kind.endswith("Berlin]"):
        return pd.Series(values, dtype="datetime64[us, UTC]").dt.tz_convert("Europe/Berlin")
    return pd.Series(values, dtype=kind)


@st.composite
def pandas_frames(draw: Any, kinds: dict[str, Any], indexed: bool = False) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    columns = {}
    for name in draw(names):
        kind = draw(st.sampled_from(list(kinds)))
        columns[name] = pandas_column(kind, draw(st.lists(kinds[kind], min_size=rows, max_size=rows)))
    frame: pd.DataFrame = pd.DataFrame(columns)
    if indexed:
        frame.index = draw(
            st.sampled_from(
                [
                    pd.RangeIndex(5, 5 + 2 * rows, 2, name="n"),
                    pd.Index([f"{number}" for number in range(rows)], name="k"),
                    pd.Index([f"{number}" for number in range(rows)], dtype=object),
                    pd.date_range("2026-01-01", periods=rows, freq="D", tz="UTC"),
                    pd.CategoricalIndex([3] * rows, categories=[4, 3], name="c"),
                    pd.MultiIndex.from_arrays([["a"] * rows, list(range(rows))], names=["x", None]),
                ]
            )
        )
        frame.attrs = draw(st.sampled_from([{}, {"unit": "m", "of": ["a", {"b": 1.5}]}]))
    return frame


@pytest.mark.parametrize("target_format", ALL, ids=str)
@given(frame=pandas_frames(PLAIN_PANDAS))
def test_pandas_reads_back_from_every_format(target_format: Any, frame: pd.DataFrame) -> None:
    frames_equal(through(target_format, frame), frame)


@pytest.mark.parametrize("target_format", BINARY, ids=str)
@given(frame=pandas_frames(PLAIN_PANDAS | RICH_PANDAS, indexed=True))
def test_pandas_keeps_types_index_and_attributes(target_format: Any, frame: pd.DataFrame) -> None:
    loaded = through(target_format, frame)
    frames_equal(loaded, frame)
    assert loaded.attrs == frame.attrs
    for name, dtype in frame.dtypes.items():
        if str(dtype) == "object":
            assert [type(value) for value in loaded[name]] == [type(value) for value in frame[name]]


@given(pandas_frames(PLAIN_PANDAS), st.sampled_from(["k", None]), st.sampled_from([";", "\t"]))
def test_csv_keeps_an_index_when_asked_to(frame: pd.DataFrame, name: str | None, separator: str) -> None:
    assume("k" not in frame.columns)
    frame.index = pd.Index([f"{number}, " for number in range(len(frame))], name=name)
    frames_equal(through(CsvFormat(index=True, separator=separator), frame), frame)
    frames_equal(through(CsvFormat(index=False, separator=separator), frame), frame.reset_index(drop=True))


@pytest.mark.parametrize("target_format", [JsonFormat(), NdjsonFormat()], ids=str)
def test_a_frame_of_json_values_reads_back_from_json(target_format: Any) -> None:
    values = [{"a": [1, {"b": None}]}, [], "007", 1, 1.5, True, None]
    frame = pd.DataFrame({"n": range(7), "any": pd.Series(values, dtype=object)})
    loaded = through(target_format, frame)
    assert repr(list(loaded["any"])) == repr(values)
    frames_equal(loaded[["n"]], frame[["n"]])
    frames_equal(through(target_format, frame[["any"]])[["any"]], frame[["any"]])


@pytest.mark.parametrize("target_format", ALL, ids=str)
@pytest.mark.parametrize(
    "table", [pl.DataFrame({"a": [1, 2], "b": ["x", None]}), pd.DataFrame({"a": [1, 2], "b": ["x", None]})]
)
def test_a_table_loads_as_the_kind_asked_for(target_format: Any, table: Any) -> None:
    import dataclasses

    for kind, cls in [
        ("pandas", pd.DataFrame),
        ("polars", pl.DataFrame),
        ("polars-lazy", pl.LazyFrame),
        ("pyarrow", pa.Table),
    ]:
        if isinstance(target_format, GzipFormat):
            asked: Any = dataclasses.replace(target_format, inner=dataclasses.replace(target_format.inner, kind=kind))  # type: ignore[type-var]
        else:
            asked = dataclasses.replace(target_format, kind=kind)
        loaded = through(asked, table)
        assert isinstance(loaded, cls)
        loaded = loaded.collect() if kind == "polars-lazy" else loaded
        rows = (
            loaded.to_dict("records")
            if kind == "pandas"
            else loaded.to_dicts()
            if kind.startswith("polars")
            else loaded.to_pylist()
        )
        assert [row["a"] for row in rows] == [1, 2]
        assert rows[0]["b"] == "x"


@pytest.mark.parametrize("extension", [".parquet", ".feather", ".csv", ".tsv", ".csv.gz", ".json", ".ndjson", ".ndjson.gz"])
def test_a_table_reads_back_from_a_file(tmp_path: Path, extension: str) -> None:
    polars = pl.DataFrame({"a": [1, None], "b": ["long\n" * 500_000, None], "c": [dt.datetime(2026, 1, 1), None]})
    for number, table in enumerate((polars, polars.lazy(), polars.to_arrow(), polars.to_pandas())):
        target = Target(str(tmp_path / f"{number}{extension}"), format_for(f"a{extension}"), LocalStore())
        target.dump(table)
        loaded = target.load()
        assert type(loaded) is type(table)
        if isinstance(table, pd.DataFrame):
            frames_equal(loaded, table)
        else:
            assert_frame_equal(pl.from_arrow(loaded) if isinstance(loaded, pa.Table) else loaded.lazy().collect(), polars)  # type: ignore[arg-type]


@pytest.mark.parametrize("extension", [".parquet", ".feather"])
def test_a_lazy_frame_reads_the_file_it_was_loaded_from(tmp_path: Path, extension: str) -> None:
    target = Target(str(tmp_path / f"a{extension}"), format_for(f"a{extension}"), LocalStore())
    target.dump(pl.LazyFrame({"a": range(100_000)}))
    sidecar = target.sidecar()
    assert sidecar is not None
    assert (sidecar.artifact.rows, sidecar.artifact.columns) == (None, {"a": "Int64"})
    lazy = target.load()
    target.dump(pl.DataFrame({"a": [1]}))
    os.unlink(target.uri)
    assert lazy.select(pl.col("a").sum()).collect().item() == 4999950000


WITHOUT_HOLDING_IT = """
import polars as pl, resource, sys
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.artifacts.target import Target
def target(name):
    return Target(name, format_for(name), LocalStore())
if sys.argv[1:] == ["make"]:
    pl.select(a=pl.int_range(0, 40_000_000)).write_parquet("source.parquet")
    raise SystemExit
target("small" + sys.argv[1]).dump(pl.LazyFrame({"a": [1]}))
target("small" + sys.argv[1]).load().collect()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
target("large" + sys.argv[1]).dump(pl.scan_parquet("source.parquet").with_columns(b=pl.col("a") * 2))
loaded = target("large" + sys.argv[1]).load()
assert loaded.select(pl.col("b").sum()).collect(engine="streaming").item() == 40_000_000 * 39_999_999
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("extension", [".parquet", ".feather"])
def test_a_lazy_frame_is_never_held_as_a_whole(python: Any, script: Any, extension: str) -> None:
    path = script("hold.py", WITHOUT_HOLDING_IT)
    python(path, "make")
    assert float(python(path, extension)) < 400  # megabytes; the frame has 640


@pytest.mark.parametrize(
    ("target_format", "table", "words"),
    [
        (ParquetFormat(), pd.Series([1]), r"dump a pandas\.DataFrame, .*to_frame\(\)"),
        (CsvFormat(), [1], r"the csv format cannot write a builtins\.list; dump a pandas\.DataFrame, a polars"),
        (
            ParquetFormat(),
            pd.DataFrame({"a": pd.Series([1, 2.5], dtype=object)}),
            r"'a' would not read back equal: 1 in row 0 would",
        ),
        (
            ParquetFormat(),
            pd.DataFrame({"a": [{"x": 1}, {"y": 2}]}),
            r"\{'x': 1\} in row 0 would become .*dump to a .pkl file",
        ),
        (FeatherFormat(), pd.DataFrame({"a": [(1, 2)]}), r"\(1, 2\) in row 0 would become"),
        (FeatherFormat(), pd.DataFrame({"a": pd.cut([1, 5, 9], 3)}), r"the column 'a' has categories of type interval"),
        (ParquetFormat(), pd.DataFrame([[1, 2]], columns=[0, "a"]), r"labels are of several types; .*astype\(str\)"),
        (ParquetFormat(), pd.DataFrame(index=[1]), r"rows but no columns; .*reset_index"),
        (ParquetFormat(), pd.DataFrame({"a": [1j]}), "complex"),
        (ParquetFormat(), pd.DataFrame({"a": pd.arrays.SparseArray([1, 0])}), "Sparse"),
        (ParquetFormat(), pd.DataFrame({"a": [1]}, index=pd.Index([dt.time(1)])), "the index holds values of the type time"),
        (
            CsvFormat(),
            pd.DataFrame({"a": [1]}, index=[5]),
            r"lose the frame's index; .*CsvFormat\(index=True\).*CsvFormat\(index=False\)",
        ),
        (CsvFormat(), pd.DataFrame({"a": [[1]]}), r"no form for the column 'a' of mixed objects; .*\.parquet"),
        (CsvFormat(), pd.DataFrame({"a": pd.Categorical(["x"])}), "no form for the column 'a' of type category"),
        (CsvFormat(), pd.DataFrame({"a": [dt.timedelta(1)]}), "no form for the column 'a' of type timedelta"),
        (CsvFormat(), pd.DataFrame({0: [1]}), r"text column labels only, not \[0\]"),
        (CsvFormat(), pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns of one name"),
        (CsvFormat(), pd.DataFrame({"a": [1]}).rename_axis(columns="x"), "cannot keep the columns' name 'x'"),
        (CsvFormat(index=True), pd.DataFrame({"k": [1]}, index=pd.Index(["x"], name="k")), "an index of one level"),
        (CsvFormat(encoding="ascii"), pd.DataFrame({"a": ["ü"]}), "cannot be written as ASCII .*choose encoding='utf-8'"),
        (CsvFormat(), pl.DataFrame({"a": [[1]]}), r"the column 'a' of type List\(Int64\)"),
        (CsvFormat(), pa.table({"a": pa.array([1], pa.duration("s"))}), r"of type duration\[s\]"),
        (CsvFormat(), pa.table([[1], [2]], names=["a", "a"]), "two columns of one name"),
        (JsonFormat(), pa.table([[1]], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])), "non-nullable"),
        (JsonFormat(), pd.DataFrame({"a": [1]}, index=["x"]), r"lose the frame's index; dump frame\.reset_index\(\)"),
        (JsonFormat(), pl.DataFrame({"a": [math.nan]}), "NaN and infinity must be made null"),
        (NdjsonFormat(), pd.DataFrame({"a": [math.inf]}), "NaN and infinity must be made null"),
        (NdjsonFormat(), pd.DataFrame({"a": [(1, 2)]}), r"the tuple at a\[0\] would become a list"),
        (ParquetFormat(), pl.DataFrame({"a": [object()]}), "Object"),
        (ParquetFormat(), pl.LazyFrame({"a": [1]}).select("b"), "cannot write this table: .*b"),
        (NdjsonFormat(), pl.LazyFrame({"a": [1]}).select("b"), "cannot write this table: .*b"),
        (
            ParquetFormat(),
            pa.table({"a": pa.array(["x"]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string()))}),
            "cast it first",
        ),
    ],
    ids=lambda value: value.name if hasattr(value, "name") and hasattr(value, "dump") else None,
)
def test_what_would_not_read_back_is_refused(target_format: Any, table: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        target_format.dump(table, ChecksumStream(Memory()))  # type: ignore[arg-type]


def test_attributes_that_are_no_json_are_refused() -> None:
    frame = pd.DataFrame({"a": [1]})
    for attrs in ({"a": object()}, {1: 2}, {"a": (1, 2)}):
        frame.attrs = attrs
        for target_format in (ParquetFormat(), FeatherFormat(), CsvFormat(), JsonFormat()):
            with pytest.raises(FormatError, match=r"attrs = \{\}"):
                through(target_format, frame)


def test_a_cell_may_be_longer_than_a_block() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x\n" * 2_000_000, "y"]})
    assert_frame_equal(through(CsvFormat(), frame), frame)


def test_json_of_a_table_is_an_array_of_rows() -> None:
    frame = pd.DataFrame(
        {"when": pd.Series(["2026-01-01", None], dtype="datetime64[us]"), "n": [0.1, 1e300], "s": ["007", "2026-01-01"]}
    )
    memory = Memory()
    JsonFormat().dump(frame, ChecksumStream(memory))  # type: ignore[arg-type]
    assert memory.buffer.getvalue().decode().splitlines() == [
        "[",
        '{"when": "2026-01-01 00:00:00.000000", "n": 0.1, "s": "007"},',
        '{"when": null, "n": 1e+300, "s": "2026-01-01"}',
        "]",
    ]


def test_without_a_sidecar_json_is_read_as_it_is() -> None:
    data = b'{"date": "2026-01-01", "n": "1", "x": 1}\n{"date": null, "n": "02", "x": 2.5}\n'
    frame: Any = NdjsonFormat(kind="polars").load(io.BytesIO(data))
    assert frame.rows() == [("2026-01-01", "1", 1.0), (None, "02", 2.5)]
    rows: Any = NdjsonFormat().load(io.BytesIO(data))
    assert rows[0] == {"date": "2026-01-01", "n": "1", "x": 1}
    with pytest.raises(FormatError, match="no JSON object"):
        NdjsonFormat(kind="pandas").load(io.BytesIO(b"1\n"))
    with pytest.raises(FormatError, match="no array of row objects"):
        JsonFormat(kind="pandas").load(io.BytesIO(b"{}"))


@given(st.lists(st.none() | st.integers() | text | st.lists(finite), max_size=4))
def test_ndjson_keeps_a_list_of_values(values: list[Any]) -> None:
    assert repr(through(NdjsonFormat(), values)) == repr(values)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("value", [{"a": 1}, [1], [{"a": 1}]])
def test_a_json_value_stays_one_whatever_table_is_asked_for(kind: Any, value: Any) -> None:
    assert through(JsonFormat(kind=kind), value) == value


class Full(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(28, "no space left")


@pytest.mark.parametrize(
    "target_format", [ParquetFormat(), FeatherFormat(), CsvFormat(), JsonFormat(), NdjsonFormat()], ids=str
)
@pytest.mark.parametrize(
    "table",
    [pd.DataFrame({"a": range(300_000)}), pl.DataFrame({"a": range(300_000)}), pl.LazyFrame({"a": range(300_000)})],
    ids=["pandas", "polars", "lazy"],
)
def test_an_error_of_the_store_stays_what_it_is(target_format: Any, table: Any) -> None:
    with pytest.raises(OSError, match="no space left") as caught:
        target_format.dump(table, Full())
    assert caught.value.errno == 28


EXAMPLE = {"a": [1, 2, 3], "b": ["x", None, "z"], "c": [dt.date(2026, 1, 1)] * 3}


@pytest.mark.parametrize("kind", ["pandas", "polars", "polars-lazy", "pyarrow"])
@pytest.mark.parametrize("extension", [".parquet", ".feather", ".csv", ".csv.gz", ".tsv", ".ndjson", ".json", ".json.gz"])
def test_broken_bytes_are_a_format_error_at_worst(kind: Any, extension: str) -> None:
    memory = Memory()
    target_format: Any = format_for(f"a{extension}", kind=kind)
    table = pl.DataFrame(EXAMPLE)
    target_format.dump(table, ChecksumStream(memory))  # type: ignore[arg-type]
    data = memory.buffer.getvalue()
    reader = target_format.for_type("polars.dataframe.frame.DataFrame")
    if hasattr(reader, "for_columns"):
        reader = reader.for_columns(describe(table).columns)
    places = range(0, len(data), max(1, len(data) // 40))
    broken = [data[:end] for end in places] + [data[:place] + b"\xff" + data[place + 1 :] for place in places]
    for some in [*broken, b"", b"\0" * 100, b"{}", b"PAR1", b"ARROW1\0\0"]:
        try:
            loaded = reader.load(io.BytesIO(some))
            if kind == "polars-lazy" and isinstance(loaded, pl.LazyFrame) and extension not in (".parquet", ".feather"):
                loaded.collect()
        except FormatError:
            pass


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CsvFormat(separator=";;"), "one ASCII character"),
        (lambda: CsvFormat(separator='"'), "one ASCII character"),
        (lambda: CsvFormat(encoding="utf-9"), "encoding='utf-9', which Python does not know"),
        (lambda: CsvFormat(encoding="base64"), "which Python does not know"),
        (lambda: CsvFormat(kind="numpy"), "kind='numpy'; give one of 'pandas', 'polars', 'polars-lazy', 'pyarrow'"),  # type: ignore[arg-type]
        (lambda: JsonFormat(kind="numpy"), "JsonFormat got kind='numpy'"),  # type: ignore[arg-type]
        (lambda: ParquetFormat(compression="zip"), "compression='zip'; give one of zstd, snappy"),  # type: ignore[arg-type]
        (lambda: FeatherFormat(compression="snappy"), "give one of lz4, zstd, none"),  # type: ignore[arg-type]
        (lambda: GzipFormat(level=0), "level=0; give a number from 1 to 9"),
        (lambda: GzipFormat(inner="csv"), "give a format, such as CsvFormat"),  # type: ignore[arg-type]
    ],
)
def test_wrong_options_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_tables_of_every_library_are_described() -> None:
    columns = {"a": [1, 2], "b": ["x", None]}
    assert describe(pl.DataFrame(columns)).columns == {"a": "Int64", "b": "String"}
    assert describe(pa.table(columns)).columns == {"a": "int64", "b": "string"}
    assert {describe(table).rows for table in (pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns))} == {2}
    assert describe(pl.LazyFrame(columns)).rows is None


WITHOUT_POLARS = """
import sys
sys.modules["polars"] = None
import io
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.formats import ParquetFormat, CsvFormat
for target_format in (ParquetFormat(kind="polars"), CsvFormat(kind="polars-lazy")):
    try:
        target_format.load(io.BytesIO(b"a,b\\n1,2\\n"))
    except ConfigurationError as error:
        assert "pip install 'airflow-kart[polars]'" in str(error), error
    else:
        sys.exit("loaded")
"""


def test_a_missing_polars_is_named(python: Any) -> None:
    python(code=WITHOUT_POLARS)


class Model:
    pass


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (pd.DataFrame, "pandas"),
        (pl.DataFrame, "polars"),
        (pl.LazyFrame, "polars-lazy"),
        (pa.Table, "pyarrow"),
        (pl.DataFrame | None, "polars"),
        (dict[str, pl.DataFrame], "polars"),
        (Scored, "polars"),
        (tuple[list[pd.DataFrame], int], "pandas"),
        (pd.DataFrame | pl.DataFrame, None),
        (pl.DataFrame | pl.LazyFrame, None),
        (dict[str, int], None),
        (Model, None),
        (Any, None),
        (None, None),
        ("pl.DataFrame", "polars"),
        ("polars.LazyFrame | None", "polars-lazy"),
        ("LazyFrame", "polars-lazy"),
        ("DataFrame", None),
        ("dict[str, 'pd.DataFrame']", "pandas"),
        ("pd.DataFrame | pl.DataFrame", None),
        ("pa.Table", "pyarrow"),
        ("mine.DataFrame", None),
        ("not a type[", None),
        ("", None),
        (list["pl.DataFrame"], "polars"),
    ],
    ids=str,
)
def test_the_kind_of_table_in_a_type(annotation: Any, kind: str | None) -> None:
    assert table_kind_of(annotation) == kind


def test_the_kind_of_table_in_other_forms_of_types() -> None:
    from typing import Annotated, ForwardRef, Literal, NewType, TypeVar

    assert table_kind_of(ForwardRef("pl.DataFrame")) == "polars"
    assert table_kind_of(Annotated[pd.DataFrame, "pl.DataFrame"]) == "pandas"
    assert table_kind_of(Literal["pl.DataFrame"]) is None
    assert table_kind_of(NewType("Rows", pl.DataFrame)) == "polars"
    assert table_kind_of(TypeVar("F", bound=pd.DataFrame)) == "pandas"

    class Mine(pd.DataFrame):
        pass

    assert table_kind_of(Mine) == "pandas"


def test_the_kind_of_a_pandera_table() -> None:
    pandera = pytest.importorskip("pandera.typing.pandas")
    of_polars = pytest.importorskip("pandera.typing.polars")

    class Schema:
        pass

    assert table_kind_of(pandera.DataFrame[Schema]) == "pandas"
    assert table_kind_of(of_polars.DataFrame[Schema]) == "polars"
    assert table_kind_of(of_polars.LazyFrame[Schema]) == "polars-lazy"


def test_asking_for_a_kind_imports_nothing(python: Any) -> None:
    code = "from airflow_kart.formats import table_kind_of, format_for; import sys\n"
    code += "assert table_kind_of('pl.DataFrame') == 'polars'; format_for('a.csv', kind='polars')\n"
    code += "assert not {'polars', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules)"
    python(code=code)


def test_decimals_keep_their_value() -> None:
    frame = pd.DataFrame({"a": [decimal.Decimal("1.10"), None, decimal.Decimal(-2)]})
    assert list(through(ParquetFormat(), frame)["a"]) == [decimal.Decimal("1.10"), None, decimal.Decimal(-2)]


@pytest.mark.parametrize("target_format", ALL, ids=repr)
@pytest.mark.parametrize(
    "other", [pl.DataFrame({"": [1], "b": [2]}), pa.table({"": [1], "b": [2]})], ids=["polars", "pyarrow"]
)
def test_a_column_without_a_name_stays_so(target_format: Any, other: Any) -> None:
    loaded = through(target_format, other)
    assert (loaded.columns if isinstance(loaded, pl.DataFrame) else loaded.column_names) == ["", "b"]


@pytest.mark.parametrize("target_format", ALL, ids=repr)
@pytest.mark.parametrize("number", [2**60 + 1, -(2**53) - 1, 2**64 - 1], ids=str)
def test_integers_with_missing_values_stay_exact_in_pandas(target_format: Any, number: int) -> None:
    kind = pl.UInt64 if number >= 2**63 else pl.Int64
    frame = pl.DataFrame({"a": [number, None], "b": [1, None]}, schema={"a": kind, "b": pl.Int64})
    for table in (frame, frame.to_arrow()):
        loaded = through(of_kind(target_format, "pandas"), table)
        assert int(loaded["a"][0]) == number
        assert loaded["a"].isna().tolist() == [False, True]
        assert str(loaded["b"].dtype) == "float64"
