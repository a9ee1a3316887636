"""Some columns of a table, loaded without the rest."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pandera.pandas as pa_schema
import pandera.polars as pl_schema
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from test_formats_tables import (
    ALL,
    BINARY,
    NESTED_POLARS,
    PLAIN_PANDAS,
    PLAIN_POLARS,
    RICH_PANDAS,
    RICH_POLARS,
    frames_equal,
    pandas_frames,
    polars_frames,
)

from airflow_kart import ExternalTask, Target, TaskOnKart, build
from airflow_kart.artifacts.checks import Checks
from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.reading import Reading
from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.exceptions import ColumnTypeError, CorruptArtifactError, FormatError, SchemaError, TargetError
from airflow_kart.formats import FeatherFormat, GzipFormat, ParquetFormat, PickleFormat, of_kind
from airflow_kart.formats.large_frame import LargeFrameFormat
from airflow_kart.formats.tables.selection import select_columns
from airflow_kart.storage import LocalStore, MemoryStore

EVERY = [*ALL, PickleFormat(), LargeFrameFormat(), LargeFrameFormat(max_byte=40), GzipFormat(inner=ParquetFormat())]
KINDS: list[Any] = ["pandas", "polars", "polars-lazy", "pyarrow"]


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let artifacts count as small, which are verified as a whole before they are decoded, or as large."""
    if request.param == "large":
        monkeypatch.setattr("airflow_kart.artifacts.reading._SMALL", 0)


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_kart.artifacts.reading._SMALL", 0)


def tables_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, pd.DataFrame):
        frames_equal(one, other)
        assert one.attrs == other.attrs
    elif isinstance(one, pa.Table):
        assert one.schema == other.schema
        assert one.equals(other)
    else:
        assert_frame_equal(one, other, check_exact=True)


def loads_as_selected(target_format: Any, table: Any, columns: Sequence[str]) -> None:
    """The law, for one artifact that counts as small and then as large."""
    target = Target("memory://columns/table", target_format, MemoryStore())
    target.dump(table)
    selected = select_columns(target.load(), columns)
    tables_equal(target.load(columns), selected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_kart.artifacts.reading._SMALL", 0)
        tables_equal(target.load(columns), selected)


@st.composite
def with_some_columns(draw: Any, frames: Any) -> tuple[Any, list[str]]:
    frame = draw(frames)
    names = draw(st.permutations(list(frame.columns)))
    return frame, names[: draw(st.integers(1, len(names)))]


# The law: as if the whole had been loaded.


@pytest.mark.parametrize("target_format", EVERY, ids=str)
@settings(max_examples=15)
@given(given=with_some_columns(pandas_frames(PLAIN_PANDAS)))
def test_pandas_from_every_format(target_format: Any, given: Any) -> None:
    loads_as_selected(target_format, *given)


@pytest.mark.parametrize("target_format", [*BINARY, PickleFormat(), LargeFrameFormat(max_byte=40)], ids=str)
@settings(max_examples=15)
@given(given=with_some_columns(pandas_frames(PLAIN_PANDAS | RICH_PANDAS, indexed=True)))
def test_pandas_with_every_type_and_index(target_format: Any, given: Any) -> None:
    loads_as_selected(target_format, *given)


@pytest.mark.parametrize("target_format", EVERY, ids=str)
@settings(max_examples=15)
@given(given=with_some_columns(polars_frames(PLAIN_POLARS)), lazy=st.booleans())
def test_polars_from_every_format(target_format: Any, given: Any, lazy: bool) -> None:
    frame, columns = given
    loads_as_selected(target_format, frame.lazy() if lazy else frame, columns)


@pytest.mark.parametrize("target_format", BINARY, ids=str)
@settings(max_examples=15)
@given(given=with_some_columns(polars_frames(PLAIN_POLARS | NESTED_POLARS | RICH_POLARS)))
def test_polars_with_every_type(target_format: Any, given: Any) -> None:
    loads_as_selected(target_format, *given)


@pytest.mark.parametrize("target_format", EVERY, ids=str)
@settings(max_examples=15)
@given(given=with_some_columns(polars_frames(PLAIN_POLARS)))
def test_pyarrow_from_every_format(target_format: Any, given: Any) -> None:
    frame, columns = given
    loads_as_selected(target_format, frame.to_arrow(compat_level=pl.CompatLevel.oldest()), columns)


@pytest.mark.parametrize("target_format", ALL, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dumped", KINDS)
def test_a_table_of_one_library_as_that_of_another(target_format: Any, kind: Any, dumped: Any) -> None:
    columns = {"a": [1, 2, None], "b": ["x", None, "z"], "c": [dt.datetime(2026, 1, 1)] * 3}
    table: Any = {
        "pandas": pd.DataFrame,
        "polars": pl.DataFrame,
        "polars-lazy": pl.LazyFrame,
        "pyarrow": pa.table,
    }[dumped](columns)
    loads_as_selected(of_kind(target_format, kind), table, ["c", "a"])


@pytest.mark.parametrize("target_format", [ParquetFormat(), FeatherFormat()], ids=str)
@pytest.mark.parametrize("labels", [[0, 1, 2], [("a", 1), ("a", 2), ("b", 1)]])
def test_labels_that_are_no_text_are_named_as_the_sidecar_names_them(target_format: Any, labels: Any, size: None) -> None:
    frame = pd.DataFrame([[1, 2.5, "x"]])
    frame.columns = pd.MultiIndex.from_tuples(labels) if isinstance(labels[0], tuple) else pd.Index(labels)
    target = Target("memory://columns/labels", target_format, MemoryStore())
    try:
        target.dump(frame)
    except FormatError:
        pytest.skip("no form for such labels")
    found = target.load([str(labels[2]), str(labels[0])])
    assert list(found.columns) == [labels[2], labels[0]]
    frames_equal(found, frame[[labels[2], labels[0]]])


@pytest.mark.parametrize("target_format", [ParquetFormat(), FeatherFormat()], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_names_with_dots_are_no_paths(target_format: Any, kind: Any, size: None) -> None:
    table = pa.table({"a": [{"b": 1, "c": {"d": "x"}}], "a.c": [2], "a.x": [3], "": [4]})
    target = Target("memory://columns/dots", of_kind(target_format, kind), MemoryStore())
    target.dump(table)
    for columns in (["a.c"], ["a"], ["", "a.x"], ["a.x", "a.c"], ["a", "a.c"]):
        tables_equal(target.load(columns), select_columns(target.load(), columns))
    with pytest.raises(FormatError, match=r"no column 'a\.b'"):
        target.load(["a.b"])


@pytest.mark.parametrize("target_format", ALL, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_names_are_no_patterns(target_format: Any, kind: Any, size: None) -> None:
    target = Target("memory://columns/patterns", of_kind(target_format, kind), MemoryStore())
    target.dump(pl.DataFrame({"*": [1], "^.*$": [2], "a": [3]}))
    for columns in (["*"], ["a", "*"], ["^.*$", "a"]):
        tables_equal(target.load(columns), select_columns(target.load(), columns))
        found = target.load(columns)
        assert (
            list(found.collect_schema().names() if kind == "polars-lazy" else getattr(found, "column_names", found.columns))
            == columns
        )


# What is asked for wrongly.


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("a", "columns='a': give a list of the columns' names"),
        (b"a", "give a list of the columns' names"),
        ([1], r"columns=\[1\]: give a list"),
        ({"a"}, "give a list"),
        ([], "columns is empty; name the columns to load"),
        (["a", "b", "a"], "'a' is named twice"),
    ],
)
def test_what_is_no_list_of_names_is_refused(columns: Any, words: str) -> None:
    target = Target("memory://columns/a.parquet", ParquetFormat(), MemoryStore())
    target.dump(pd.DataFrame({"a": [1], "b": [2]}))
    with pytest.raises(TargetError, match=words):
        target.load(columns)


@pytest.mark.parametrize("target_format", EVERY, ids=str)
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_column_that_is_not_there_is_named(target_format: Any, kind: Any, size: None) -> None:
    if kind is not None:
        target_format = of_kind(target_format, kind)
    target = Target("memory://columns/ab", target_format, MemoryStore())
    target.dump(pd.DataFrame({"a": [1], "b": [2]}))
    with pytest.raises(FormatError, match=r"memory://columns/ab: .*no column 'c', 'd'; it has 'a', 'b'"):
        target.load(["b", "c", "d"])


def test_an_index_is_no_column(size: None) -> None:
    target = Target("memory://columns/k.parquet", ParquetFormat(), MemoryStore())
    target.dump(pd.DataFrame({"a": [1]}, index=pd.Index([5], name="k")))
    with pytest.raises(FormatError, match="no column 'k'; it has 'a'"):
        target.load(["k"])
    as_arrow = Target("memory://columns/k.parquet", ParquetFormat(kind="pyarrow"), target.store)
    assert as_arrow.load(["k"]).to_pydict() == {"k": [5]}


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", np.arange(3)], ids=str)
def test_what_is_no_table_has_no_columns(value: Any) -> None:
    target = Target("memory://columns/a.pkl", PickleFormat(), MemoryStore())
    target.dump(value)
    with pytest.raises(FormatError, match=r"columns of memory://columns/a\.pkl: it is a .* and no table"):
        target.load(["a"])


def test_two_columns_of_one_name_are_not_told_apart() -> None:
    target = Target("memory://columns/aa.pkl", PickleFormat(), MemoryStore())
    target.dump(pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]))
    assert target.load(["b"])["b"].tolist() == [3]
    with pytest.raises(FormatError, match="several columns of the name 'a'"):
        target.load(["a"])


# What is read, and whether it is right.


def wide(rows: int = 30_000, columns: int = 6) -> pd.DataFrame:
    random = np.random.default_rng(0)
    made: pd.DataFrame = pd.DataFrame({f"c{place}": random.normal(size=rows) for place in range(columns)})
    return made


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.partition(" ")[2]) for line in lines if line.startswith("rchar"))


def at(path: Path, target_format: Any) -> Target:
    return Target(str(path), target_format, LocalStore())


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="counts what Linux counts")
@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_of_a_large_file_the_columns_are_read_only(tmp_path: Path, kind: Any) -> None:
    frame = wide(300_000)
    target = at(tmp_path / "wide.parquet", ParquetFormat(kind=kind))
    target.dump(frame)
    size = os.path.getsize(target.uri)
    assert size > 10_000_000
    target.load(["c1"])
    before = bytes_read()
    found = target.load(["c3"])
    assert bytes_read() - before < size * 0.2
    assert found["c3"].to_pandas().equals(frame["c3"]) if kind == "pyarrow" else found.equals(frame[["c3"]])


def flip(path: str, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def middle_of(path: str, column: int) -> int:
    found = pq.ParquetFile(path).metadata.row_group(0).column(column)
    return int(found.dictionary_page_offset + found.total_compressed_size // 2)


@pytest.mark.parametrize("table", [wide(), pa.Table.from_pandas(wide())], ids=["pandas", "pyarrow"])
def test_a_changed_byte_is_noticed_in_the_columns_that_are_loaded(tmp_path: Path, all_large: None, table: Any) -> None:
    target = at(tmp_path / "wide.parquet", ParquetFormat())
    target.dump(table)
    before = target.load(["c1", "c3"])
    flip(target.uri, middle_of(target.uri, 2))
    tables_equal(target.load(["c1", "c3"]), before)  # which shows that the rest was not read
    for columns in (["c2"], ["c1", "c2"], None):
        with pytest.raises(CorruptArtifactError, match="was changed after it was published"):
            target.load(columns)


@pytest.mark.parametrize("target_format", [ParquetFormat(), FeatherFormat()], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_checksums_of_its_own_is_verified_as_a_whole(
    tmp_path: Path, all_large: None, target_format: Any, kind: Any
) -> None:
    target = at(tmp_path / "wide", of_kind(target_format, kind))
    target.dump(pl.DataFrame({name: wide()[name].to_numpy() for name in ("c0", "c1")}))
    target.load(["c0"])
    flip(target.uri, os.path.getsize(target.uri) * 3 // 4)  # in the other column
    with pytest.raises(CorruptArtifactError):
        target.load(["c0"])


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_no_changed_bit_of_a_page_gives_other_values(
    tmp_path_factory: pytest.TempPathFactory, all_large: None, place: int, bit: int
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=300), "n": random.choice(["aa", "bb", "cc"], 300), "y": 1.0})
    target = at(tmp_path_factory.mktemp("bits") / "a.parquet", ParquetFormat())
    target.dump(frame)
    data = bytearray(Path(target.uri).read_bytes())
    pages = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # what comes after them has no checksum
    data[place % pages] ^= 1 << bit
    Path(target.uri).write_bytes(data)
    try:
        found = target.load(["n", "x"])
    except (CorruptArtifactError, FormatError):
        return
    frames_equal(found, frame[["n", "x"]])


def test_a_file_of_another_length_and_the_same_shape_is_not_read_in_part(tmp_path: Path, all_large: None) -> None:
    target = at(tmp_path / "wide.parquet", ParquetFormat())
    target.dump(pd.DataFrame({"a": range(1000), "b": range(1000)}))
    sidecar = target.sidecar()
    assert sidecar is not None
    other = pa.Table.from_pandas(pd.DataFrame({"a": range(1, 1001), "b": range(1000)}))
    pq.write_table(other, target.uri, write_page_checksum=True, compression="none")
    assert os.path.getsize(target.uri) != sidecar.artifact.bytes
    assert Reading(target.uri, target.format, target.store).columns_alone(sidecar, ["a"]) is None


def test_a_file_of_another_length_is_not_read_in_part(tmp_path: Path, all_large: None) -> None:
    target = at(tmp_path / "wide.parquet", ParquetFormat())
    target.dump(wide())
    pq.write_table(pa.Table.from_pandas(wide(20_000)), target.uri, write_page_checksum=True)
    with pytest.raises(CorruptArtifactError):
        target.load(["c1"])


@pytest.mark.parametrize(
    "other",
    [
        pd.DataFrame({"a": range(999), "b": range(999)}),
        pd.DataFrame({"a": range(1001), "b": range(1001)}),
        pd.DataFrame({"a": np.ones(1000), "b": range(1000)}),
    ],
    ids=["fewer rows", "more rows", "another type"],
)
def test_what_the_sidecar_says_otherwise_is_not_believed(tmp_path: Path, all_large: None, other: pd.DataFrame) -> None:
    target = at(tmp_path / "wide.parquet", ParquetFormat(compression="none"))
    target.dump(pd.DataFrame({"a": range(1000), "b": range(1000)}))
    pq.write_table(pa.Table.from_pandas(other), target.uri, write_page_checksum=True)
    sidecar = target.sidecar()
    assert sidecar is not None
    record = {**sidecar.content["artifact"], "bytes": os.path.getsize(target.uri)}
    Path(sidecar_uri(target.uri)).write_bytes(replace(sidecar, content={**sidecar.content, "artifact": record}).to_bytes())
    assert target.exists()  # only the contents differ
    with pytest.raises(CorruptArtifactError, match=r"SHA-256|checksum"):
        target.load(["a"])


# While it is replaced.


class Interrupted(ParquetFormat):
    """Parquet, and something happens while columns are read."""

    happens: Any = None

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> Any:
        found = super().load_columns(stream, columns)
        if Interrupted.happens is not None:
            happens, Interrupted.happens = Interrupted.happens, None
            happens()
        return found


@pytest.fixture
def interrupted(tmp_path: Path, all_large: None) -> Iterator[Target]:
    target = at(tmp_path / "wide.parquet", Interrupted())
    target.dump(pd.DataFrame({"a": [1, 2], "b": [1, 2]}))
    yield target
    assert Interrupted.happens is None, "columns were not read"


def test_what_is_replaced_meanwhile_is_read_anew(interrupted: Target) -> None:
    Interrupted.happens = lambda: interrupted.dump(pd.DataFrame({"a": [3, 4], "b": [3, 4]}))
    assert interrupted.load(["b"])["b"].tolist() == [3, 4]


def test_what_is_marked_for_replacement_meanwhile_is_verified_as_a_whole(interrupted: Target) -> None:
    def mark_and_spoil() -> None:
        interrupted.begin_replacement()
        flip(interrupted.uri, middle_of(interrupted.uri, 0))

    Interrupted.happens = mark_and_spoil
    with pytest.raises(CorruptArtifactError):
        interrupted.load(["b"])
    with pytest.raises(CorruptArtifactError):  # marked before
        interrupted.load(["b"])


def test_what_is_being_replaced_stays_readable(tmp_path: Path, all_large: None) -> None:
    target = at(tmp_path / "wide.parquet", ParquetFormat())
    target.dump(wide())
    target.begin_replacement()
    tables_equal(target.load(["c4", "c0"]), wide()[["c4", "c0"]])


# What checks ask of some columns.


class Features(pa_schema.DataFrameModel):
    x: float = pa_schema.Field(ge=0)
    y: float
    z: str = pa_schema.Field(isin=["a", "b"])

    class Config:
        strict = True
        ordered = True
        unique = ["x", "z"]

    @pa_schema.dataframe_check
    def x_is_less(cls, frame: Any) -> Any:  # type: ignore[misc]  # pandera makes it a class method
        return frame["x"] < frame["y"]


class PolarsFeatures(pl_schema.DataFrameModel):
    x: float = pl_schema.Field(ge=0)
    y: float


GROUPED = pa_schema.DataFrameSchema(
    {
        "x": pa_schema.Column(float, pa_schema.Check(lambda groups: True, groupby="z")),
        "z": pa_schema.Column(str),
        "^y$": pa_schema.Column(regex=True),
        "^w": pa_schema.Column(regex=True, required=True),
    }
)


class Whole:
    """A schema that knows of no columns."""

    def validate(self, frame: Any, lazy: bool = False) -> Any:
        if list(frame.columns) != ["x", "y", "z"]:
            raise ValueError("not all columns")
        return frame


FEATURES = pd.DataFrame({"x": [0.0, 1.0], "y": [2.0, 3.0], "z": ["a", "b"]})


def test_a_schema_asks_for_the_columns_that_are_loaded(size: None) -> None:
    store = MemoryStore()
    Target("memory://columns/f.parquet", ParquetFormat(), store, checks=Checks(schema=Features)).dump(FEATURES)
    target = Target("memory://columns/f.parquet", ParquetFormat(), store, checks=Checks(schema=Features))
    for columns in (["x"], ["z", "x"], ["y", "x"], ["y"]):
        frames_equal(target.load(columns), FEATURES[columns])
    spoilt = FEATURES.assign(x=[-1.0, 1.0])
    Target("memory://columns/f.parquet", ParquetFormat(), store).dump(spoilt)
    frames_equal(target.load(["y", "z"]), spoilt[["y", "z"]])
    with pytest.raises(SchemaError, match="column x at row 0"):
        target.load(["y", "x"])


@pytest.mark.parametrize("lazy", [False, True])
def test_a_schema_of_polars_does_too(lazy: bool) -> None:
    store = MemoryStore()
    target = Target("memory://columns/p.parquet", ParquetFormat(), store, checks=Checks(schema=PolarsFeatures))
    frame = pl.DataFrame({"x": [-1.0], "y": [2.0]})
    Target("memory://columns/p.parquet", ParquetFormat(), store).dump(frame.lazy() if lazy else frame)
    assert target.load(["y"]).lazy().collect().to_dict(as_series=False) == {"y": [2.0]}
    if not lazy:
        with pytest.raises(SchemaError, match="column x"):
            target.load(["x"])


@pytest.mark.parametrize("schema", [GROUPED, Whole()], ids=["grouped", "whole"])
def test_what_needs_other_columns_is_not_asked(schema: Any) -> None:
    store = MemoryStore()
    Target("memory://columns/f.parquet", ParquetFormat(), store).dump(FEATURES)
    target = Target("memory://columns/f.parquet", ParquetFormat(), store, checks=Checks(schema=schema))
    frames_equal(target.load(["y", "x"]), FEATURES[["y", "x"]])
    assert Features.to_schema().checks  # a schema is not changed by what was asked of it


def test_column_types_are_those_of_the_columns_loaded(size: None) -> None:
    store = MemoryStore()
    Target("memory://columns/f.feather", FeatherFormat(), store).dump(FEATURES)
    target = Target("memory://columns/f.feather", FeatherFormat(), store, checks=Checks(column_types={"x": int}))
    frames_equal(target.load(["z"]), FEATURES[["z"]])
    with pytest.raises(ColumnTypeError, match="x is float64, not int"):
        target.load(["x"])


# In tasks.


class Table(TaskOnKart[pd.DataFrame]):
    def output(self) -> Target:
        return self.make_target("table.parquet")

    def run(self) -> None:
        self.dump(FEATURES)


class Tables(TaskOnKart[dict[str, pd.DataFrame]]):
    def output(self) -> dict[str, Target]:
        return {name: self.make_target(f"{name}.csv") for name in ("one", "two")}

    def run(self) -> None:
        for name in ("one", "two"):
            self.dump(FEATURES, name)


class Reader(TaskOnKart[list[list[str]]]):
    def requires(self) -> dict[str, TaskOnKart[Any]]:
        return {"table": Table(), "tables": Tables()}

    def run(self) -> None:
        columns = ["z", "x"]
        everything = self.load(columns=columns)
        loaded = [
            self.load(Table(), columns=columns),
            self.load([Table()], columns=columns)[0],
            self.load({"a": Table()}, columns=columns)["a"],
            self.load("table", columns=columns),
            self.load("tables", columns=columns)["two"],
            self.load(Table().output(), columns=columns),
            everything["table"],
            everything["tables"]["one"],
        ]
        self.dump([list(frame.columns) for frame in loaded])


def test_a_task_loads_columns_of_what_it_requires(workspace: Path, all_large: None) -> None:
    assert build(Reader()) == [["z", "x"]] * 8
    reader, table = Reader().output().sidecar(), Table().output()
    made = table.sidecar()
    assert reader is not None and made is not None
    assert reader.inputs[table.uri] == made.artifact.sha256


class Delivered(ExternalTask[pd.DataFrame]):
    def output(self) -> Target:
        return self.make_target("delivered.parquet", use_unique_id=False)


def test_columns_of_what_others_deliver(workspace: Path) -> None:
    workspace.mkdir()
    FEATURES.to_parquet(workspace / "delivered.parquet")
    target = Delivered().output()
    assert isinstance(target, ExternalTarget)
    frames_equal(target.load(["z", "y"]), FEATURES[["z", "y"]])
    with pytest.raises(FormatError, match=r"delivered\.parquet: .*no column 'w'; it has 'x', 'y', 'z'"):
        target.load(["w"])
