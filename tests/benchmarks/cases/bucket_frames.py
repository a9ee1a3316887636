"""Dump a frame to a bucket, or load it, through a target, as a pickle: ``kart|gokart s3|gcs dump|load MEGABYTES ADDRESS``.

Everything is imported and connected, by a small frame, before time and memory are taken. The peak of a dump is what it
takes beside the frame; that of a load has the frame in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from harness import gcs_server, s3_server

BUCKET, COLUMNS = "kart", 10
PIECE = 128 << 20
who, service, direction, megabytes, address = sys.argv[1:]
BASE = f"{'s3' if service == 's3' else 'gs'}://{BUCKET}/{who}"
composing = 0.0


def resident(line: str) -> int:
    found = [text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(line)]
    return int(found[0].split()[1]) * 1024


def frame_of(size: int) -> pd.DataFrame:
    values = np.random.default_rng(7).random((COLUMNS, size // (8 * COLUMNS)))
    frame: pd.DataFrame = pd.DataFrame(values.T, columns=[f"c{column}" for column in range(COLUMNS)], copy=False)
    return frame


def timed(request: Any) -> Any:
    """Note how long composing takes."""

    def call(*arguments: Any) -> Any:
        global composing
        started = time.perf_counter()
        try:
            return request(*arguments)
        finally:
            composing += time.perf_counter() - started

    return call


def target_of_kart(name: str) -> Any:
    from airflow_kart.artifacts.target import Target
    from airflow_kart.formats import PickleFormat
    from airflow_kart.storage import store_for

    os.environ["AIRFLOW_CONN_KART"] = s3_server.s3_connection(address) if service == "s3" else gcs_server.gcs_connection()
    os.environ["STORAGE_EMULATOR_HOST"] = address
    store: Any = store_for(BASE, aws_conn_id="kart", gcp_conn_id="kart")
    if service == "gcs" and name != "small":
        store.service.arrange, store.service.complete = timed(store.service.arrange), timed(store.service.complete)
    return Target(f"{BASE}/{name}.pkl", PickleFormat(), store)


def target_of_gokart(name: str) -> Any:
    from gokart.target import make_target

    if service == "s3":
        given = {
            "ENDPOINT_URL": address,
            "ACCESS_KEY_ID": "test",
            "SECRET_ACCESS_KEY": "test",
            "DEFAULT_REGION": "us-east-1",
        }
        os.environ.update({f"AWS_{variable}": value for variable, value in given.items()})
    else:
        keep_gcs_client()
    return make_target(f"{BASE}/{name}.pkl")


def keep_gcs_client() -> None:
    """Let gokart's configuration hold a client of the service here: its own would ask Google for the way.

    fake-gcs-server copies what it has with each piece that is sent, so that pieces of 10 MB, as luigi sends them, would
    cost it the square of the length.
    """
    from gokart.gcs_config import GCSConfig
    from googleapiclient.discovery_cache import get_static_doc
    from googleapiclient.http import build_http
    from luigi.contrib.gcs import CHUNKSIZE, GCSClient

    api = {**json.loads(get_static_doc("storage", "v1")), "rootUrl": f"{address}/", "baseUrl": f"{address}/storage/v1/"}
    piece = PIECE if direction == "dump" else CHUNKSIZE
    GCSConfig()._client = GCSClient(descriptor=json.dumps(api), http_=build_http(), chunksize=piece)


def dump(target: Any, frame: pd.DataFrame) -> None:
    target.dump(frame, **({"lock_at_dump": False} if who == "gokart" else {}))


with contextlib.suppress(OSError):
    (s3_server if service == "s3" else gcs_server).make_bucket(address, BUCKET)
target_of = target_of_kart if who == "kart" else target_of_gokart
small, large = target_of("small"), target_of("large")
dump(small, frame_of(8000))
assert len(small.load()) == 100
frame = frame_of(int(megabytes) * 1_000_000) if direction == "dump" else None
Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is counted from here
before = resident("VmRSS")
started = time.perf_counter()
if frame is not None:
    dump(large, frame)
else:
    frame = large.load()
seconds = time.perf_counter() - started
peak = resident("VmHWM") - before
assert frame.shape == (int(megabytes) * 1_000_000 // (8 * COLUMNS), COLUMNS)
print(json.dumps({"seconds": seconds, "uncomposed": seconds - composing, "peak": peak}))
