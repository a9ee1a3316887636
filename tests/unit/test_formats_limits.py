"""Archives that unpack to more than a limit, or to files outside their folder."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_formats import through

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats import CsvFormat, GzipFormat, JsonFormat, NpzFormat, TextFormat, ZipFormat, options_of
from airflow_kart.formats import model as model_module
from airflow_kart.formats.model import ModelFormat

MEGA = 1 << 20


def zipped(*files: tuple[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream


def npz(size: int) -> io.BytesIO:
    stream = io.BytesIO()
    np.savez_compressed(stream, data=np.zeros(size, dtype=np.uint8))
    return stream


BOMBS: list[tuple[Any, io.BytesIO]] = [
    (ZipFormat(max_bytes=MEGA), zipped(("a", bytes(MEGA)), ("b", b"1"))),
    (NpzFormat(max_bytes=MEGA), npz(MEGA)),
    (GzipFormat(max_bytes=MEGA), io.BytesIO(gzip.compress(bytes(2 * MEGA)))),
    (GzipFormat(inner=JsonFormat(), max_bytes=MEGA), io.BytesIO(gzip.compress(b'"' + b"a" * 2 * MEGA + b'"'))),
    (GzipFormat(inner=CsvFormat(), max_bytes=MEGA), io.BytesIO(gzip.compress(b"a\n" + b"1\n" * 2 * MEGA))),
    (GzipFormat(inner=ZipFormat(max_bytes=MEGA)), io.BytesIO(gzip.compress(zipped(("a", bytes(2 * MEGA))).getvalue()))),
]


@pytest.mark.parametrize(("target_format", "stream"), BOMBS, ids=lambda value: getattr(value, "name", ""))
def test_bombs_are_refused(target_format: Any, stream: io.BytesIO) -> None:
    assert len(stream.getvalue()) < MEGA / 100
    stream.seek(0)
    with pytest.raises(
        FormatError, match=r"unpacked content has \d+ bytes or more, and the limit is 1048576; give the format max_b"
    ):
        target_format.load(stream)


@pytest.mark.parametrize(
    ("target_format", "value"),
    [
        (ZipFormat(max_bytes=MEGA), {"a": bytes(MEGA), "b": b"1"}),
        (NpzFormat(max_bytes=MEGA), np.zeros(MEGA, dtype=np.uint8)),
        (GzipFormat(max_bytes=MEGA), "a" * (MEGA + 1)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_could_not_be_loaded_is_not_dumped(target_format: Any, value: Any) -> None:
    with pytest.raises(FormatError, match="the limit is 1048576"):
        through(target_format, value)


def test_the_limit_itself_is_allowed_and_recorded_nowhere() -> None:
    assert through(GzipFormat(max_bytes=MEGA), "a" * MEGA) == "a" * MEGA
    assert through(ZipFormat(max_bytes=MEGA), {"a": bytes(MEGA)}) == {"a": bytes(MEGA)}
    assert options_of(GzipFormat(inner=TextFormat(), max_bytes=5)) == {}
    for made in (ZipFormat, NpzFormat, GzipFormat):
        with pytest.raises(ConfigurationError, match="max_bytes=0; give a number of bytes above zero"):
            made(max_bytes=0)


def keep(obj: object, path: str) -> None:
    Path(path).write_bytes(b"m" * 1000)


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "C:\\outside", "a\\..\\outside"])
def test_files_of_an_archive_stay_in_its_folder(name: str) -> None:
    target_format = ModelFormat(keep, lambda path: Path(path).read_bytes())
    for reader in (ZipFormat(), target_format)[: 1 if "\\" in name else 2]:
        with pytest.raises(FormatError, match="the archive has a file named"):
            reader.load(zipped(("model.pkl", b"m"), (name, b"x")))


def test_models_may_name_their_files_as_the_system_allows() -> None:
    def save(obj: object, path: str) -> None:
        Path(path).with_name("layer:0\\a").write_bytes(b"x")

    target_format = ModelFormat(save, lambda path: Path(path).with_name("layer:0\\a").read_bytes())
    assert through_model(target_format) == b"x"


def test_models_have_the_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    target_format = ModelFormat(keep, lambda path: Path(path).read_bytes())
    assert through_model(target_format) == b"m" * 1000
    monkeypatch.setattr(model_module, "MOST_BYTES", 999)
    with pytest.raises(FormatError, match="the limit is 999"):
        through_model(target_format)
    with pytest.raises(FormatError, match="the limit is 999"):
        target_format.load(zipped(("model.pkl", bytes(1000))))


def through_model(target_format: ModelFormat) -> Any:
    class Raw(io.RawIOBase):
        content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.content += bytes(data)
            return memoryview(data).nbytes

    raw = Raw()
    target_format.dump(None, raw)
    return target_format.load(io.BytesIO(raw.content))
