"""Another format, compressed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol

from typing_extensions import Buffer

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.base import Description, Format, Writable, reader_for, trusts_bytes
from airflow_kart.formats.text import TextFormat

__all__ = ["GzipFormat"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class GzipFormat:
    """Another format's bytes, compressed with gzip (RFC 1952). Equal content makes equal bytes: no time, no name.

    Args:
        inner: the other format, with its own options.
        level: from 1, the fastest, to 9, the smallest.
    """

    inner: Format = field(default_factory=TextFormat)
    level: int = 6

    def __post_init__(self) -> None:
        """Check the options."""
        if not hasattr(self.inner, "dump") or not hasattr(self.inner, "load"):
            raise ConfigurationError(f"GzipFormat got inner={self.inner!r}; give a format, such as CsvFormat()")
        if isinstance(self.level, bool) or not isinstance(self.level, int) or not 1 <= self.level <= 9:
            raise ConfigurationError(f"GzipFormat got level={self.level!r}; give a number from 1 to 9")

    @property
    def name(self) -> str:
        """The inner format's name, and gzip."""
        return f"{self.inner.name}+gzip"

    @property
    def trusts_bytes(self) -> bool:
        """Whether the inner format's decoder relies on right bytes."""
        return trusts_bytes(self.inner)

    def for_type(self, dumped: str) -> GzipFormat:
        """Return the format that loads the dumped object as an object of its class."""
        return replace(self, inner=reader_for(self.inner, dumped))

    def for_columns(self, columns: Mapping[str, str]) -> GzipFormat:
        """Return the format that loads columns with their dumped types."""
        return replace(self, inner=reader_for(self.inner, None, columns))

    def dump(self, obj: object, stream: Writable) -> Description | None:
        """Write an object, compressed."""
        compressed = _Compressed(stream, self.level)
        description = self.inner.dump(obj, compressed)
        compressed.finish()
        return description

    def load(self, stream: BinaryIO) -> object:
        """Read an object."""
        with io.BufferedReader(gzip.GzipFile(fileobj=stream, mode="rb"), _CHUNK) as content:
            try:
                found = self.inner.load(content)
                while not content.closed and content.read(_CHUNK):  # the checksum stands at the end
                    pass
            except (EOFError, OSError, zlib.error) as error:
                raise FormatError(f"the bytes are not gzip ({error})") from error
        return found


class _Compressor(Protocol):
    def compress(self, data: Buffer, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Compressed(io.RawIOBase):
    """A stream that compresses written bytes; see :class:`~airflow_kart.formats.Writable`."""

    def __init__(self, stream: Writable, level: int) -> None:
        super().__init__()
        self._stream = stream
        self._level = level
        self._compressor = self._begun()

    def _begun(self) -> _Compressor:
        # 16 asks zlib for gzip's header, in which zlib leaves time and name out.
        return zlib.compressobj(self._level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def restart(self) -> None:
        self._stream.restart()
        self._compressor = self._begun()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        if not view.nbytes:
            return 0
        view = view.cast("B")
        for start in range(0, view.nbytes, _CHUNK):
            if compressed := self._compressor.compress(view[start : start + _CHUNK]):
                self._stream.write(compressed)
        return view.nbytes

    def finish(self) -> None:
        self._stream.write(self._compressor.flush())
