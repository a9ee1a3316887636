"""The preview of each format, from bytes that nobody trusts."""

from __future__ import annotations

import ast
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from typing import BinaryIO, cast

from airflow_kart.plugin.preview.content import Preview, Request, plain
from airflow_kart.plugin.preview.tables import of_csv, of_feather, of_parquet, of_rows

_PICKLES = "Pickles are never opened here, since loading one runs code."
_MOST_READ = 2 << 20
_MOST_TEXT, _MOST_LINES, _LONGEST_LINE = 20_000, 200, 500
_MOST_HEADER = 10_000
_MOST_PIXELS = 40_000_000
MOST_OF_IMAGE = 8 << 20
"""Bytes of an image that a browser is asked to show."""
_MOST_FILES = 100
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
"""The first bytes of images."""


def content_of(asked: Request, stream: BinaryIO) -> Preview:
    """Return the preview of bytes, whose decoders may raise anything."""
    name = asked.format
    while name.endswith("+gzip"):
        name, stream = name.removesuffix("+gzip"), cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
    return Preview(note=_PICKLES) if name == "pickle" else _READERS.get(name, _of_unknown)(asked, stream)


def _csv(asked: Request, stream: BinaryIO) -> Preview:
    text, note = _text_of(stream, str(asked.options.get("encoding", "utf-8")), whole_lines=True)
    return of_csv(text, str(asked.options.get("separator", ","))[:1], asked.columns, asked.rows, note)


def _json(asked: Request, stream: BinaryIO) -> Preview:
    text, note = _text_of(stream, whole_lines=True)
    try:
        if note or asked.format.startswith("nd"):  # a table that this package wrote has a row on each line
            lines = (line.strip(" ,\r") for line in text.split("\n"))
            values = [json.loads(line) for line in lines if line not in ("", "[", "]")]
        else:
            values = json.loads(text)
            text = json.dumps(values, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return _of_text(text, note)
    if isinstance(values, list) and values and all(isinstance(one, dict) for one in values):
        return of_rows(values, asked.columns, asked.rows if note else len(values), note)
    return _of_text(text, note)


def _text(_: Request, stream: BinaryIO) -> Preview:
    return _of_text(*_text_of(stream))


def _of_unknown(asked: Request, stream: BinaryIO) -> Preview:
    text, note = _text_of(stream)
    if "\0" in text or "\ufffd" in text:
        return Preview(note=f"There is no preview of the format {plain(asked.format, 40)}.")
    return _of_text(text, note)


def _text_of(stream: BinaryIO, encoding: str = "utf-8", *, whole_lines: bool = False) -> tuple[str, str]:
    """Return the beginning as text, and a sentence if there is more."""
    data = stream.read(_MOST_READ + 1)
    if len(data) <= _MOST_READ:
        return data.decode(encoding, "replace"), ""
    text = data[:_MOST_READ].decode(encoding, "ignore" if encoding == "utf-8" else "replace")
    return (text[: text.rfind("\n") + 1] if whole_lines else "") or text, f"The first {_MOST_READ >> 20} MB were read."


def _of_text(text: str, note: str) -> Preview:
    lines = [line[:_LONGEST_LINE] for line in text[:_MOST_TEXT].split("\n")[:_MOST_LINES]]
    shown = "\n".join(lines)
    if not note and len(shown) < len(text):
        note = "The beginning is shown."
    return Preview("text", note, text=plain(shown, _MOST_TEXT, "\n\t\r"))


def _png(asked: Request, stream: BinaryIO) -> Preview:
    head = stream.read(24)
    width, height = struct.unpack(">II", head[16:24]) if head.startswith(PNG) else (0, 0)
    return _image(asked, width, height)


def _jpeg(asked: Request, stream: BinaryIO) -> Preview:
    size, found = (0, 0), stream.read(2) == JPEG
    while found:  # segments: a marker, and a length that counts itself
        marker, kind, length = struct.unpack(">BBH", stream.read(4))
        found = marker == 0xFF and length >= 2
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            size, found = struct.unpack(">xHH", stream.read(5)), False
        stream.seek(length - 2, io.SEEK_CUR)
    return _image(asked, size[1], size[0])


def _image(asked: Request, width: int, height: int) -> Preview:
    facts = [("Size", f"{width:,} by {height:,} pixels")]
    if not 0 < width * height <= _MOST_PIXELS or asked.bytes > MOST_OF_IMAGE:
        return Preview("facts", "The image is too large to be shown, or is none.", facts=facts)
    return Preview("image", facts=facts)


def _npy(_: Request, stream: BinaryIO) -> Preview:
    """Show the header of a NumPy file (numpy.lib.format), a literal of Python that is never run."""
    magic = stream.read(8)
    form = "<H" if magic.startswith(b"\x93NUMPY\x01") else "<I"
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    header = ast.literal_eval(stream.read(min(length, _MOST_HEADER)).decode("latin-1").strip())
    shape = " by ".join(f"{int(one):,}" for one in header["shape"]) or "one value"
    return Preview("facts", facts=[("Type", plain(str(header["descr"]))), ("Shape", plain(shape))])


def _archive(asked: Request, stream: BinaryIO) -> Preview:
    """List the files of an archive; none is unpacked."""
    with zipfile.ZipFile(stream) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
    total = sum(info.file_size for info in files)
    facts = [(plain(info.filename), f"{info.file_size:,} bytes") for info in files[:_MOST_FILES]]
    pickles = _PICKLES if any(".pkl" in info.filename for info in files) else ""
    note = f"{len(files):,} files, {total:,} bytes unpacked. {pickles}".strip()
    return Preview("facts", note, asked.rows, facts=facts)


_READERS: dict[str, Callable[[Request, BinaryIO], Preview]] = {
    **dict.fromkeys(("zip", "npz", "model", "large frame"), _archive),
    **dict.fromkeys(("text", "ini", "xml"), _text),
    **dict.fromkeys(("json", "ndjson"), _json),
    "csv": _csv,
    "feather": of_feather,
    "jpeg": _jpeg,
    "npy": _npy,
    "parquet": of_parquet,
    "png": _png,
}
