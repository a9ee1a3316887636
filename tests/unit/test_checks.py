"""What targets ask of tables: not empty, column types, schemas; on dump and on load, for three libraries."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pandera.pandas as pandas_schema
import pandera.polars as polars_schema
import polars as pl
import pyarrow as pa
import pytest

from airflow_kart import StrParameter, Target, TaskOnKart, build
from airflow_kart.artifacts.checks.column_types import wrong_columns
from airflow_kart.exceptions import ColumnTypeError, ConfigurationError, EmptyDumpError, KartError, SchemaError
from airflow_kart.tasks.provenance import TaskOwner

VALUES: dict[str, list[Any]] = {
    "int": [1, 2],
    "float": [0.5, 1.5],
    "bool": [True, False],
    "str": ["a", "ü"],
    "bytes": [b"a", b"b"],
    "datetime": [dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 2)],
    "date": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)],
    "timedelta": [dt.timedelta(hours=1), dt.timedelta(days=1)],
}
TYPES: dict[str, type] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
    "timedelta": dt.timedelta,
}
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "lazy": pl.LazyFrame, "pyarrow": pa.table}
library = pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)


@library
@pytest.mark.parametrize("declared", TYPES)
@pytest.mark.parametrize("held", VALUES)
def test_a_python_type_fits_its_own_columns_only(make: Any, held: str, declared: str) -> None:
    wrong = wrong_columns(make({"x": VALUES[held]}), {"x": TYPES[declared]})
    assert bool(wrong) == (held != declared), wrong


@library
def test_what_a_table_does_not_have_is_not_asked_for(make: Any) -> None:
    assert wrong_columns(make({"x": [1]}), {"y": str}) == []


def test_no_other_column_of_a_pandas_table_is_taken_out() -> None:
    taken = []

    class Noted(pd.DataFrame):
        def __getitem__(self, key: Any) -> Any:
            taken.append(key)
            return super().__getitem__(key)

    assert wrong_columns(Noted({"x": [1], "y": [2], 3: [4]}), {"x": str, "3": str}) == [
        "x is int64, not str",
        "3 is int64, not str",
    ]
    assert taken == ["x", 3]


@library
def test_a_column_of_nothing_fits(make: Any) -> None:
    assert wrong_columns(make({"x": [None, None]}), {"x": str}) == []


@pytest.mark.parametrize(
    ("table", "right", "wrong"),
    [
        (pd.DataFrame({"x": np.array([1], "int32")}), "int32", "int64"),
        (pd.DataFrame({"x": np.array([1], "int32")}), np.int32, np.int64),
        (pd.DataFrame({"x": pd.array([1, None], "Int64")}), int, float),
        (pd.DataFrame({"x": pd.Categorical(["a"])}), "category", str),
        (pd.DataFrame({"x": [{"a": 1}, None]}), dict, list),
        (pd.DataFrame({"x": ["a"]}, dtype=object), str, int),
        (pl.DataFrame({"x": [1]}), pl.Int64, pl.Int32),
        (pl.DataFrame({"x": [1]}), "Int64", "Int32"),
        (pl.DataFrame({"x": [1]}), int, str),
        (pa.table({"x": [1]}), pa.int64(), pa.int32()),
        (pa.table({"x": [1]}), "int64", "int32"),
    ],
)
def test_the_librarys_own_types(table: Any, right: Any, wrong: Any) -> None:
    assert wrong_columns(table, {"x": right}) == []
    (message,) = wrong_columns(table, {"x": wrong})
    assert message.startswith("x is ") and ", not " in message


def test_what_is_no_table_has_no_columns() -> None:
    assert wrong_columns({"x": "text"}, {"x": int}) == []


class Project(TaskOnKart[Any]):
    column_types: ClassVar[dict[str, Any]] = {"user": int, "day": dt.date}


class Features(Project):
    column_types: ClassVar[dict[str, Any]] = {"score": float, "day": str}
    kind: str = StrParameter(default="right")

    def output(self) -> Target:
        return self.make_target("features.pkl")

    def run(self) -> None:
        rows = {"user": [1], "score": [0.5], "day": ["monday"]}
        wrong = {"user": ["one"], "score": [1], "day": ["monday"]}
        self.dump(pd.DataFrame(rows if self.kind == "right" else wrong))


class TestColumnTypes:
    def test_base_classes_declare_too_and_the_nearest_wins(self, workspace: Path) -> None:
        assert list(build(Features())["user"]) == [1]

    def test_a_wrong_column_is_an_error_before_anything_is_written(self, workspace: Path) -> None:
        with pytest.raises(
            ColumnTypeError, match=r"Features\(kind='wrong'\): .* dumped .* user is \w+, not int; score is int64, not float"
        ):
            build(Features(kind="wrong"))
        assert list(workspace.rglob("*.pkl")) == []

    def test_loading_asks_too(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        build(Features())
        monkeypatch.setattr(Features, "column_types", {"score": str})
        with pytest.raises(ColumnTypeError, match="loaded has columns of other types"):
            Features().output().load()


class Empty(TaskOnKart[Any]):
    fail_on_empty_dump: ClassVar[bool] = True
    library: str = StrParameter(default="pandas")

    def output(self) -> Target:
        return self.make_target("empty.pkl")

    def run(self) -> None:
        self.dump({"x": []} if self.library == "dict" else LIBRARIES[self.library]({"x": []}))


class TestEmpty:
    @pytest.mark.parametrize("name", ["pandas", "polars", "pyarrow"])
    def test_a_table_without_rows_is_refused(self, workspace: Path, name: str) -> None:
        with pytest.raises(EmptyDumpError, match=r"Empty\(library='\w+'\): the table has no rows"):
            build(Empty(library=name))
        assert not Empty(library=name).complete()
        assert [path for path in workspace.rglob("*") if path.suffix == ".pkl"] == []

    def test_other_objects_are_not(self, workspace: Path) -> None:
        assert build(Empty(library="dict")) == {"x": []}

    def test_only_where_it_is_asked_for(self, workspace: Path) -> None:
        class Allowed(Empty):
            fail_on_empty_dump: ClassVar[bool] = False

        assert build(Allowed()).empty

    def test_a_table_of_parts_too(self, workspace: Path) -> None:
        class Parts(TaskOnKart[pd.DataFrame]):
            fail_on_empty_dump: ClassVar[bool] = True

            def output(self) -> Target:
                return self.make_large_data_frame_target()

            def run(self) -> None:
                self.dump_generator(pd.DataFrame({"x": np.array([], "int64")}) for _ in range(3))

        with pytest.raises(EmptyDumpError):
            build(Parts())


class PandasModel(pandas_schema.DataFrameModel):
    user: int = pandas_schema.Field(ge=1)
    score: float = pandas_schema.Field(in_range={"min_value": 0, "max_value": 1})


class PolarsModel(polars_schema.DataFrameModel):
    user: int = polars_schema.Field(ge=1)
    score: float


SCHEMAS = {
    "pandas model": (PandasModel, pd.DataFrame),
    "pandas schema": (
        pandas_schema.DataFrameSchema({"user": pandas_schema.Column(int, pandas_schema.Check.ge(1))}),
        pd.DataFrame,
    ),
    "polars model": (PolarsModel, pl.DataFrame),
    "polars schema": (
        polars_schema.DataFrameSchema({"user": polars_schema.Column(pl.Int64, polars_schema.Check.ge(1))}),
        pl.DataFrame,
    ),
}


class TestSchema:
    @pytest.mark.parametrize(("schema", "make"), SCHEMAS.values(), ids=SCHEMAS)
    def test_holds_on_dump_and_on_load(self, workspace: Path, schema: Any, make: Any) -> None:
        class Checked(TaskOnKart[Any]):
            user: str = StrParameter(default="1")

            def output(self) -> Target:
                return self.make_target("checked.pkl", schema=schema)

            def run(self) -> None:
                self.dump(make({"user": [int(self.user), 2], "score": [0.5, 0.25]}))

        assert len(build(Checked())) == 2
        with pytest.raises(
            SchemaError, match=r"Checked\(user='-1'\): .* dumped does not satisfy the schema \S+: column user.*-1"
        ):
            build(Checked(user="-1"))
        assert not Checked(user="-1").complete()
        unchecked = Checked(user="-2")
        Target(unchecked.output().uri, unchecked.output().format, unchecked.output().store, TaskOwner(unchecked)).dump(
            make({"user": [-2], "score": [0.5]})
        )
        with pytest.raises(SchemaError, match="loaded does not satisfy"):
            unchecked.output().load()

    def test_a_coercing_schema_changes_what_is_written(self, workspace: Path) -> None:
        schema = pandas_schema.DataFrameSchema({"user": pandas_schema.Column("int64")}, coerce=True)

        class Coerced(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_target("coerced.parquet", schema=schema)

            def run(self) -> None:
                self.dump(pd.DataFrame({"user": ["1", "2"]}))

        assert list(build(Coerced())["user"]) == [1, 2]
        assert str(pd.read_parquet(Coerced().output().uri)["user"].dtype) == "int64"

    def test_each_part_of_a_large_table(self, workspace: Path) -> None:
        class Parts(TaskOnKart[pd.DataFrame]):
            def output(self) -> Target:
                return self.make_large_data_frame_target(schema=PandasModel)

            def run(self) -> None:
                self.dump_generator(self.parts())

            def parts(self) -> Iterator[pd.DataFrame]:
                yield pd.DataFrame({"user": [1], "score": [0.5]})
                yield pd.DataFrame({"user": [0], "score": [0.5]})

        with pytest.raises(SchemaError, match="column user"):
            build(Parts())

    def test_what_is_no_schema_is_refused_at_once(self, workspace: Path) -> None:
        class Wrong(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_target("a.parquet", schema={"user": int})

        with pytest.raises(
            ConfigurationError, match=r"Wrong\.output\(\): schema is \{'user': <class 'int'>\}; give a pandera"
        ):
            Wrong().complete()

    def test_what_is_no_table_does_not_satisfy_it(self, workspace: Path) -> None:
        class Text(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_target("a.pkl", schema=PandasModel)

            def run(self) -> None:
                self.dump("text")

        with pytest.raises(KartError, match="the str that was dumped does not satisfy the schema PandasModel"):
            build(Text())
