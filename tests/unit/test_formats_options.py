"""Extensions, options in sidecars, and the formats of text, arrays, archives and images."""

from __future__ import annotations

import configparser
import contextlib
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import hypothesis.extra.numpy as np_strategies
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from test_formats import Memory, json_values, through, unicode

from airflow_kart.artifacts.checksum import ChecksumStream
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats import (
    CsvFormat,
    Format,
    GzipFormat,
    IniFormat,
    JpegFormat,
    JsonFormat,
    NdjsonFormat,
    NpzFormat,
    NumpyFormat,
    PickleFormat,
    PngFormat,
    TextFormat,
    XmlFormat,
    ZipFormat,
    format_for,
    options_of,
    reader_for,
    registered_extensions,
    split_extension,
    with_options,
)
from airflow_kart.storage import LocalStore


def dumped(target_format: Format, obj: Any) -> bytes:
    memory: Any = Memory()
    target_format.dump(obj, ChecksumStream(memory))
    data: bytes = memory.buffer.getvalue()
    return data


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a/b.csv", ("a/b", ".csv")),
        ("b.csv.gz", ("b", ".csv.gz")),
        ("a.b/c.CSV.GZ", ("a.b/c", ".CSV.GZ")),
        ("/x/b.v1.json.gz", ("/x/b.v1", ".json.gz")),
        ("b.gz", ("b", ".gz")),
        ("b.parquet.gz", ("b.parquet", ".gz")),
        ("b.csv.pkl", ("b.csv", ".pkl")),
        (".csv.gz", (".csv", ".gz")),
        (".pkl", (".pkl", "")),
        ("b.xyz", ("b", ".xyz")),
        ("b", ("b", "")),
    ],
)
def test_a_path_is_split_at_its_whole_extension(path: str, parts: tuple[str, str]) -> None:
    assert split_extension(path) == parts


NAMES = {
    ".csv": "csv", ".csv.gz": "csv+gzip", ".feather": "feather", ".gz": "text+gzip", ".ini": "ini", ".jpeg": "jpeg",
    ".jpg": "jpeg", ".json": "json", ".json.gz": "json+gzip", ".ndjson": "ndjson", ".ndjson.gz": "ndjson+gzip",
    ".npy": "npy", ".npz": "npz", ".parquet": "parquet", ".pickle": "pickle", ".pkl": "pickle", ".pkl.gz": "pickle+gzip",
    ".png": "png", ".tsv": "csv", ".tsv.gz": "csv+gzip", ".txt": "text", ".txt.gz": "text+gzip", ".xml": "xml",
    ".xml.gz": "xml+gzip", ".zip": "zip",
}  # fmt: skip


def test_the_extensions_are_these() -> None:
    assert {extension: format_for(f"a{extension}").name for extension in NAMES} == NAMES
    assert set(NAMES) <= set(registered_extensions())
    for extension in registered_extensions():
        assert format_for(f"a{extension}").name


def test_a_compound_extension_can_be_registered(python: Any) -> None:
    python(
        code="""
from airflow_kart.formats import PickleFormat, format_for, register_format, split_extension
register_format(".tar.zst", PickleFormat)
assert split_extension("a/model.tar.zst") == ("a/model", ".tar.zst")
assert format_for("a/model.tar.zst").name == "pickle"
register_format(".csv.gz", PickleFormat, replace=True)
assert format_for("b.csv.gz").name == "pickle" and format_for("b.json.gz").name == "json+gzip"
"""
    )


def test_a_format_for_a_kind_of_table() -> None:
    csv, gz = format_for("a.csv", kind="polars"), format_for("a.ndjson.gz", kind="polars-lazy")
    assert csv == CsvFormat(kind="polars")
    assert gz == GzipFormat(inner=NdjsonFormat(kind="polars-lazy"))
    assert format_for("a.pkl", kind="polars") == PickleFormat()
    assert options_of(csv) == {}


@pytest.mark.parametrize(
    ("target_format", "options"),
    [
        (CsvFormat(), {}),
        (
            CsvFormat(separator=";", encoding="cp932", index=False, kind="polars"),
            {"separator": ";", "encoding": "cp932", "index": False},
        ),
        (GzipFormat(), {}),
        (GzipFormat(inner=CsvFormat(separator="\t"), level=9), {"inner": {"separator": "\t"}, "level": 9}),
        (format_for("a.tsv"), {"separator": "\t"}),
        (JpegFormat(quality=50), {"quality": 50}),
        (PickleFormat(), {}),
    ],
)
def test_options_go_through_a_sidecar(target_format: Any, options: dict[str, Any]) -> None:
    assert json.loads(json.dumps(options_of(target_format))) == options
    other: dict[str, Any] = {
        "csv": CsvFormat(separator="|"),
        "csv+gzip": GzipFormat(inner=CsvFormat(encoding="utf-16"), level=1),
    }
    read_with = with_options(other.get(target_format.name, type(target_format)()), options)
    assert options_of(read_with) == options
    assert read_with.name == target_format.name


def test_an_artifact_is_read_with_the_options_it_was_written_with(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["表", "1;2"], "b": [1, 2]})
    path = str(tmp_path / "a.csv.gz")
    Target(path, GzipFormat(inner=CsvFormat(separator=";", encoding="cp932")), LocalStore()).dump(frame)
    loaded = Target(path, format_for(path), LocalStore()).load()
    pd.testing.assert_frame_equal(loaded, frame)
    assert gzip.decompress(Path(path).read_bytes()).decode("cp932") == 'a;b\n"表";1\n"1;2";2\n'


lines = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=5), max_size=5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "utf-7"])
@given(text=unicode, some=lines)
def test_text_and_lines_read_back(encoding: str, text: str, some: list[str]) -> None:
    for obj in (text, some):
        try:
            loaded = through(TextFormat(encoding=encoding), obj)
        except FormatError:
            assert encoding == "utf-7"
        else:
            assert loaded == obj


def test_lines_are_lines() -> None:
    assert dumped(TextFormat(), ["a", "", "b\r"]) == b"a\n\nb\r\n"
    assert dumped(TextFormat(encoding="cp932"), "表") == b"\x95\\"
    assert TextFormat().load(io.BytesIO(b"a\nb\n")) == "a\nb\n"


@given(unicode, lines, json_values)
def test_gzip_keeps_what_is_inside(text: str, some: list[str], value: Any) -> None:
    assert through(GzipFormat(), text) == text
    assert through(GzipFormat(level=1), some) == some
    assert repr(through(GzipFormat(inner=JsonFormat()), value)) == repr(value)
    assert repr(through(GzipFormat(inner=PickleFormat()), value)) == repr(value)


def test_equal_content_is_equal_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dumped(GzipFormat(), "x" * 100)
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert dumped(GzipFormat(), "x" * 100) == first
    assert gzip.decompress(first) == b"x" * 100


def test_gzip_starts_again_when_the_inner_format_does() -> None:
    import threading

    class Locked:
        def __init__(self) -> None:
            self.text = "x" * 200_000
            self.lock = threading.Lock()

    assert through(GzipFormat(inner=PickleFormat()), Locked()).text == "x" * 200_000


@pytest.mark.parametrize("inner", [TextFormat(), JsonFormat(), CsvFormat(), PickleFormat(), NumpyFormat()], ids=str)
def test_a_broken_checksum_of_gzip_is_found(inner: Any) -> None:
    obj: Any = {"csv": pd.DataFrame({"a": [1]}), "npy": np.arange(3)}.get(inner.name, "text")
    data = dumped(GzipFormat(inner=inner), obj)
    broken = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    with pytest.raises(FormatError):
        GzipFormat(inner=inner).load(io.BytesIO(broken))


names = st.text("abcxyz_", min_size=1, max_size=4)
option_values = st.none() | st.text("abc =:;#[]%é", max_size=6).map(str.strip)


@given(st.dictionaries(names, st.dictionaries(names, option_values, max_size=3), max_size=3), st.booleans())
def test_a_parser_reads_back_or_is_refused(sections: dict[str, dict[str, str | None]], raw: bool) -> None:
    parser = (configparser.RawConfigParser if raw else configparser.ConfigParser)(allow_no_value=True)
    for section, options in sections.items():
        parser.add_section(section)
        for name, value in options.items():
            with contextlib.suppress(ValueError):  # a percent sign of its own
                configparser.RawConfigParser.set(parser, section, name, value)
    try:
        loaded = through(IniFormat(), parser)
    except FormatError:
        return
    assert type(loaded) is type(parser)
    assert {name: dict(loaded.items(name)) for name in loaded.sections()} == {
        name: dict(parser.items(name)) for name in parser.sections()
    }


def test_a_parser_keeps_defaults_and_interpolation() -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[DEFAULT]\nroot = /data\n[paths]\nhere = %(root)s/x\nlines = a\n  b\n")
    loaded = through(IniFormat(), parser)
    assert loaded == parser
    assert loaded["paths"]["here"] == "/data/x"
    assert through(IniFormat(), "# as it is\n[a]\n") == "# as it is\n[a]\n"


def cased() -> Any:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read_dict({"a": {"Key": "1"}})
    return parser


def unpercented() -> Any:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict({"a": {"key": "100%"}})
    return parser


tags = st.sampled_from(["a", "b", "{urn:x}c", "名"])
xml_text = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=5)


@st.composite
def elements(draw: Any, depth: int = 2) -> ET.Element:
    element = ET.Element(
        draw(tags), draw(st.dictionaries(st.sampled_from(["k", "{urn:y}l"]), xml_text.map(lambda text: text or "")))
    )
    element.text = draw(xml_text)
    for _ in range(draw(st.integers(0, 2)) if depth else 0):
        child = draw(st.just(ET.Comment(" c ")) | st.just(ET.ProcessingInstruction("p", "q")) | elements(depth=depth - 1))
        child.tail = draw(xml_text)
        element.append(child)
    return element


@given(elements())
def test_xml_reads_back(element: ET.Element) -> None:
    loaded, tree = through(XmlFormat(), element), through(XmlFormat(), ET.ElementTree(element))
    assert isinstance(tree, ET.ElementTree)
    assert ET.tostring(loaded) == ET.tostring(element) == ET.tostring(tree.getroot())


array_dtypes = (
    np_strategies.scalar_dtypes()
    | np_strategies.nested_dtypes(np_strategies.scalar_dtypes())
    | np_strategies.byte_string_dtypes()
    | np_strategies.unicode_string_dtypes()
)


@given(np_strategies.arrays(array_dtypes, np_strategies.array_shapes(min_dims=0, min_side=0, max_dims=3)), st.booleans())
def test_arrays_read_back(array: Any, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    for target_format in (NumpyFormat(), NpzFormat(), GzipFormat(inner=NumpyFormat())):
        loaded = through(target_format, array)
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=4), st.integers(), max_size=3
    )
)
def test_named_arrays_read_back(numbers: dict[str, int]) -> None:
    arrays = {name: np.full(3, number % 100) for name, number in numbers.items()}
    loaded = through(NpzFormat(), arrays)
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_npz_is_numpys_and_depends_on_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dumped(NpzFormat(), {"a": np.arange(3), "b": np.zeros(2)})
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert dumped(NpzFormat(), {"a": np.arange(3), "b": np.zeros(2)}) == data
    with np.load(io.BytesIO(data)) as arrays:
        assert list(arrays["a"]) == [0, 1, 2]
    of_gokart = io.BytesIO()
    np.savez_compressed(of_gokart, data=np.arange(4))
    assert list(NpzFormat().load(of_gokart)) == [0, 1, 2, 3]
    assert list(through(NpzFormat(), {"data": np.arange(2)})) == ["data"]


safe = st.lists(
    st.text("ab.é ", min_size=1, max_size=4).filter(lambda part: part not in (".", "..")), min_size=1, max_size=3
)


@given(st.dictionaries(safe.map("/".join), st.binary(max_size=20), max_size=4))
def test_files_of_a_zip_read_back(files: dict[str, bytes]) -> None:
    assert through(ZipFormat(), files) == files
    assert dumped(ZipFormat(), files) == dumped(ZipFormat(), dict(files))


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "a/./b", "", "a/", "C:x", "a\\b", "x\0"])
def test_an_unsafe_name_is_refused_in_a_zip(name: str) -> None:
    with pytest.raises(FormatError, match=r"cannot name a file .*use names like"):
        dumped(ZipFormat(), {name: b""})
    if "\0" not in name and not name.endswith("/"):
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as archive:
            archive.writestr(name or "x", b"1")
        if name and "\\" not in name:
            with pytest.raises(FormatError, match="the archive has a file named"):
                ZipFormat().load(memory)


def test_two_files_of_one_name_are_refused_in_a_zip() -> None:
    memory = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(FormatError, match="there are two of them"):
        ZipFormat().load(memory)


def plot() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([1, 2])
    return figure


@pytest.mark.parametrize("target_format", [PngFormat(), JpegFormat()], ids=str)
def test_images_load_as_images_and_bytes_as_bytes(target_format: Any) -> None:
    assert through(target_format, plot()).size == (100, 100)
    assert through(target_format, Image.new("RGB", (5, 3), "red")).size == (5, 3)
    data = dumped(target_format, plot())
    assert dumped(target_format, plot()) == data
    assert through(target_format, data) == data


def test_the_quality_of_a_jpeg() -> None:
    noise = Image.frombytes("RGB", (64, 64), np.random.default_rng(0).bytes(64 * 64 * 3))
    assert len(dumped(JpegFormat(quality=20), noise)) < len(dumped(JpegFormat(), noise))
    with pytest.raises(FormatError, match=r"RGBA.*convert it first, image\.convert\('RGB'\)"):
        dumped(JpegFormat(), Image.new("RGBA", (2, 2)))


@pytest.mark.parametrize(
    ("target_format", "obj", "words"),
    [
        (TextFormat(), ["a", "b\nc"], "line 2 holds a newline"),
        (TextFormat(), ["a", 1], r"\(line 2\) format cannot write a builtins\.int; dump a str, or a list of str"),
        (TextFormat(encoding="ascii"), "ü", "cannot be written as ASCII"),
        (IniFormat(), {"a": 1}, r"dump a str or a configparser\.ConfigParser"),
        (IniFormat(), cased(), "keys in small letters"),
        (IniFormat(), unpercented(), "make it a ConfigParser of default options"),
        (XmlFormat(), "<a/>", r"dump an xml\.etree\.ElementTree\.ElementTree or Element"),
        (XmlFormat(), ET.ElementTree(), "without a root"),
        (XmlFormat(), ET.Element("a b"), "use names and text that XML allows"),
        (XmlFormat(), ET.fromstring("<a>&#13;</a>"), "carriage return"),
        (NumpyFormat(), [1], r"cannot write a builtins\.list; dump numpy arrays"),
        (NumpyFormat(), np.array([object()]), r"array of Python objects; give it a type, array\.astype"),
        (NumpyFormat(), np.ma.masked_array([1], [True]), "'mask': array.mask"),
        (NumpyFormat(), np.float64(1), r"numpy\.float64; dump numpy arrays"),
        (NumpyFormat(), np.rec.array([(1, 2)]), "recarray"),  # type: ignore[call-overload]
        (NumpyFormat(), np.zeros(1, np.dtype("i4", metadata={"a": 1})), "would not keep the type"),
        (NpzFormat(), {"a": [1]}, r"cannot write a builtins\.list"),
        (NpzFormat(), {"a/b": np.zeros(1)}, "use a str without slashes"),
        (NpzFormat(), {1: np.zeros(1)}, "use a str without slashes"),
        (ZipFormat(), [b"x"], "dump a dict of file names to bytes"),
        (ZipFormat(), {"a": "x"}, "give the file's content as bytes"),
        (ZipFormat(), {1: b"x"}, "it is no str"),
        (JpegFormat(), b"\x89PNG", "these bytes are not JPEG"),
        (JpegFormat(), 3, "dump a matplotlib figure, a Pillow image, or JPEG bytes"),
        (GzipFormat(), 3, "dump a str, or a list of str"),
        (NdjsonFormat(), {"a": 1}, "dump a table, or a list of JSON values"),
        (NdjsonFormat(), [(1,)], r"the tuple at \$\[0\]"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_keep_is_refused(target_format: Any, obj: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        dumped(target_format, obj)


def test_what_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for target_format in (JsonFormat(), NdjsonFormat()):
        with pytest.raises(FormatError, match="nested too deeply, or holds itself"):
            dumped(target_format, endless)


EXAMPLES: list[tuple[Any, Any]] = [
    (TextFormat(encoding="utf-16"), "täxt"),
    (GzipFormat(), ["a", "b"]),
    (GzipFormat(inner=PickleFormat()), {"a": 1}),
    (IniFormat(), "[a]\nb = 1\n"),
    (XmlFormat(), ET.fromstring("<a k='1'>x<b/>y</a>")),
    (NumpyFormat(), np.arange(6).reshape(2, 3)),
    (NpzFormat(), {"a": np.arange(3), "b": np.zeros((2, 2))}),
    (ZipFormat(), {"a/b.txt": b"x" * 50, "c": b""}),
    (JpegFormat(), Image.new("RGB", (8, 8))),
    (NdjsonFormat(), [1, {"a": None}]),
]


@pytest.mark.parametrize(("target_format", "obj"), EXAMPLES, ids=lambda value: getattr(value, "name", ""))
def test_broken_bytes_are_a_format_error_at_worst(target_format: Any, obj: Any) -> None:
    data = dumped(target_format, obj)
    readers = [target_format]
    if hasattr(target_format, "for_type"):
        readers += [target_format.for_type(f"{module}.{name}") for module, name in [
            ("builtins", "dict"), ("builtins", "list"), ("numpy", "ndarray"), ("configparser", "ConfigParser"),
            ("xml.etree.ElementTree", "Element"), ("pandas", "DataFrame"), ("builtins", "bytes"),
        ]]  # fmt: skip
    places = range(0, len(data), max(1, len(data) // 60))
    broken = [data[:end] for end in places]
    broken += [
        data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :] for place in places for flip in (1, 0x80, 0xFF)
    ]
    for reader in readers:
        for some in [*broken, b"", b"\0" * 64, b"PK\5\6" + b"\0" * 18]:
            with contextlib.suppress(FormatError):
                reader.load(io.BytesIO(some))


@pytest.mark.parametrize(
    "target_format", [one for one, _ in EXAMPLES if one.name != "pickle+gzip"], ids=lambda one: one.name
)
@given(data=st.binary(max_size=100))
def test_garbage_is_a_format_error_at_worst(target_format: Any, data: bytes) -> None:
    with contextlib.suppress(FormatError):
        target_format.load(io.BytesIO(data))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TextFormat(encoding="x"), "TextFormat got encoding='x'"),
        (lambda: IniFormat(encoding="x"), "IniFormat got encoding='x'"),
        (lambda: JpegFormat(quality=100), "quality=100; give a number from 1 to 95"),
        (lambda: GzipFormat(level=True), "level=True"),
    ],
)
def test_wrong_options_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_what_was_dumped_decides_how_it_is_read() -> None:
    assert reader_for(TextFormat(), "builtins.list") == TextFormat(lines=True)
    assert reader_for(TextFormat(), "builtins.str") == TextFormat()
    assert reader_for(PickleFormat(), "builtins.list") == PickleFormat()
    assert reader_for(CsvFormat(), "pandas.core.frame.DataFrame", {"a": "int64"}).columns == {"a": "int64"}  # type: ignore[attr-defined]
