"""Load one column, or all, of a table at a uri: ``one|all URI [ADDRESS]``, with the address of an S3 service."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

from harness.s3_server import s3_connection

from airflow_kart.artifacts.target import Target
from airflow_kart.formats import ParquetFormat
from airflow_kart.storage import store_for

what, uri, *address = sys.argv[1:]
if address:
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = s3_connection(address[0])
target = Target(uri, ParquetFormat(), store_for(uri))
importlib.import_module("pyarrow.parquet")  # not to be measured, nor pandas
importlib.import_module("pandas")
target.store.stat(uri)  # makes the client
started = time.perf_counter()
frame = target.load(["c7"] if what == "one" else None)
print(json.dumps({"seconds": time.perf_counter() - started, "columns": len(frame.columns)}))
