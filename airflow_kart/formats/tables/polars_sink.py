"""Lazy frames of polars, written or walked through as they are computed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

_ROWS = 1 << 16


def sink(frame: pl.LazyFrame, file_format: Literal["parquet", "ipc"], stream: io.RawIOBase, **options: str) -> None:
    """Write a ``polars.LazyFrame`` into a stream; all at once with a polars whose sinks take paths only."""
    if _streams():
        getattr(frame, f"sink_{file_format}")(stream, **options)
    else:
        getattr(frame.collect(), f"write_{file_format}")(stream, **options)


def batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of a ``polars.LazyFrame`` as frames, without holding all of them where polars can."""
    if hasattr(frame, "collect_batches"):
        yield from frame.collect_batches(chunk_size=_ROWS, maintain_order=True)
    else:
        yield from frame.collect().iter_slices(_ROWS)


def _streams() -> bool:
    """Whether the sinks of this polars take streams, and write in the order of the rows."""
    import polars as pl

    return tuple(int(part) for part in pl.__version__.split(".")[:2]) >= (1, 30)
