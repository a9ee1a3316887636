"""Files in a ZIP archive."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.archive import MOST_BYTES, check_members, check_most, check_size, member, unreadable, unsafe
from airflow_kart.formats.base import READING, require_type


@dataclass(frozen=True)
class ZipFormat:
    """Files as a ZIP archive: a dict of ``bytes`` by file name, ``{"a/b.txt": b"..."}``. Equal files, equal bytes.

    Args:
        max_bytes: the largest total size of the files, against archives that unpack to more than a machine holds.
    """

    max_bytes: int = field(default=MOST_BYTES, metadata=READING)

    name = "zip"

    def __post_init__(self) -> None:
        """Check the options."""
        check_most(self.max_bytes, "ZipFormat")

    def dump(self, obj: object, stream: io.RawIOBase) -> None:
        """Write the files."""
        require_type(obj, dict, self.name, "dump a dict of file names to bytes")
        files = cast("dict[object, bytes]", obj)
        for name, content in files.items():
            wrong = unsafe(name) if isinstance(name, str) else "it is no str"
            if wrong is not None:
                raise FormatError(f"the zip format cannot name a file {name!r}: {wrong}; use names like 'folder/file.txt'")
            require_type(content, bytes, f"{self.name} ({name})", "give the file's content as bytes")
        check_size(sum(map(len, files.values())), self.max_bytes)
        with zipfile.ZipFile(cast(BinaryIO, stream), "w") as archive:
            for name, content in files.items():
                archive.writestr(member(cast(str, name)), content)

    def load(self, stream: BinaryIO) -> dict[str, bytes]:
        """Read the files."""
        files: dict[str, bytes] = {}
        with unreadable("a ZIP archive"), zipfile.ZipFile(stream) as archive:
            check_members(archive, self.max_bytes)
            for info in archive.infolist():
                if info.is_dir():
                    continue
                files[info.filename] = archive.read(info)
        return files
