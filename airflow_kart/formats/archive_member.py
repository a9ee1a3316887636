"""Members of ZIP archives that depend on nothing but their name and content."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_kart.exceptions import FormatError

__all__ = ["member", "unreadable"]

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the first moment ZIP knows


def member(name: str) -> zipfile.ZipInfo:
    """Return the entry for a file in an archive, without the time it was written."""
    info = zipfile.ZipInfo(name, date_time=_FIRST_DAY)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Name an archive that cannot be read.

    Raises:
        FormatError: so it is.
    """
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        OverflowError,
        KeyError,
        IndexError,
    ) as error:
        raise FormatError(f"the bytes are not {what} ({type(error).__name__}: {error})") from error
