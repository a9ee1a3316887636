"""Previews of artifacts: their content, and that hostile bytes cost one bounded process and nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import itertools
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_kart import DateParameter, TaskOnKart, Workspace, build
from airflow_kart.plugin.preview import child, process
from airflow_kart.plugin.preview.content import Preview, Request, plain
from airflow_kart.plugin.preview.process import preview_from, preview_of
from airflow_kart.plugin.preview.reading import content_of

FRAME = pd.DataFrame(
    {
        "carrier": ["B6", "UA", "B6", None],
        "hour": [5, 23, 12, 12],
        "temp": [35.96, float("nan"), 37.94, 39.02],
        "late": [True, False, True, True],
        "day": pd.to_datetime(["2013-01-01", "2013-01-03", "2013-01-02", "2013-01-01"]),
    }
)


def previewed(name: str, data: bytes, **more: Any) -> Preview:
    return preview_from(Request(name, len(data), **more), io.BytesIO(data))


def parquet_of(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink, **options)
    return sink.getvalue()


class Made(TaskOnKart[Any]):
    """A task with an artifact in each format."""

    day: dt.date = DateParameter()
    names: ClassVar[tuple[str, ...]] = (
        "table.parquet", "table.feather", "table.csv", "table.tsv", "table.json", "table.ndjson", "table.csv.gz", "value.json",
        "text.txt", "config.xml", "array.npy", "arrays.npz", "files.zip", "any.pkl", "any.pkl.gz", "large.zip",
    )  # fmt: skip

    def output(self) -> Any:
        return {
            name: self.make_large_data_frame_target(f"{self.day}/{name}")
            if name == "large.zip"
            else self.make_target(f"{self.day}/{name}")
            for name in self.names
        }

    def run(self) -> None:
        others = {
            "value.json": {"a": [1, {"b": None}]},
            "text.txt": "first\nsecond",
            "config.xml": ET.fromstring("<a><b/></a>"),
            "array.npy": np.zeros((3, 4)),
            "arrays.npz": {"one": np.arange(3)},
            "files.zip": {"a/b.txt": b"12345"},
            "any.pkl": object,
            "any.pkl.gz": object,
        }
        for name in self.names:
            self.dump(others.get(name, FRAME), name)


@pytest.fixture(scope="module")
def previews(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Preview]:
    """Return the previews of artifacts that this package has written, by name."""
    with Workspace(str(tmp_path_factory.mktemp("previews"))) as workspace:
        build(Made(day=dt.date(2013, 1, 1)))
        records = workspace.artifacts()
    return {record.uri.rpartition("/")[2].replace(f"_{record.unique_id}", ""): preview_of(record) for record in records}


def test_each_format_of_a_table_shows_rows_types_and_statistics(previews: dict[str, Preview]) -> None:
    tables = {name: found for name, found in previews.items() if name.startswith("table")}
    assert len(tables) == 7
    for name, found in tables.items():
        assert (found.kind, found.note, found.rows, found.counted) == ("table", "", 4, 4), name
        carrier, hour, temp, late, day = found.columns
        assert [column.name for column in found.columns] == list(FRAME.columns)
        assert (hour.type, temp.type, late.type, day.type[:10]) == ("int64", "float64", "bool", "datetime64")
        assert (carrier.missing, carrier.distinct, carrier.top[0]) == (1, 2, ("B6", 2)), name
        assert (hour.is_number, hour.low, hour.high, hour.mean, sum(hour.bars)) == (True, "5", "23", "13", 4), name
        assert (temp.missing, temp.low, temp.high) == (1, "35.96", "39.02"), name
        assert late.top == [("true", 3), ("false", 1)], name
        assert day.low.startswith("2013-01-01") and day.high.startswith("2013-01-03"), name
        assert found.cells[0][:4] == ["B6", "5", "35.96", "true"] and found.cells[3][0] is None, name


def test_other_formats_show_text_headers_or_the_names_of_files(previews: dict[str, Preview]) -> None:
    assert (previews["text.txt"].kind, previews["text.txt"].text) == ("text", "first\nsecond")
    assert "<b" in previews["config.xml"].text
    assert json.loads(previews["value.json"].text) == {"a": [1, {"b": None}]}
    assert previews["array.npy"].facts == [("Type", "<f8"), ("Shape", "3 by 4")]
    assert previews["arrays.npz"].facts[0][0] == "one.npy"
    assert previews["files.zip"].facts == [("a/b.txt", "5 bytes")]
    for name in ("any.pkl", "any.pkl.gz", "large.zip"):
        assert "Pickles are never opened" in previews[name].note
    assert previews["large.zip"].rows == 4


def test_tables_of_polars_and_arrow_with_all_their_types() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None],
            "category": pl.Series(["x", "y"], dtype=pl.Categorical),
            "list": [[1, 2], None],
            "struct": [{"a": 1}, {"a": None}],
            "bytes": [b"\xff", b"ok"],
            "decimal": pl.Series(["1.50", "2.25"]).cast(pl.Decimal(5, 2)),
            "time": [dt.time(1, 2), None],
            "moment": [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), None],
            "duration": [dt.timedelta(seconds=1), None],
            "null": [None, None],
        }
    )
    for write, name in ((frame.write_parquet, "parquet"), (frame.write_ipc, "feather")):
        sink = io.BytesIO()
        write(sink)
        found = previewed(name, sink.getvalue())
        cells = dict(zip(frame.columns, found.cells[0], strict=True))
        assert found.kind == "table" and not found.note
        assert (cells["text"], cells["category"], cells["decimal"], cells["null"]) == ("a", "x", "1.50", None)
        assert cells["list"] == "[1, 2]" and cells["struct"] == "{'a': 1}" and "ff" in str(cells["bytes"])
        assert str(cells["time"]).startswith("01:02") and str(cells["moment"]).startswith("2020-01-01")


def test_statistics_of_odd_numbers() -> None:
    table = pa.table(
        {"id": [2**62, 2**62 + 1, None], "odd": [float("inf"), -1e308, float("nan")], "same": [7, 7, 7], "none": pa.nulls(3)}
    )
    ids, odd, same, none = previewed("parquet", parquet_of(table)).columns
    assert (ids.low, ids.high, ids.missing) == (str(2**62), str(2**62 + 1), 1)
    assert (odd.low, odd.missing, odd.bars) == ("", 1, [])  # neither can be drawn
    assert (same.low, same.mean, same.bars[0]) == ("7", "7", 3)
    assert (none.missing, none.is_number) == (3, False)


def test_a_long_table_is_read_in_part() -> None:
    table = pa.table({"number": pa.array(range(3_000_000)), "noise": pa.array(np.random.default_rng(1).random(3_000_000))})
    data = parquet_of(table, compression="none", row_group_size=1_000_000)
    assert len(data) > 2 * child.MOST_BYTES
    found = previewed("parquet", data)
    assert (found.rows, found.counted, len(found.cells), found.note) == (3_000_000, 10_000, 10, "")
    assert found.columns[0].high == "9999"
    lines = b"".join(b'{"a": %d, "b": "%b"}\n' % (number, b"x" * 80) for number in range(200_000))
    for name, text in (("ndjson", lines), ("json", b"[\n" + lines.replace(b"}\n", b"},\n")[:-2] + b"\n]\n")):
        found = previewed(name, text, rows=200_000)
        assert (found.kind, found.rows, found.counted) == ("table", 200_000, 10_000) and "2 MB" in found.note
    found = previewed("csv", b"a;b\n" + b"1;zwei\n" * 2_000_000, rows=2_000_000, options={"separator": ";"})
    assert (found.columns[0].is_number, found.counted, found.rows) == (True, 10_000, 2_000_000)


def test_a_table_of_ten_thousand_columns_shows_the_first() -> None:
    wide = pa.table({f"c{number}": [number] for number in range(10_000)})
    for data, name in ((parquet_of(wide), "parquet"), (feather_of(wide), "feather")):
        found = previewed(name, data)
        assert (found.kind, len(found.columns), found.more_columns) == ("table", 50, 9_950), found.note
        assert found.cells == [[str(number) for number in range(50)]]
    text = ",".join(f"c{number}" for number in range(10_000))
    found = previewed("csv", f"{text}\n{text}\n".encode())
    assert (len(found.columns), found.more_columns) == (50, 9_950)


def feather_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_columns_beyond_the_bytes_of_a_preview_keep_their_types() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (6, 400_000 * 8), dtype=np.uint8)
    table = pa.table({f"c{number}": noise[number].view(np.int64) for number in range(6)})
    found = previewed("feather", feather_of(table))
    assert [column.type for column in found.columns] == ["int64"] * 6
    assert "16 MB at most" in found.note and 0 < len(found.cells[0]) < 6


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe",
    "\x00\x1b[31m",
    "a.b",
    "",
    "../..",
    "é" * 5000,
    "{{7*7}}",
]


def test_hostile_names_and_cells_are_short_and_visible() -> None:
    tables = {
        "parquet": parquet_of(pa.table([pa.array([text]) for text in HOSTILE], names=HOSTILE)),
        "feather": feather_of(pa.table([pa.array([text]) for text in HOSTILE], names=HOSTILE)),
        "json": json.dumps([{text: text for text in HOSTILE}]).encode(),
    }
    for name, data in tables.items():
        found = previewed(name, data)
        texts = [column.name for column in found.columns] + [cell or "" for cell in found.cells[0]]
        assert len(texts) == 2 * len(HOSTILE), (name, found.note)
        assert all(text.isprintable() and len(text) <= 200 for text in texts)
        assert texts[0] == HOSTILE[0] and texts[2].startswith("\\u202e")
    half = previewed("csv", b"a,b\n1,2\n", columns={"a": "\ud800", "\udfff": "int64"}, options={"separator": ",\ud800"})
    assert half.columns[0].type == "\\ud800"
    twice = pa.table([pa.array([1]), pa.array(["x"]), pa.array([2])], names=["a", "a", "b"])
    for name, data in (("parquet", parquet_of(twice)), ("feather", feather_of(twice))):
        assert [column.name for column in previewed(name, data).columns] == ["a", "b"], name


def test_html_and_svg_are_text() -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    for name in ("text", "xml", "html", "svg", "image"):
        found = previewed(name, svg)
        assert (found.kind, found.text) == ("text", svg.decode())
    for name in ("png", "jpeg"):
        assert previewed(name, svg).kind == "facts"


class Evil:
    """A pickle whose loading leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_no_pickle_is_loaded_in_any_disguise(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    evil = pickle.dumps(Evil(trace), protocol=0)
    objects = io.BytesIO()
    np.save(objects, np.array([Evil(trace)], dtype=object), allow_pickle=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("00000.pandas.pkl.zst", evil)
        writer.writestr("arr_0.npy", objects.getvalue())
    extension = pa.schema(
        [
            pa.field(
                "a",
                pa.binary(),
                metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": evil},
            )
        ]
    )
    table = pa.table([pa.array([b"x"], pa.binary())], schema=extension)
    carriers = [evil, gzip.compress(evil), objects.getvalue(), archive.getvalue(), parquet_of(table), feather_of(table)]
    names = [
        "pickle",
        "pickle+gzip",
        "npy",
        "npz",
        "zip",
        "large frame",
        "model",
        "csv",
        "json",
        "text",
        "parquet",
        "feather",
        "png",
        "my own",
    ]
    for name, data in itertools.product(names, carriers):
        with contextlib.suppress(Exception):
            assert isinstance(content_of(Request(name, len(data)), io.BytesIO(data)), Preview)
    assert not trace.exists()
    assert pickle.loads(evil) is None and trace.exists()


def test_bombs_end_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = bytes(100 << 20)
    bomb = gzip.compress(zeros, 1)
    assert len(bomb) < 2 << 20
    found = previewed("text+gzip", bomb)
    assert found.kind == "text" and len(found.text) < 300_000 and "2 MB" in found.note
    assert previewed("csv+gzip+gzip", gzip.compress(bomb)).kind == "table"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as writer:
        writer.writestr("zeros", zeros)
    assert previewed("zip", archive.getvalue()).facts == [("zeros", f"{100 << 20:,} bytes")]
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4_000, np.int32)), pa.array(["x" * (1 << 20)]))
    data = parquet_of(pa.table({"a": long}), store_schema=False)  # 4,000 rows of one text of a megabyte
    assert len(data) < 1 << 20
    found = previewed("parquet", data)
    assert (found.kind, found.rows, found.cells) == ("table", 4_000, []) and "Values of 0 columns" in found.note
    many = parquet_of(pa.table({"a": pa.array(np.zeros(20_000_000, np.int8)).dictionary_encode()}))
    assert previewed("parquet", many).counted == 10_000
    started = time.monotonic()
    monkeypatch.setattr(process, "_SECONDS", 2)
    found = previewed("csv", b"a" * (2 << 20), options={"encoding": "punycode"})  # quadratic
    assert found.kind == "nothing" and "within 2 s" in found.note and time.monotonic() - started < 6


def test_what_is_no_file_of_its_format_ends_with_a_sentence() -> None:
    frame = parquet_of(pa.Table.from_pandas(FRAME))
    chance = random.Random(7)
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 60_000, 60_000)
    assert "too large" in previewed("png", png).note
    assert previewed("png", png[:16] + struct.pack(">II", 640, 480)).kind == "image"
    jpeg = b"\xff\xd8\xff\xe0\x00\x04AB\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640)
    found = previewed("jpeg", jpeg + bytes(20))
    assert (found.kind, found.facts) == ("image", [("Size", "640 by 480 pixels")])
    assert "too large" in previewed("jpeg", jpeg + bytes(9 << 20)).note
    deep = b"[" * 200_000
    names = ("parquet", "feather", "csv", "json", "ndjson", "npy", "npz", "zip", "png", "jpeg", "text", "csv+gzip", "none")
    for name, data in itertools.product(names, (b"", deep, frame[: len(frame) // 2], chance.randbytes(1000))):
        with contextlib.suppress(Exception):
            assert isinstance(content_of(Request(name, len(data)), io.BytesIO(data)), Preview), name
    assert "cannot be shown as parquet" in previewed("parquet", frame[:-9]).note
    assert "cannot be shown as zip" in previewed("zip", deep).note
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 60_000) + b"(" * 60_000
    assert previewed("npy", header).kind == "nothing"
    assert previewed("csv", b"a,b\n1", options={"separator": "\n", "encoding": "no such"}).kind == "nothing"
    assert previewed("json", b'[{"a": ' + b"9" * 5000 + b"}]").kind == "text"
    assert previewed("json", b'[{"a": 1e999, "b": [1], "c": 123456789012345678901234567890}]').kind == "table"


def test_a_fuzzed_parquet_file_ends_with_a_preview() -> None:
    data, chance = parquet_of(pa.Table.from_pandas(FRAME)), random.Random(3)
    for _ in range(5):
        changed = bytearray(data)
        for _ in range(20):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        assert isinstance(previewed("parquet", bytes(changed)), Preview)


def test_the_process_has_neither_environment_nor_the_folders_of_dags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[Any, Any]] = []
    real = subprocess.Popen

    def spy(command: Any, **more: Any) -> Any:
        started.append((command, more["env"]))
        return real(command, **more)

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", spy)
    assert previewed("json", b"[1]").text == "[\n  1\n]"
    (command, environment), *_ = started
    assert command[:2] == [sys.executable, "-I"]
    assert not [name for name in environment if "AIRFLOW" in name]


def test_a_spare_process_serves_one_preview_and_a_dead_one_none() -> None:
    assert previewed("json", b"[1]").text == "[\n  1\n]"
    (spare,) = process._SPARE.queue
    assert previewed("json", b"[2]").text == "[\n  2\n]"
    assert spare.poll() is not None, "nothing of one artifact is left for the next"
    (other,) = process._SPARE.queue
    assert other.pid != spare.pid
    other.kill()
    other.wait()
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda number: previewed("json", b"[%d]" % number).text, range(8)))
    assert texts == [f"[\n  {number}\n]" for number in range(8)]
    assert process._SPARE.qsize() == 1


def test_a_spare_process_that_dies_just_after_the_look_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert previewed("json", b"[1]").text == "[\n  1\n]"
    (spare,) = process._SPARE.queue

    def poll() -> None:
        monkeypatch.undo()
        os.kill(spare.pid, signal.SIGKILL)
        spare.wait()

    monkeypatch.setattr(spare, "poll", poll)
    assert previewed("json", b"[2]").text == "[\n  2\n]"


def test_an_artifact_that_is_gone_or_of_another_size_has_a_sentence(workspace: Path) -> None:
    build(Made(day=dt.date(2013, 1, 1)))
    record = next(one for one in Workspace(str(workspace)).artifacts() if "value" in one.uri)
    Path(record.uri).write_bytes(b"12")
    assert "in the size" in preview_of(record).note
    Path(record.uri).unlink()
    assert preview_of(record).note == "The artifact is not there any more."
    Path(f"{record.uri}.kart.json").unlink()
    fresh = type(record)(record.workspace, record.place, record.row)
    assert "cannot read" in preview_of(fresh).note


def test_plain() -> None:
    assert plain("a" * 300) == "a" * 199 + "…"
    assert plain("a\nb\x7f\u200b\ud800", kept="\n") == "a\nb\\x7f\\u200b\\ud800"
