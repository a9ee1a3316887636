"""Send a file to a bucket, or get it back, with a store or with the bare client of the service.

transfer.py <kart or bare> <s3 or gcs> <up or down> <file> <address>. Airflow's connection and the client are made, and a
small object is sent, before time and memory are taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from harness import gcs_server, s3_server

BUCKET, KEY, MB = "kart", "transferred.bin", 1 << 20
who, service, direction, file, address = sys.argv[1:]


def resident(line: str) -> int:
    found = [text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(line)]
    return int(found[0].split()[1]) * 1024


def sent(store: Any, base: str, key: str, source: Any) -> float:
    """Send a file; return the moment when all of it was taken, though not published."""
    upload = store.upload(base + key)
    while data := source.read(MB):
        upload.write(data)
    taken = time.perf_counter()
    upload.publish()
    return taken


def fetched(store: Any, base: str, key: str, sink: Any) -> None:
    with store.open(base + key) as stream:
        shutil.copyfileobj(stream, sink, MB)
        stream.hexdigest()


def of_s3() -> tuple[Any, Any, Any]:
    """Return a store, and what sends and gets with the bare client."""
    from airflow_kart.storage import S3Store

    os.environ["AIRFLOW_CONN_KART"] = s3_server.s3_connection(address)
    store = S3Store("kart")
    service: Any = store.service
    client = service._client
    return (
        store,
        lambda key, source: client.upload_fileobj(source, BUCKET, key),
        lambda key, sink: client.download_fileobj(BUCKET, key, sink),
    )


def of_gcs() -> tuple[Any, Any, Any]:
    """Return a store, and what sends and gets with the bare client."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    from airflow_kart.storage import GCSStore

    os.environ["AIRFLOW_CONN_KART"] = gcs_server.gcs_connection()
    os.environ["STORAGE_EMULATOR_HOST"] = address
    bucket = GCSHook(gcp_conn_id="kart").get_conn().bucket(BUCKET)
    return (
        GCSStore("kart"),
        lambda key, source: bucket.blob(key).upload_from_file(source),
        lambda key, sink: bucket.blob(key).download_to_file(sink),
    )


def actions() -> tuple[Any, Any]:
    """Return what sends and what gets, given a key and a file."""
    store, bare_up, bare_down = of_s3() if service == "s3" else of_gcs()
    if who == "bare":
        return bare_up, bare_down
    base = f"{'s3' if service == 's3' else 'gs'}://{BUCKET}/"
    return partial(sent, store, base), partial(fetched, store, base)


with contextlib.suppress(OSError):
    (s3_server if service == "s3" else gcs_server).make_bucket(address, BUCKET)
send, fetch = actions()
small = Path(file).with_name(f"{who}-small")
small.write_bytes(b"x")
with small.open("rb") as source:
    send("small", source)
with open(os.devnull, "wb") as sink:
    fetch("small", sink)
Path("/proc/self/clear_refs").write_text("5")  # the peak of memory is counted from here
before = resident("VmRSS")
started = time.perf_counter()
if direction == "up":
    with open(file, "rb") as source:
        taken = send(KEY, source) or time.perf_counter()
else:
    with open(os.devnull, "wb") as sink:
        fetch(KEY, sink)
    taken = time.perf_counter()
facts = {"seconds": time.perf_counter() - started, "taken": taken - started, "peak": resident("VmHWM") - before}
print(json.dumps(facts))
