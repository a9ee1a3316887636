"""Where a lock of the kind ``file`` keeps the words of its holder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_kart.storage.lock_file import place_of

__all__ = ["Words"]


@dataclass(frozen=True)
class Words:
    """The words of one lock of a directory, as bytes of its file, while no other lock is held there."""

    directory: Path
    name: str

    @property
    def file(self) -> Path:
        return self.directory / ".kart-locks" / ("held" if place_of(self.name) else f"{self.name}.lock")

    @property
    def mark(self) -> bytes:
        """What the line begins with."""
        return b"%d " % place_of(self.name)

    def read(self) -> bytes:
        """Return the line, without its end."""
        return self.file.read_bytes().partition(b"\n")[0]

    def replace(self, line: bytes) -> None:
        """Write something else there, and nothing behind."""
        self.file.write_bytes(line)
