"""Tables in parts, and models that write files of their own."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart import IntParameter, Target, TaskOnKart, build
from airflow_kart.exceptions import CorruptArtifactError, FormatError, TargetError, TargetPathError
from airflow_kart.formats.large_frame import LargeFrameFormat
from airflow_kart.formats.model import ModelFormat
from airflow_kart.storage import LocalStore


class Stream(io.RawIOBase):
    """A stream that cannot seek, as publication gives formats one."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.data += memoryview(data)
        return memoryview(data).nbytes


def written(obj: Any, max_byte: int = 1 << 20) -> bytes:
    stream = Stream()
    LargeFrameFormat(max_byte).dump(obj, stream)
    return bytes(stream.data)


def read(data: bytes) -> Any:
    return LargeFrameFormat().load(io.BytesIO(data))


def parts_of(data: bytes) -> list[Any]:
    return list(LargeFrameFormat().load_parts(io.BytesIO(data)))


FRAME = pd.DataFrame(
    {
        "i": np.arange(1000),
        "text": [f"größe {n}" for n in range(1000)],
        "day": [dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(1000)],
        "kind": pd.Categorical(["a", "b"] * 500, categories=["a", "b", "never"], ordered=True),
        "code": pd.Categorical([3, None] * 500, categories=[1, 2, 3]),
        "object": [{"n": n} for n in range(1000)],
        "maybe": pd.array([1, None] * 500, "Int64"),
        "when": pd.date_range("2024-01-01", periods=1000, tz="Asia/Tokyo"),
    }
)


class TestTables:
    def test_a_pandas_frame_comes_back_whole(self) -> None:
        data = written(FRAME, 20_000)
        assert len(parts_of(data)) > 5
        pd.testing.assert_frame_equal(read(data), FRAME)

    @pytest.mark.parametrize(
        "index",
        [
            pd.Index(np.arange(1000) * 2),
            pd.Index([f"row {n}" for n in range(1000)], name="row"),
            pd.date_range("2024-01-01", periods=1000, freq="h"),
            pd.MultiIndex.from_product([range(100), list("abcdefghij")], names=["n", "c"]),
        ],
        ids=["int", "text", "dates", "multi"],
    )
    def test_the_index_comes_back(self, index: Any) -> None:
        frame = FRAME.set_index(index)
        pd.testing.assert_frame_equal(read(written(frame, 20_000)), frame, check_freq=False)

    def test_a_frame_without_rows_keeps_its_columns(self) -> None:
        pd.testing.assert_frame_equal(read(written(FRAME.iloc[:0])), FRAME.iloc[:0])

    @pytest.mark.parametrize("make", [pl.DataFrame, pl.LazyFrame], ids=["eager", "lazy"])
    def test_a_polars_frame_comes_back(self, make: Any) -> None:
        frame = pl.DataFrame({"i": range(1000), "s": [str(n) for n in range(1000)]})
        data = written(make(frame.to_dict()), 5_000)
        assert len(parts_of(data)) > 2
        assert read(data).equals(frame)
        assert read(written(frame.clear())).schema == frame.schema

    def test_a_polars_column_of_objects_is_refused(self) -> None:
        with pytest.raises(FormatError, match="the column 'o' of type Object; make it"):
            written(pl.DataFrame({"i": [1], "o": pl.Series([object()], dtype=pl.Object)}))

    def test_a_pyarrow_table_comes_back(self) -> None:
        table = pa.table({"i": range(1000), "s": [str(n) for n in range(1000)]})
        data = written(table, 5_000)
        assert len(parts_of(data)) > 2
        assert read(data).equals(table)
        assert read(written(table.slice(0, 0))).schema == table.schema

    @given(rows=st.integers(0, 300), max_byte=st.integers(1, 5_000))
    def test_parts_are_as_small_as_asked_for_and_make_up_the_whole(self, rows: int, max_byte: int) -> None:
        frame = pd.DataFrame({"a": np.arange(rows), "b": np.arange(rows) * 0.5})
        parts = parts_of(written(frame, max_byte))
        assert all(len(part) <= max(max_byte // 16, 1) for part in parts)
        pd.testing.assert_frame_equal(pd.concat(parts), frame)

    def test_tables_one_after_the_other_are_one(self) -> None:
        data = written(FRAME.iloc[start : start + 100] for start in range(0, 1000, 100))
        assert len(parts_of(data)) == 10
        pd.testing.assert_frame_equal(read(data), FRAME)

    def test_parts_may_have_other_categories(self) -> None:
        data = written(pd.DataFrame({"c": pd.Categorical([value])}) for value in ("a", "b", "a"))
        frame = read(data)
        assert list(frame["c"]) == ["a", "b", "a"]
        assert list(frame["c"].cat.categories) == ["a", "b"]

    def test_equal_tables_are_equal_bytes(self) -> None:
        assert written(FRAME) == written(FRAME.copy())

    def test_no_tables_at_all_are_refused(self) -> None:
        with pytest.raises(FormatError, match="no part to dump"):
            written(iter([]))

    def test_parts_with_other_columns_are_refused(self) -> None:
        with pytest.raises(FormatError, match=r"part 1 is a .* all parts have to be alike"):
            written(iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": ["x"]})]))

    @pytest.mark.parametrize("wrong", [1, {"a": [1]}, [pd.DataFrame()]], ids=["int", "dict", "list"])
    def test_other_objects_are_refused(self, wrong: Any) -> None:
        with pytest.raises(FormatError, match="cannot write a builtins"):
            written(wrong)

    @pytest.mark.parametrize("wrong", [0, -1])
    def test_parts_hold_something(self, wrong: int) -> None:
        with pytest.raises(FormatError, match="above zero"):
            LargeFrameFormat(wrong)

    @given(st.binary(max_size=200))
    def test_other_bytes_are_a_format_error(self, data: bytes) -> None:
        with pytest.raises(FormatError):
            read(data)

    @pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.99])
    def test_half_the_bytes_are_a_format_error(self, cut: float) -> None:
        data = written(FRAME)
        with pytest.raises(FormatError):
            read(data[: int(len(data) * cut)])

    def test_another_archive_is_a_format_error(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(FormatError, match=r"readme\.txt, which is no part"):
            read(buffer.getvalue())
        with zipfile.ZipFile(empty := io.BytesIO(), "w"):
            pass
        with pytest.raises(FormatError, match="no parts"):
            read(empty.getvalue())


class Large(TaskOnKart[pd.DataFrame]):
    rows: int = IntParameter(default=1000)

    def output(self) -> Target:
        return self.make_large_data_frame_target("large/table.zip", max_byte=2000)

    def run(self) -> None:
        self.dump(pd.DataFrame({"n": np.arange(self.rows), "square": np.arange(self.rows) ** 2}))


class Small(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(7)


class Reader(TaskOnKart[list[int]]):
    def requires(self) -> dict[str, Any]:
        return {"large": Large(), "several": [Large(rows=10), Large(rows=20)], "small": Small()}

    def run(self) -> None:
        self.dump([len(part) for part in self.load_generator("large")])


class TestTargets:
    def test_are_read_part_by_part(self, workspace: Path) -> None:
        sizes = build(Reader())
        assert len(sizes) == 8
        assert sum(sizes) == 1000

    def test_a_dict_of_inputs_yields_data_not_keys(self, workspace: Path) -> None:
        build(Reader())
        found = list(Reader().load_generator())
        assert [type(part).__name__ for part in found] == ["DataFrame"] * 10 + ["int"]
        assert [len(part) for part in found[8:10]] == [10, 20]
        assert [len(part) for part in Reader().load_generator("several")] == [10, 20]
        assert [len(part) for part in Reader().load_generator([Large(rows=20), Large(rows=10)])] == [20, 10]
        assert list(Reader().load_generator({"x": Small()})) == [7]
        assert list(Reader().load_generator(Small().output())) == [7]

    def test_a_wrong_key_is_an_error_at_once(self, workspace: Path) -> None:
        with pytest.raises(TargetError, match=r"load_generator\('nope'\): there is no input 'nope'; there are 'large'"):
            Reader().load_generator("nope")

    def test_the_sidecar_describes_the_whole(self, workspace: Path) -> None:
        build(Large())
        artifact = json.loads(Path(Large().output().uri + ".kart.json").read_text())["artifact"]
        assert artifact["rows"] == 1000
        assert artifact["columns"] == {"n": "int64", "square": "int64"}
        assert artifact["type"].endswith("DataFrame")
        assert artifact["options"] == {"max_byte": 2000}

    def test_damaged_bytes_are_found_before_the_first_part(self, workspace: Path) -> None:
        build(Large())
        path = Path(Large().output().uri)
        data = bytearray(path.read_bytes())
        data[-200] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptArtifactError, match="was changed after it was published"):
            next(Large().output().load_parts())

    def test_a_part_at_a_time_is_in_memory_when_dumping(self, workspace: Path) -> None:
        alive: list[int] = []

        class Parts(TaskOnKart[pd.DataFrame]):
            def output(self) -> Target:
                return self.make_large_data_frame_target()

            def run(self) -> None:
                self.dump_generator(self.parts())

            def parts(self) -> Iterator[pd.DataFrame]:
                for number in range(5):
                    frame = pd.DataFrame({"n": [number]})
                    frame.attrs["counted"] = Counted(alive)
                    yield frame
                    del frame
                    assert len(alive) <= 1

        assert list(build(Parts())["n"]) == [0, 1, 2, 3, 4]

    def test_only_a_large_frame_target_takes_parts(self, workspace: Path) -> None:
        class Wrong(TaskOnKart[Any]):
            def run(self) -> None:
                self.dump_generator(iter([1]))

        with pytest.raises(TargetError, match="takes one object, not parts"):
            build(Wrong())

    def test_the_archive_has_to_be_a_zip(self, workspace: Path) -> None:
        class Wrong(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_large_data_frame_target("table.parquet")

        with pytest.raises(TargetPathError, match=r"'table\.parquet' is to be a zip archive"):
            build(Wrong())

    def test_default_path(self, workspace: Path) -> None:
        class Default(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_large_data_frame_target()

        assert Default().output().uri.endswith(f"/test_large_frame/Default_{Default().unique_id}.zip")


class Counted:
    def __init__(self, alive: list[int]) -> None:
        self._alive = alive
        alive.append(1)

    def __del__(self) -> None:
        self._alive.pop()

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ("counted",)


def save(model: dict[str, Any], path: str) -> None:
    Path(path).write_text(json.dumps(sorted(model)))
    folder = Path(path).parent / "weights"
    folder.mkdir()
    for name, value in model.items():
        np.save(folder / name, value)


def load(path: str) -> dict[str, Any]:
    return {name: np.load(Path(path).parent / "weights" / f"{name}.npy") for name in json.loads(Path(path).read_text())}


class Model(TaskOnKart[dict[str, Any]]):
    def output(self) -> Target:
        return self.make_model_target("models/net.zip", save_function=save, load_function=load)

    def run(self) -> None:
        self.dump({"w": np.arange(10.0), "b": np.zeros(3)})


class TestModels:
    def test_any_files_come_back(self, workspace: Path) -> None:
        model = build(Model())
        np.testing.assert_array_equal(model["w"], np.arange(10.0))
        with zipfile.ZipFile(Model().output().uri) as archive:
            assert archive.namelist() == ["model.pkl", "weights/b.npy", "weights/w.npy"]
            assert archive.testzip() is None

    def test_equal_models_are_equal_bytes(self, workspace: Path) -> None:
        build(Model())
        first = Path(Model().output().uri).read_bytes()
        build(Model(), rerun=["Model"])
        assert Path(Model().output().uri).read_bytes() == first

    def test_nothing_is_left_in_the_temporary_directory(
        self, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        build(Model())
        assert os.listdir(temporary) == []

    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (lambda _model, _path: None, "save_function wrote no file"),
            (lambda _model, _path: 1 / 0, "ZeroDivisionError: division by zero"),
        ],
        ids=["no file", "raises"],
    )
    def test_a_save_function_that_fails(self, broken: Callable[..., Any], message: str) -> None:
        class Broken(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_model_target("net.zip", broken, load)

            def run(self) -> None:
                self.dump({})

        with pytest.raises(FormatError, match=message):
            build(Broken())
        assert not Broken().complete()

    def test_a_load_function_that_fails(self, workspace: Path) -> None:
        class Broken(Model):
            def output(self) -> Target:
                return self.make_model_target("net.zip", save, lambda path: open(path + ".gone"))  # type: ignore[misc]

        with pytest.raises(FormatError, match=r"could not load .*FileNotFoundError"):
            build(Broken())

    def test_names_in_an_archive_cannot_leave_the_directory(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("model.pkl", "[]")
            archive.writestr("../../escaped.txt", "x")
        with pytest.raises(FormatError, match=r"a file named '\.\./\.\./escaped\.txt': it is no plain relative path"):
            ModelFormat(save, load).load(buffer)

    def test_the_archive_has_to_be_a_zip(self, workspace: Path) -> None:
        class Wrong(TaskOnKart[Any]):
            def output(self) -> Target:
                return self.make_model_target("net.bin", save, load)

        with pytest.raises(TargetPathError, match=r"'net\.bin' is to be a zip archive"):
            build(Wrong())


class ShopClosedError(Exception):
    """A task's own error, with a cause."""


@pytest.mark.parametrize("raised", [ShopClosedError("no data"), OSError(28, "no space"), FormatError("mine"), KeyError("a")])
@pytest.mark.parametrize("where", ["first", "later"])
def test_an_error_of_the_tasks_generator_stays_its_own(tmp_path: Path, raised: Exception, where: str) -> None:
    cause = ValueError("cause")

    def parts() -> Iterator[pd.DataFrame]:
        if where == "later":
            yield pd.DataFrame({"a": [1]})
        raise raised from cause

    target = Target(f"{tmp_path}/a.zip", LargeFrameFormat(), LocalStore())
    text = str(raised)
    with pytest.raises(type(raised)) as found:
        target.dump(parts())
    assert found.value is raised and str(raised) == text
    assert raised.__cause__ is cause and raised.__context__ is None
    assert not Path(target.uri).exists()
