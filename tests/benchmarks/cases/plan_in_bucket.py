"""Plan a graph of many tasks in a bucket: plan_in_bucket.py <fill, plan, boto3, ask or get> <tasks> <address or directory>.

``fill`` makes the artifacts in a directory, for the bucket to show; ``plan`` plans a run of a task that needs them all, and
``boto3`` does so without obstore; ``ask`` looks at them one after the other, and ``get`` gets their sidecars with obstore
alone, as many at once as a plan.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness import s3_server

from airflow_kart import IntParameter, Target, TaskOnKart, Workspace
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import make_plan
from airflow_kart.settings import check_threads
from airflow_kart.storage.buckets import s3_fast
from airflow_kart.tasks.graph import Graph
from airflow_kart.tasks.outputs import targets_of

what, tasks, address = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.environ["AIRFLOW_CONN_KART"] = s3_server.s3_connection(address)
if what == "boto3":
    s3_fast._user["pid"] = 0  # obstore takes no requests in a process that is not its own


class Part(TaskOnKart[int]):
    number: int = IntParameter()

    def output(self) -> Target:
        return self.make_target("parts/part.json")


class All(TaskOnKart[int]):
    count: int = IntParameter()

    def requires(self) -> Any:
        return [Part(number=number) for number in range(self.count)]


with Workspace(address) if what == "fill" else Workspace("s3://kart/ws", aws_conn_id="kart"):
    graph = Graph.of([All(count=tasks)])
    parts = [(node, node.task) for node in graph.nodes.values() if isinstance(node.task, Part)]
    targets_of(graph.nodes[graph.roots[0]].task)[0][1].exists()  # connects
    started, cpu = time.perf_counter(), time.process_time()
    if what == "fill":
        for node, part in parts:
            node.targets[0].dump(part.number)
    elif what in ("plan", "boto3"):
        plan = make_plan(graph, remember=True)
        counted = len(plan.with_outcome(Outcome.CACHED)), len(plan.with_outcome(Outcome.RUN))
        print(counted, file=sys.stderr)
    elif what == "ask":
        for node, _ in parts:
            node.targets[0].exists()
    else:
        from obstore.store import S3Store

        secrets: Any = {"access_key_id": "any", "secret_access_key": "any", "token": None, "expires_at": None}
        store = S3Store(
            "kart",
            config={"endpoint": address, "region": "us-east-1"},
            client_options={"allow_http": True},
            credential_provider=lambda: secrets,
        )
        keys = [f"{node.targets[0].uri.removeprefix('s3://kart/')}.kart.json" for node, _ in parts]
        started, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(check_threads()) as pool:
            assert all(pool.map(lambda key: len(store.get(key).bytes()), keys))
print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}))
