"""One column of a Parquet file of 200 MB with 20 columns beside all of it: bytes fetched and seconds, from S3 and from disk.

The service runs on this machine and copies the whole object for every range that it is asked for, so the bytes say more
than the seconds. Whoever opens an object asks for its first 8 MB, of which a part is under way when it is not wanted.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from harness.counting_proxy import bytes_sent, counting
from harness.s3_server import make_bucket, s3_connection, s3_server
from side_by_side import Budget, Facts, alternate, median_of, print_table, run_case, temporary_directory, verdict

from airflow_kart.artifacts.target import Target
from airflow_kart.formats import ParquetFormat
from airflow_kart.storage import store_for

ROWS = 1_250_000
COLUMNS = 20
ROUNDS = 3
BYTES_OF_WHOLE_AT_MOST = 0.11
SECONDS_OF_WHOLE_AT_MOST = 0.5


def counted(proxy: str, what: str, uri: str) -> Facts:
    """Run the case through a proxy; add the bytes it fetched."""
    before = bytes_sent(proxy)
    facts = run_case("columns.py", what, uri, proxy)
    return {**facts, "bytes": bytes_sent(proxy) - before}


def main() -> int:
    """Measure, print, and return the exit code."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{place}": random.normal(size=ROWS) for place in range(COLUMNS)})
    with ExitStack() as running:
        file = str(Path(running.enter_context(temporary_directory()), "wide.parquet"))
        service = running.enter_context(s3_server())
        make_bucket(service, "kart")
        running.enter_context(mock.patch.dict(os.environ, {"AIRFLOW_CONN_AWS_DEFAULT": s3_connection(service)}))
        for uri in (file, "s3://kart/wide.parquet"):
            Target(uri, ParquetFormat(), store_for(uri)).dump(frame)
        proxy = running.enter_context(counting(service))
        found = alternate(
            {
                **{f"s3, {what}": partial(counted, proxy, what, "s3://kart/wide.parquet") for what in ("one", "all")},
                **{f"disk, {what}": partial(run_case, "columns.py", what, file) for what in ("one", "all")},
            },
            ROUNDS,
        )
    seconds = {name: median_of(runs) for name, runs in found.items()}
    fetched = {what: median_of(found[f"s3, {what}"], "bytes") for what in ("one", "all")}
    print_table(
        ["1 of 20 columns of 200 MB", "one column", "all", "one / all"],
        [
            ["s3, MB fetched", fetched["one"] / 1e6, fetched["all"] / 1e6, fetched["one"] / fetched["all"]],
            *(
                [
                    f"{where}, seconds",
                    seconds[f"{where}, one"],
                    seconds[f"{where}, all"],
                    seconds[f"{where}, one"] / seconds[f"{where}, all"],
                ]
                for where in ("s3", "disk")
            ),
        ],
    )
    return verdict(
        [
            Budget("bytes of one column / of all, s3:", fetched["one"] / fetched["all"], BYTES_OF_WHOLE_AT_MOST),
            *(
                Budget(
                    f"seconds of one column / of all, {where}:",
                    seconds[f"{where}, one"] / seconds[f"{where}, all"],
                    SECONDS_OF_WHOLE_AT_MOST,
                )
                for where in ("s3", "disk")
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
