"""Files in a ZIP archive."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.archive import member, unreadable
from airflow_kart.formats.base import require_type

__all__ = ["ZipFormat"]


@dataclass(frozen=True)
class ZipFormat:
    """Files as a ZIP archive: a dict of ``bytes`` by file name, ``{"a/b.txt": b"..."}``. Equal files, equal bytes."""

    name = "zip"

    def dump(self, obj: object, stream: io.RawIOBase) -> None:
        """Write the files."""
        require_type(obj, dict, self.name, "dump a dict of file names to bytes")
        files = cast("dict[object, bytes]", obj)
        for name, content in files.items():
            wrong = _unsafe(name) if isinstance(name, str) else "it is no str"
            if wrong is not None:
                raise FormatError(f"the zip format cannot name a file {name!r}: {wrong}; use names like 'folder/file.txt'")
            require_type(content, bytes, f"{self.name} ({name})", "give the file's content as bytes")
        with zipfile.ZipFile(cast(BinaryIO, stream), "w") as archive:
            for name, content in files.items():
                archive.writestr(member(cast(str, name)), content)

    def load(self, stream: BinaryIO) -> dict[str, bytes]:
        """Read the files."""
        files: dict[str, bytes] = {}
        with unreadable("a ZIP archive"), zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                if (wrong := _unsafe(info.filename)) is not None or info.filename in files:
                    raise FormatError(f"the archive has a file named {info.filename!r}: {wrong or 'there are two of them'}")
                files[info.filename] = archive.read(info)
        return files


def _unsafe(name: str) -> str | None:
    """Return why no file can be unpacked by a name, or ``None``."""
    parts = name.split("/")
    if not name or "" in parts or "." in parts or ".." in parts:
        return "it is no plain relative path"
    if any(character in name for character in "\\:\0"):
        return "a backslash, colon or NUL means other things elsewhere"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "it is no valid Unicode"
    return None
