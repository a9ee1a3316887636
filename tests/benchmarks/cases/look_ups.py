"""Look up the artifacts and sidecars of many targets in a bucket: look_ups.py <fill, list or ask> <targets> <address>.

``list`` looks all of them up by ``stat_many``; ``ask`` reads each sidecar and looks each artifact up, in 64 threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from harness import s3_server

from airflow_kart.storage import S3Store
from airflow_kart.storage.service import place_of

what, targets, address = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.environ["AIRFLOW_CONN_KART"] = s3_server.s3_connection(address)
os.environ["AIRFLOW__KART__CHECK_THREADS"] = "64"
with contextlib.suppress(OSError):
    s3_server.make_bucket(address, "kart")
store = S3Store("kart")
artifacts = [f"s3://kart/ws/model/train_{number:032x}.pkl" for number in range(targets)]
assert store.stat("s3://kart/none") is None
started, cpu = time.perf_counter(), time.process_time()
with ThreadPoolExecutor(64) as pool:
    if what == "fill":
        for suffix in ("", ".kart.json"):
            list(pool.map(lambda uri: store.service.put(place_of(uri + suffix), b"x" * 1500, None, {}), artifacts))
    elif what == "list":
        found = store.stat_many([uri + suffix for suffix in ("", ".kart.json") for uri in artifacts])
        assert None not in found.values()
    else:
        assert None not in pool.map(lambda uri: store.read(f"{uri}.kart.json"), artifacts)
        assert None not in pool.map(store.stat, artifacts)
print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}))
