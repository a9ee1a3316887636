"""Some columns of tables in buckets: how much is fetched, and whether it is right."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness.bucket_kind import Kind
from harness.counting_proxy import bytes_sent, counting
from harness.store_conformance import MB

from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import CorruptArtifactError
from airflow_kart.formats import CsvFormat, FeatherFormat, ParquetFormat
from airflow_kart.storage import ANY, BucketStore
from airflow_kart.storage.buckets.ranged import BLOCK
from airflow_kart.storage.buckets.service import bucket_key_of

COLUMNS = 20
ROWS = 250_000


@pytest.fixture(scope="module")
def wide() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({f"c{place}": random.normal(size=ROWS) for place in range(COLUMNS)})


class Counted:
    """A store behind a proxy that counts."""

    def __init__(self, store: BucketStore, proxy: str) -> None:
        self.store = store
        self._proxy = proxy

    def bytes_of(self, load: Callable[[], Any]) -> tuple[Any, int]:
        before = bytes_sent(self._proxy)
        found = load()
        return found, bytes_sent(self._proxy) - before


@pytest.fixture
def counted(kind: Kind) -> Iterator[Counted]:
    with counting(kind.address) as proxy:
        yield Counted(kind.store(proxy), proxy)


def dumped(kind: Kind, target_format: Any, table: Any, **read_as: Any) -> tuple[str, int]:
    """Dump a table; return its uri and size."""
    target = Target(f"{kind.base}/table.{target_format.name}", target_format, kind.store())
    target.dump(table)
    sidecar = target.sidecar()
    assert sidecar is not None
    return target.uri, sidecar.artifact.bytes


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_of_parquet_the_columns_are_fetched_and_little_else(
    kind: Kind, counted: Counted, wide: pd.DataFrame, library: Any
) -> None:
    table = wide if library == "pandas" else pa.Table.from_pandas(wide, preserve_index=False)
    uri, size = dumped(kind, ParquetFormat(), table)
    target = Target(uri, ParquetFormat(), counted.store)
    assert size > 30 * MB
    # Opening asks for a first block, which nobody reads on; what of it is under way is lost.
    for columns in (["c7"], ["c0"], ["c19", "c3"]):
        found, fetched = counted.bytes_of(lambda columns=columns: target.load(columns))  # type: ignore[misc]
        assert fetched < size * len(columns) / COLUMNS + BLOCK + MB
        assert found.equals(table[columns] if library == "pandas" else table.select(columns))  # type: ignore[operator]
    found, fetched = counted.bytes_of(target.load)
    assert fetched >= size
    assert found.equals(table)


def test_many_groups_of_rows_are_fetched_like_one(kind: Kind, counted: Counted, wide: pd.DataFrame) -> None:
    """Many ranges, some of which are next to each other."""

    class Grouped(ParquetFormat):
        def _write_arrow(self, table: Any, stream: Any, compression: str) -> None:
            pq.write_table(table, stream, row_group_size=20_000, write_page_checksum=True)

    uri, size = dumped(kind, Grouped(), wide)
    target = Target(uri, ParquetFormat(), counted.store)
    columns = ["c5", "c4", "c6", "c12"]
    found, fetched = counted.bytes_of(lambda: target.load(columns))
    assert fetched < size * 4 / COLUMNS + BLOCK + 2 * MB
    assert found.equals(wide[columns])


@pytest.mark.parametrize("target_format", [FeatherFormat(), CsvFormat()], ids=lambda one: one.name)
def test_others_are_fetched_as_a_whole_and_once(
    kind: Kind, counted: Counted, wide: pd.DataFrame, target_format: Any
) -> None:
    table = wide.iloc[:, :8]
    uri, size = dumped(kind, target_format, table)
    target = Target(uri, target_format, counted.store)
    found, fetched = counted.bytes_of(lambda: target.load(["c7", "c3"]))
    assert size <= fetched < size * 1.05 + MB
    assert found.equals(table[["c7", "c3"]])


def test_a_changed_byte_is_noticed(kind: Kind, wide: pd.DataFrame) -> None:
    uri, _ = dumped(kind, ParquetFormat(), wide)
    store = kind.store()
    target = Target(uri, ParquetFormat(), store)
    with store.open(uri) as stream:
        data = bytearray(stream.read())
    place = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(7)
    data[place.dictionary_page_offset + place.total_compressed_size // 2] ^= 0x10
    store.service.put(bucket_key_of(uri), bytes(data), ANY, {})
    assert target.load(["c6", "c8"]).equals(wide[["c6", "c8"]])
    for columns in (["c7"], ["c6", "c7"]):
        with pytest.raises(CorruptArtifactError, match="was changed after it was published"):
            target.load(columns)


def test_what_is_replaced_meanwhile_is_read_anew(kind: Kind, wide: pd.DataFrame) -> None:
    newer = -wide
    writer = Target(f"{kind.base}/table.parquet", ParquetFormat(), kind.store())

    class Interrupted(ParquetFormat):
        """Parquet that is replaced after its columns were read, or between the footer and the columns."""

        times: list[str] = []

        def load_columns(self, stream: Any, columns: Any) -> Any:
            time = self.times.pop() if self.times else None
            if time == "before":
                stream.seek(-8, io.SEEK_END)
                stream.read()
                writer.dump(newer)
            found = super().load_columns(stream, columns)
            if time == "after":
                writer.dump(newer)
            return found

    for time in ("before", "after"):
        writer.dump(wide)
        Interrupted.times = [time]
        assert Target(writer.uri, Interrupted(), kind.store()).load(["c3"]).equals(newer[["c3"]])
