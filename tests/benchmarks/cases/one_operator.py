"""Import a DAG file as a worker does, and execute one of its operators: one_operator.py <file> <width> <task id>.

The operator is the plan, with the root cached, or the node of a place, with its two inputs there. The day is not the one
that the DAG was compiled with. Making these artifacts does not count.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

file, task_id = sys.argv[1], sys.argv[3]
os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = "layers"
os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = task_id

from airflow.sdk.execution_time import task_runner  # noqa: E402
from harness.stand_ins import Ti, context  # noqa: E402
from parse import import_dag_file  # noqa: E402

DAY = "2026-05-06"


class Pushing(Ti):
    """A task instance that keeps what is pushed."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, **pushed: Any) -> None:
        self.pushed[pushed["key"]] = pushed["value"]


class Supervisor:
    """Receives the operator's requests."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def send(self, message: Any) -> None:
        self.skipped += message.tasks


supervisor = vars(task_runner)["SUPERVISOR_COMMS"] = Supervisor()
cpu = time.process_time()
module = import_dag_file(Path(__file__).with_name(file))
import_cpu = time.process_time() - cpu
operator, ti = module.dag.get_task(task_id), Pushing()
operator.bind = {"day": DAY}  # rendered
with operator.run_workspace():
    day = module.Root.get_parameters()["day"].read(DAY, "Root", "day")
    task = module.Root(day=day)
    if task_id != "plan":
        layer, place = map(int, task_id.removeprefix("node__").split("_"))
        task = module.Node(day=day, layer=layer, place=place)
    for needed in [task] if task_id == "plan" else task.requires():
        needed.output().dump(1)
del task
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started, cpu = time.perf_counter(), time.process_time()
operator.execute({**context(), "ti": ti})
execute_cpu = time.process_time() - cpu
assert len(supervisor.skipped) == (len(module.dag.tasks) - 2 if task_id == "plan" else 0)  # all but the plan and the report
facts = {
    "seconds": time.perf_counter() - started,
    "cpu": import_cpu + execute_cpu,
    "import_cpu": import_cpu,
    "execute_cpu": execute_cpu,
    "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    "kilobytes_pushed": len(json.dumps(ti.pushed.get("plan"))) / 1000,
}
print(json.dumps(facts))
