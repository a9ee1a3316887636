"""Objects whose libraries write files of their own, as a zip archive of these files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.archive import MOST_BYTES, add_member, check_members, check_size, reading_archive, writing_archive
from airflow_kart.formats.scratch import scratch_folder

_FILE = "model.pkl"


@dataclass(frozen=True)
class ModelFormat:
    """A zip archive of the files that a save function writes.

    The save function gets the path of a file in an empty temporary directory, and may write any files and directories
    there. The load function gets the same path in a directory with the same contents.
    """

    save_function: Callable[[Any, str], object] = field(metadata={"recorded": False})
    load_function: Callable[[str], object] = field(metadata={"recorded": False})
    name = "model"

    def dump(self, obj: object, stream: io.RawIOBase) -> None:
        """Save an object and put the saved files into an archive, one after the other."""
        with scratch_folder() as folder:
            self.save_function(obj, os.path.join(folder, _FILE))
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            if not files:
                raise FormatError("save_function wrote no file to the path it was given, nor beside it")
            check_size(sum(path.stat().st_size for path in files), MOST_BYTES)
            with writing_archive(stream) as archive:
                for path in files:
                    with path.open("rb") as source, add_member(archive, path.relative_to(folder).as_posix()) as member:
                        shutil.copyfileobj(source, member, 1 << 20)
                    path.unlink()

    def load(self, stream: BinaryIO) -> object:
        """Unpack the archive and load the object."""
        with scratch_folder() as folder:
            with reading_archive(stream) as archive:
                check_members(archive, MOST_BYTES, portable=False)
                archive.extractall(folder)
            return self.load_function(os.path.join(folder, _FILE))
