"""Reuse of a large artifact in a bucket: what passes the worker where the service copies, and where the worker does.

An artifact of 200 MB is taken from an equal run, in alternating rounds, with stand-ins of S3 and Google Cloud Storage on this
machine. The bytes of their answers are counted on the way.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()

from harness import gcs_server, s3_server
from harness.counting_proxy import bytes_sent, counting
from side_by_side import Budget, print_table, verdict

from airflow_kart import IntParameter, TaskInstanceParameter, TaskOnKart, Workspace
from airflow_kart.runtime.runner import run_task
from airflow_kart.storage import BucketStore

SIZE, ROUNDS = 200_000_000, 3
AT_MOST = 0.001


class Source(TaskOnKart[int]):
    edition: int = IntParameter(default=0)

    def run(self) -> None:
        self.dump(0)


class Large(TaskOnKart[bytes]):
    of: TaskOnKart[int] = TaskInstanceParameter()

    def requires(self) -> TaskOnKart[int]:
        return self.of

    def run(self) -> None:
        self.dump(os.urandom(SIZE))


def main() -> int:
    """Measure, print, and return the exit code."""
    budgets = []
    for kind, harness in (("s3", s3_server), ("gs", gcs_server)):
        server: Any = s3_server.s3_server() if kind == "s3" else gcs_server.gcs_server()
        with server as address, counting(address) as proxy:
            harness.make_bucket(address, "kart")
            os.environ["AIRFLOW_CONN_KART_S3"] = s3_server.s3_connection(proxy)
            os.environ["AIRFLOW_CONN_KART_GCS"] = gcs_server.gcs_connection()
            os.environ["STORAGE_EMULATOR_HOST"] = proxy
            with Workspace(f"{kind}://kart/ws", aws_conn_id="kart_s3", gcp_conn_id="kart_gcs"):
                found = measured(proxy)
        print_table((f"{kind}: reuse of {SIZE // 10**6} MB", "s", "CPU s", "MB to the worker"), found)
        budgets.append(Budget(f"{kind}: bytes to the worker, of the artifact", found[0][3] * 1e6 / SIZE, AT_MOST))
    return verdict(budgets)


def measured(proxy: str) -> list[tuple[str, float, float, float]]:
    """Return seconds, CPU seconds and MB of both ways."""
    run_task(Source())
    run_task(Large(of=Source()))
    copied: Any = BucketStore.copied
    ways = {"the service copies": copied, "the worker does": lambda *_given, **_options: None}
    facts: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    for number in range(2 * ROUNDS):
        way = [*ways][number % 2]
        source = Source(edition=number + 1)
        run_task(source)
        BucketStore.copied = ways[way]  # type: ignore[method-assign]
        before = (time.perf_counter(), time.process_time(), bytes_sent(proxy) / 1e6)
        assert str(run_task(Large(of=source)).outcome) == "reused"
        after = (time.perf_counter(), time.process_time(), bytes_sent(proxy) / 1e6)
        facts[way].append(tuple(late - early for early, late in zip(before, after, strict=True)))
    BucketStore.copied = copied  # type: ignore[method-assign]
    columns = {way: [median(values) for values in zip(*found, strict=True)] for way, found in facts.items()}
    return [(way, seconds, cpu, megabytes) for way, (seconds, cpu, megabytes) in columns.items()]


if __name__ == "__main__":
    sys.exit(main())
