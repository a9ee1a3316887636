"""Take and release locks nobody else wants, and make tasks with them: lock.py <none, file, lease or redis> <port of Redis>."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time

from airflow_kart import IntParameter, TaskOnKart, Workspace, build
from airflow_kart.locks import Holder, Taken, locks_for

LOCKS, TASKS = 1_000, 300
kind, port = sys.argv[1:]
os.environ["AIRFLOW_CONN_KART_REDIS"] = json.dumps({"conn_type": "redis", "host": "127.0.0.1", "port": int(port)})


class Small(TaskOnKart[int]):
    number: int = IntParameter()

    def run(self) -> None:
        self.dump(self.number)


with (
    tempfile.TemporaryDirectory() as directory,
    Workspace(directory, lock=kind, redis_conn_id="kart_redis" if kind == "redis" else None) as workspace,
):
    locks = locks_for(workspace)
    alone: list[float] = []
    for number in range(LOCKS):
        began = time.perf_counter()
        lease = locks.acquire(f"lock-{number}", Holder("benchmark"))
        assert not isinstance(lease, Taken)
        lease.release()
        alone.append(time.perf_counter() - began)
    tasks: list[float] = []
    for number in range(TASKS):
        began = time.perf_counter()
        build(Small(number=number))
        tasks.append(time.perf_counter() - began)
print(json.dumps({"seconds": sum(tasks), "lock": statistics.median(alone), "task": statistics.median(tasks)}))
