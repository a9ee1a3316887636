from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import math
import multiprocessing
import struct
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.exceptions import FormatError, UnknownFormatError
from airflow_kart.formats import (
    describe,
    format_for,
    options_of,
    reader_for,
    register_format,
    registered_extensions,
    with_options,
)


class Memory:
    """An upload that keeps its bytes in memory."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()

    def write(self, data: Any) -> int:
        return self.buffer.write(data)

    def restart(self) -> None:
        self.buffer = io.BytesIO()


def through(target_format: Any, obj: object) -> Any:
    """Return an object dumped, and loaded by what its sidecar would say."""
    memory: Any = Memory()
    stream = ChecksumStream(memory)
    description = target_format.dump(obj, stream) or describe(obj)
    assert len(stream.hexdigest) == 64
    recorded = json.loads(json.dumps(options_of(target_format)))
    plain = type(target_format)()
    reader = reader_for(
        with_options(plain if recorded and plain.name == target_format.name else target_format, recorded),
        description.type,
        description.columns,
    )
    kind = getattr(target_format, "kind", None)
    reader = replace(reader, kind=kind) if kind and getattr(reader, "kind", None) else reader  # type: ignore[type-var]
    return reader.load(io.BytesIO(memory.buffer.getvalue()))


def written(extension: str, obj: object) -> bytes:
    memory: Any = Memory()
    stream = ChecksumStream(memory)
    format_for(f"a{extension}").dump(obj, stream)
    data: bytes = memory.buffer.getvalue()
    assert stream.size == len(data)
    return data


def read(extension: str, data: bytes) -> Any:
    return format_for(f"a{extension}").load(io.BytesIO(data))


def again(extension: str, obj: object) -> Any:
    return read(extension, written(extension, obj))


unicode = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | unicode,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(unicode, inner, max_size=4),
    max_leaves=12,
)
objects = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)
COLUMNS: dict[str, Any] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=5),
    "bool": st.booleans(),
    "time": st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
}


@st.composite
def frames(draw: Any, kinds: tuple[str, ...] = tuple(COLUMNS)) -> pd.DataFrame:
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    length = draw(st.integers(0, 5))
    columns = {
        f"{kind}_{number}": draw(st.lists(COLUMNS[kind], min_size=length, max_size=length))
        for number, kind in enumerate(chosen)
    }
    made: pd.DataFrame = pd.DataFrame(columns)
    return made


@given(objects)
def test_a_pickle_reads_back(obj: Any) -> None:
    loaded = again(".pkl", obj)
    assert loaded == obj
    assert type(loaded) is type(obj)


@given(json_values)
def test_json_reads_back(value: Any) -> None:
    assert repr(again(".json", value)) == repr(value)


@given(unicode)
def test_text_reads_back(text: str) -> None:
    assert again(".txt", text) == text


@pytest.mark.parametrize("text", ["", "\r\n", "\r", "\ufeffwith a mark", "a\0b", "é" * 100_000])
def test_text_is_kept_as_it_is(text: str) -> None:
    assert again(".txt", text) == text
    assert written(".txt", text) == text.encode()


@given(frames())
def test_parquet_reads_back(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(again(".parquet", frame), frame)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": [1, None, 3]}, index=pd.Index(["x", "y", "z"], name="key")),
        pd.DataFrame({"a": pd.Categorical(["b", "a", "b"]), "b": pd.array([1, None, 3], dtype="Int64")}),
        pd.DataFrame({"when": pd.to_datetime(["2026-01-01", None], utc=True), "l": [[1, 2], []]}),  # type: ignore[arg-type]
        pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 1)], names=["k", "n"])),
        pd.DataFrame({0: [1.5], 1: [2.5]}),
        pd.DataFrame({"ü b": ["文"]}),
    ],
    ids=range(7),
)
def test_parquet_keeps_index_and_types(frame: pd.DataFrame) -> None:
    loaded = again(".parquet", frame)
    pd.testing.assert_frame_equal(loaded, frame) if "l" not in frame else None
    assert list(loaded.columns) == list(frame.columns)
    assert list(loaded.dtypes.astype(str)) == list(frame.dtypes.astype(str))


def test_parquet_keeps_attributes() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["unit"] = "m"
    assert again(".parquet", frame).attrs == {"unit": "m"}


@given(frames(("int", "bool")))
def test_csv_reads_back(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(again(".csv", frame), frame, check_dtype=len(frame) > 0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@example([-0.0])
@example([-0.0, 7.0])
def test_csv_keeps_floats(numbers: list[float]) -> None:
    np.testing.assert_allclose(again(".csv", pd.DataFrame({"a": numbers}))["a"], numbers, rtol=1e-15, atol=1e-320)


def test_csv_is_rfc_4180() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ['say "x", twice', "ü\nß"]})
    assert written(".csv", frame).decode() == 'a,b\n1,"say ""x"", twice"\n2,"ü\nß"\n'
    assert written(".csv", pd.DataFrame({"a": [1, 2], "b": ["x", None]})) == b"a,b\n1,x\n2,\n"
    assert list(again(".csv", frame)["b"]) == list(frame["b"])


def test_csv_keeps_returns_in_text() -> None:
    frame = pd.DataFrame({"a": ["x\ry", "x\r\ny"]})
    assert list(again(".csv", frame)["a"]) == ["x\ry", "x\r\ny"]


def test_an_empty_csv_is_an_empty_frame() -> None:
    assert again(".csv", pd.DataFrame()).empty
    assert list(again(".csv", pd.DataFrame({"a": [], "b": []})).columns) == ["a", "b"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pillow_image_reads_back(mode: str) -> None:
    image = Image.new(mode, (5, 3))
    loaded = again(".png", image)
    assert (loaded.mode, loaded.size, loaded.tobytes()) == (mode, (5, 3), image.tobytes())


@given(st.integers(1, 20), st.integers(1, 20), st.randoms(use_true_random=False))
def test_every_pixel_reads_back(width: int, height: int, random: Any) -> None:
    image = Image.frombytes("RGB", (width, height), random.randbytes(3 * width * height))
    assert again(".png", image).tobytes() == image.tobytes()


def test_equal_plots_are_equal_bytes() -> None:
    def plot() -> Figure:
        figure = Figure(figsize=(1, 1))
        figure.add_subplot().plot([1, 2])
        return figure

    assert written(".png", plot()) == written(".png", plot())
    assert again(".png", plot()).size == (100, 100)


def test_png_bytes_are_kept() -> None:
    data = written(".png", Image.new("RGB", (2, 2)))
    assert written(".png", data) == data


class Lossy:
    pass


@pytest.mark.parametrize(
    ("extension", "obj", "words"),
    [
        (".txt", b"x", r"the text format cannot write a builtins\.bytes; dump a str"),
        (".txt", 3, "dump a str"),
        (".json", {1: 2}, r"the key 1 at \$ would become a str"),
        (".json", {"a": [(1, 2)]}, r"the tuple at \$\.a\[0\] would become a list"),
        (".json", {"a": {None: 1}}, r"the key None at \$\.a"),
        (".json", math.nan, "dump JSON values or a table only"),
        (".json", {"a": math.inf}, "dump JSON values or a table only"),
        (".json", {1, 2}, "dump JSON values or a table only"),
        (".json", Lossy(), "Lossy"),
        (".json", np.int64(1), "dump JSON values or a table only"),
        (".csv", [1], r"the csv format cannot write a builtins\.list; dump a pandas\.DataFrame"),
        (".csv", pd.Series([1]), r"dump a pandas\.DataFrame"),
        (".parquet", pd.Series([1]), r"the parquet format cannot write a pandas.*Series; dump a pandas\.DataFrame"),
        (".parquet", None, r"dump a pandas\.DataFrame"),
        (".parquet", pd.DataFrame({"a": [object()]}), "has values without a common type"),
        (".parquet", pd.DataFrame({"a": [1, "a"]}), "the column 'a' has values without a common type"),
        (".parquet", pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column names"),
        (".png", b"GIF89a", "these bytes are not PNG"),
        (".png", "x", "dump a matplotlib figure, a Pillow image, or PNG bytes"),
        (".pkl", (letter for letter in "ab"), r"a builtins\.generator cannot be pickled: .*drop what cannot be stored"),
        (".txt", "\ud800", "surrogate"),
        (".json", "\ud800", "surrogate"),
        (".csv", pd.DataFrame({"a": ["\ud800"]}, dtype=object), "surrogates not allowed"),
        (".parquet", pd.DataFrame({"a": [2**70]}), "cannot write this table"),
        (".png", Image.new("CMYK", (2, 2)), "CMYK"),
        (".pkl", multiprocessing.get_context("spawn").Lock(), "cannot be pickled"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_a_format_cannot_write_is_refused(extension: str, obj: object, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        written(extension, obj)


EXAMPLES: dict[str, Any] = {
    ".pkl": {"a": [1, 2.5, "text", dt.date(2026, 1, 1)], "frame": pd.DataFrame({"a": [1, 2]})},
    ".parquet": pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}),
    ".csv": pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]}),
    ".json": {"a": [1, 2, {"b": None}]},
    ".txt": "täxt",
    ".png": Image.new("RGB", (8, 8)),
}


def load_or_format_error(extension: str, data: bytes) -> None:
    with contextlib.suppress(FormatError):
        read(extension, data)


@pytest.mark.parametrize("extension", sorted(EXAMPLES))
def test_truncated_bytes_are_a_format_error_at_worst(extension: str) -> None:
    data = written(extension, EXAMPLES[extension])
    for end in range(0, len(data), max(1, len(data) // 150)):
        load_or_format_error(extension, data[:end])


@pytest.mark.parametrize(
    ("extension", "byte"),
    [(".parquet", b"/"), (".png", b"\0")],
)
def test_no_altered_byte_is_more_than_a_format_error(extension: str, byte: bytes) -> None:
    data = written(extension, EXAMPLES[extension])
    for place in range(len(data) // 2 if extension == ".parquet" else 0, len(data)):
        load_or_format_error(extension, data[:place] + byte + data[place + 1 :])


def test_an_image_too_large_to_be_true_is_a_format_error() -> None:
    data = b"\x89PNG\r\n\x1a\n"
    for chunk in [b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"")]:
        data += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(FormatError):
        read(".png", data)


@pytest.mark.parametrize("extension", [".csv", ".json", ".txt"])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_altered_bytes_are_a_format_error_at_worst(extension: str, place: float, byte: int) -> None:
    data = bytearray(written(extension, EXAMPLES[extension]))
    data[int(place * len(data))] = byte
    load_or_format_error(extension, bytes(data))


@pytest.mark.parametrize("extension", sorted(set(EXAMPLES) - {".pkl"}))
@given(data=st.binary(max_size=200))
def test_garbage_is_a_format_error_at_worst(extension: str, data: bytes) -> None:
    load_or_format_error(extension, data)


@pytest.mark.parametrize(
    ("extension", "data", "words"),
    [
        (".pkl", b"", "not a pickle that can be read here: EOFError"),
        (".pkl", b"garbage", "not a pickle"),
        (".pkl", b"\x80\x05c__nowhere\nThing\n.", "needs something this process does not have: No module named '__nowhere'"),
        (".pkl", b"\x80\x05cos\nnothing\n.", "install the packages its sidecar lists"),
        (".parquet", b"PAR1 no", "the bytes are not Parquet"),
        (".csv", b'a,b\n1,2,3\n4,5,6,7\n"', "the bytes are not CSV"),
        (".csv", b"a\n\xff\xfe\n", "the bytes are not CSV"),
        (".json", b"{", "the bytes are not JSON"),
        (".json", b"\xff", "the bytes are not JSON"),
        (".txt", b"\xff", "the bytes are not UTF-8 text"),
        (".png", b"\x89PNG\r\n\x1a\n", "the bytes are not a PNG image"),
        (".png", b"GIF89a", "the bytes are not a PNG image"),
        (".json", b"[" * 200_000, "the bytes are not JSON"),
    ],
)
def test_what_a_format_cannot_read_is_named(extension: str, data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read(extension, data)


def test_objects_that_only_dill_can_write_are_written() -> None:
    class Counter:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.count = 3

    loaded = again(".pkl", Counter())
    assert loaded.count == 3
    with loaded.lock:
        assert loaded.lock.locked()


def test_lambdas_and_closures_are_written() -> None:
    factor = 3
    assert again(".pkl", lambda number: number * factor)(2) == 6


def test_large_arrays_are_written_once() -> None:
    data = written(".pkl", np.arange(1_000_000))
    assert len(data) < 8_100_000
    np.testing.assert_array_equal(read(".pkl", data), np.arange(1_000_000))


def test_cloudpickle_is_left_as_it_was() -> None:
    import cloudpickle

    before = set(cloudpickle.list_registry_pickle_by_value())
    written(".pkl", Lossy())
    assert set(cloudpickle.list_registry_pickle_by_value()) == before


@pytest.mark.parametrize(
    ("path", "name"), [("a.pkl", "pickle"), ("a.PICKLE", "pickle"), ("b/a.parquet", "parquet"), ("a.tar.json", "json")]
)
def test_the_extension_chooses_the_format(path: str, name: str) -> None:
    assert format_for(path).name == name


@pytest.mark.parametrize(
    ("path", "said"), [("a.xyz", ".xyz"), ("a", "no extension"), (".pkl", "no extension"), ("a.pkl/b", "no extension")]
)
def test_an_unknown_extension_lists_the_known(path: str, said: str) -> None:
    with pytest.raises(UnknownFormatError) as caught:
        format_for(path)
    assert f"{path!r} ends with {said}" in str(caught.value)
    assert "register_format" in str(caught.value)
    for known in [".csv", ".json", ".parquet", ".pickle", ".pkl", ".png", ".txt"]:
        assert known in str(caught.value)
        assert known in registered_extensions()


class ReversedText:
    name = "reversed"

    def dump(self, obj: Any, stream: Any) -> None:
        stream.write(obj[::-1].encode())

    def load(self, stream: Any) -> Any:
        return stream.read().decode()[::-1]


REGISTER = """
import io, sys
from airflow_kart.exceptions import UnknownFormatError
from airflow_kart.formats import format_for, register_format, registered_extensions
class Mine:
    name = "mine"
register_format(".MINE", Mine)
assert format_for("a.mine").name == "mine"
assert ".mine" in registered_extensions()
for known in (".mine", ".csv"):
    try:
        register_format(known, Mine)
    except UnknownFormatError as error:
        assert "replace=True" in str(error)
    else:
        sys.exit("a second format for one extension was taken")
register_format(".csv", Mine, replace=True)
assert format_for("a.csv").name == "mine"
"""


def test_a_format_can_be_added_and_replaced(python: Any) -> None:
    python(code=REGISTER)


@pytest.mark.parametrize("extension", ["onnx", "", "a/.b", "./x"])
def test_what_is_no_extension_is_refused(extension: str) -> None:
    with pytest.raises(UnknownFormatError, match="is not an extension; write it with its dot"):
        register_format(extension, ReversedText)


def test_a_table_is_described() -> None:
    found = describe(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.0]}))
    assert found.type.endswith("DataFrame")
    assert (found.rows, found.columns) == (2, {"a": "int64", "b": "float64"})


def test_other_objects_are_described_by_their_type() -> None:
    assert describe({"a": 1}).type == "builtins.dict"
    assert describe({"a": 1}).rows is None
    assert describe(Lossy()).type == f"{__name__}.Lossy"


def test_a_frame_with_any_columns_is_described() -> None:
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]))
    assert json.loads(json.dumps(describe(frame).columns)) == {"('a', 1)": "int64", "('b', 2)": "int64"}


SHARED = """
import enum, pathlib, sys, threading
from airflow_kart import Workspace
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.artifacts.target import Target

SCALE = 10

class Base:
    pass

class Kind(enum.Enum):
    GOOD = 1

class Model(Base):
    class Inner:
        pass
    def __init__(self, n):
        self.n, self.kind, self.inner = n, Kind.GOOD, Model.Inner()
    def predict(self):
        return scaled(self.n)

class Locked(Model):
    def __init__(self, n):
        super().__init__(n)
        self.lock = threading.Lock()

def scaled(n):
    return n * SCALE

def target():
    return Target(sys.argv[-1], format_for("a.pkl"), LocalStore())

def dump():
    target().dump({"models": [Model(1), Model(2)], "base": Base(), "by": scaled, "class": Model})

def dump_locked():
    target().dump(Locked(3))

def check():
    found = target().load()
    assert [model.predict() for model in found["models"]] == [10, 20], found
    assert isinstance(found["models"][0], Model) and found["class"] is Model and type(found["base"]) is Base
    assert found["models"][0].kind is Kind.GOOD and type(found["models"][0].inner) is Model.Inner

if __name__ == "__main__":
    globals()[sys.argv[1]]()
"""

LOAD_AND_CALL = """
import hashlib, importlib.machinery, importlib.util, pathlib, sys
_, file, function, artifact = sys.argv
name = f"unusual_prefix_{hashlib.sha1(file.encode()).hexdigest()}_{pathlib.Path(file).stem}"
loader = importlib.machinery.SourceFileLoader(name, file)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
sys.modules[name] = module
loader.exec_module(module)
getattr(module, function)()
"""
STRANGER = """
import sys
from airflow_kart.formats import format_for
from airflow_kart.storage import LocalStore
from airflow_kart.artifacts.target import Target
found = Target(sys.argv[-1], format_for("a.pkl"), LocalStore()).load()
if isinstance(found, dict):
    assert [model.predict() for model in found["models"]] == [10, 20], found
    assert found["by"](3) == 30
    assert type(found["models"][0]) is found["class"] and isinstance(found["models"][0], type(found["base"]))
else:
    assert found.predict() == 30 and not found.lock.locked()
"""


class Files:
    """The same DAG file in two DAG folders, each with the environment that makes it one, and an artifact between them."""

    def __init__(self, base: Path, script: Any, python: Any) -> None:
        self._python, self.artifact = python, base / "x.pkl"
        self._loader, self._stranger = script("load.py", LOAD_AND_CALL), script("elsewhere/stranger.py", STRANGER)
        self._folders = [base / "first/dags", base / "second/dags"]
        for folder in self._folders:
            script(str(folder / "sub/models.py"), SHARED)

    def load_as_airflow(self, number: int, function: str) -> None:
        folder = self._folders[number]
        self._python(
            self._loader, folder / "sub/models.py", function, self.artifact, env={"AIRFLOW__CORE__DAGS_FOLDER": str(folder)}
        )

    def run_as_a_script(self, number: int, function: str) -> None:
        folder = self._folders[number]
        self._python(folder / "sub/models.py", function, self.artifact, env={"AIRFLOW__CORE__DAGS_FOLDER": str(folder)})

    def load_elsewhere(self) -> None:
        self._python(self._stranger, self.artifact)


@pytest.fixture
def files(tmp_path: Path, script: Any, python: Any) -> Files:
    return Files(tmp_path, script, python)


@pytest.mark.parametrize("way", ["load_as_airflow", "run_as_a_script"])
def test_classes_of_a_dag_file_load_everywhere(files: Files, way: str) -> None:
    getattr(files, way)(0, "dump")
    files.load_elsewhere()
    files.load_as_airflow(0, "check")
    files.load_as_airflow(1, "check")
    files.run_as_a_script(1, "check")


@pytest.mark.parametrize("way", ["load_as_airflow", "run_as_a_script"])
def test_what_dill_writes_of_a_dag_file_loads_everywhere(files: Files, way: str) -> None:
    getattr(files, way)(0, "dump_locked")
    files.load_elsewhere()


def test_a_class_of_the_test_is_one_class() -> None:
    assert type(again(".pkl", Lossy())) is Lossy
