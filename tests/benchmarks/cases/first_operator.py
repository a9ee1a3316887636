"""The first operator of a process that has imported Airflow's task SDK: ``kart`` or ``plain``; both write a number to a file."""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import airflow.providers.common.compat.sdk
import airflow.sdk.execution_time.task_runner  # noqa: F401 - as a task's process does before any operator
from airflow.sdk import DAG, BaseOperator
from harness.stand_ins import context

given, modules, started, cpu = context(), set(sys.modules), time.perf_counter(), time.process_time()


def operator() -> Any:
    if sys.argv[1] == "plain":

        class Plain(BaseOperator):
            def execute(self, context: Any) -> None:
                Path("one.pkl").write_bytes(pickle.dumps(1))

        return Plain(task_id="one")

    from airflow_kart import KartOperator, TaskOnKart, Workspace

    class One(TaskOnKart[int]):
        def run(self) -> None:
            self.dump(1)

    return KartOperator(task_id="one", task=One(), workspace=Workspace("resources"))


with DAG("first"):
    made = operator()
to_make, cpu_to_make = time.perf_counter() - started, time.process_time() - cpu
started, cpu = time.perf_counter(), time.process_time()
made.execute(given)
seconds, cpu_to_execute = time.perf_counter() - started, time.process_time() - cpu
print()
print(
    json.dumps(
        {
            "seconds": seconds,
            "execute_cpu": cpu_to_execute,
            "to_make": to_make,
            "make_cpu": cpu_to_make,
            "modules": len(sys.modules.keys() - modules),
            "numpy": "numpy" in sys.modules,
        }
    )
)
