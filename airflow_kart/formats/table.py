"""Tables: pandas frames as Apache Parquet and as CSV."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import require_type

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CsvFormat", "ParquetFormat"]


class ParquetFormat:
    """A ``pandas.DataFrame`` as Apache Parquet, written by pyarrow; index, column types and attributes come back."""

    name = "parquet"

    def dump(self, obj: Any, stream: io.RawIOBase) -> None:
        """Write a frame."""
        import pandas as pd
        import pyarrow as pa

        require_type(obj, pd.DataFrame, self.name, "dump a pandas.DataFrame")
        buffered = io.BufferedWriter(_Unclosable(stream), 1 << 20)
        try:
            obj.to_parquet(buffered, engine="pyarrow")
            buffered.flush()
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise FormatError(f"the parquet format cannot write this frame: {error}") from error

    def load(self, stream: BinaryIO) -> pd.DataFrame:
        """Read a frame."""
        import pandas as pd
        import pyarrow as pa

        try:
            return pd.read_parquet(stream, engine="pyarrow")
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
            raise FormatError(f"the bytes are not Parquet ({error})") from error


class CsvFormat:
    """A ``pandas.DataFrame`` as CSV (RFC 4180, UTF-8, with a header), without its index; types are guessed on load."""

    name = "csv"

    def dump(self, obj: Any, stream: io.RawIOBase) -> None:
        """Write a frame."""
        import pandas as pd

        require_type(obj, pd.DataFrame, self.name, "dump a pandas.DataFrame")
        buffered = io.BufferedWriter(_Unclosable(stream), 1 << 20)
        try:
            obj.to_csv(buffered, index=False, encoding="utf-8", lineterminator="\n")
            buffered.flush()
        except (ValueError, TypeError) as error:
            raise FormatError(f"the csv format cannot write this frame: {error}") from error

    def load(self, stream: BinaryIO) -> pd.DataFrame:
        """Read a frame; a file without columns is an empty frame."""
        import pandas as pd

        try:
            frame: pd.DataFrame = pd.read_csv(stream, encoding="utf-8", lineterminator="\n")
        except pd.errors.EmptyDataError:
            frame = pd.DataFrame()
        except (ValueError, TypeError) as error:  # pandas' own parser errors among them
            raise FormatError(f"the bytes are not CSV ({error})") from error
        return frame


class _Unclosable(io.RawIOBase):
    """A raw stream for libraries that close what they are given; closing it leaves the real one open."""

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int | None:
        return self._stream.write(data)
