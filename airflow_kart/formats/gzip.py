"""Another format, compressed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

from typing_extensions import Buffer

from airflow_kart.exceptions import ConfigurationError, FormatError
from airflow_kart.formats.archive import MOST_BYTES, check_most, check_size
from airflow_kart.formats.base import READING, Description, Format, Writable, reader_for, trusts_bytes
from airflow_kart.formats.text import TextFormat
from airflow_kart.streams import WriteOnly

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 20


@dataclass(frozen=True)
class GzipFormat:
    """Another format's bytes, compressed with gzip (RFC 1952). Equal content makes equal bytes: no time, no name.

    Args:
        inner: the other format, with its own options.
        level: from 1, the fastest, to 9, the smallest.
        max_bytes: the largest size of the inner format's bytes, against files that unpack to more than a machine holds.
    """

    inner: Format = field(default_factory=TextFormat)
    level: int = 6
    max_bytes: int = field(default=MOST_BYTES, metadata=READING)

    def __post_init__(self) -> None:
        """Check the options."""
        if not hasattr(self.inner, "dump") or not hasattr(self.inner, "load"):
            raise ConfigurationError(f"GzipFormat got inner={self.inner!r}; give a format, such as CsvFormat()")
        check_most(self.max_bytes, "GzipFormat")
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
        compressed = _Compressed(stream, self.level, self.max_bytes)
        description = self.inner.dump(obj, compressed)
        compressed.finish()
        return description

    def load(self, stream: BinaryIO) -> object:
        """Read an object."""
        with io.BufferedReader(_Limited(gzip.GzipFile(fileobj=stream, mode="rb"), self.max_bytes), _CHUNK) as content:
            try:
                found = self.inner.load(content)
                while not content.closed and content.read(_CHUNK):  # the checksum stands at the end
                    pass
            except (EOFError, OSError, zlib.error) as error:
                raise FormatError(f"the bytes are not gzip ({error})") from error
        return found


class _Limited(io.RawIOBase):
    """Unpacked content that ends with an error beyond a limit."""

    def __init__(self, content: gzip.GzipFile, most: int) -> None:
        super().__init__()
        self._content = content
        self._most = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        size = self._content.readinto(buffer)
        check_size(self._content.tell(), self._most)
        return size

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position = self._content.seek(offset, whence)
        check_size(position, self._most)
        return position

    def tell(self) -> int:
        return self._content.tell()


class _Compressor(Protocol):
    def compress(self, data: Buffer, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Compressed(WriteOnly):
    """A stream that compresses written bytes; see :class:`~airflow_kart.formats.Writable`."""

    def __init__(self, stream: Writable, level: int, most: int) -> None:
        self._stream = stream
        self._level = level
        self._most = most
        self._size = 0
        self._compressor = self._begun()

    def _begun(self) -> _Compressor:
        # 16 asks zlib for gzip's header, in which zlib leaves time and name out.
        return zlib.compressobj(self._level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def restart(self) -> None:
        self._stream.restart()
        self._compressor = self._begun()
        self._size = 0

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data)
        if not view.nbytes:
            return 0
        view = view.cast("B")
        self._size += view.nbytes
        check_size(self._size, self._most)
        for start in range(0, view.nbytes, _CHUNK):
            if compressed := self._compressor.compress(view[start : start + _CHUNK]):
                self._stream.write(compressed)
        return view.nbytes

    def finish(self) -> None:
        self._stream.write(self._compressor.flush())
