"""Import a DAG file of this folder, as Airflow's DAG processor does, and serialize its DAG: parse.py <file> <width>."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import airflow.sdk  # noqa: F401 - the DAG processor has it loaded
from airflow.serialization import serialized_objects

# Airflow 3.1 has the class by its old name only.
known: dict[str, Any] = vars(serialized_objects)
serialization = known.get("DagSerialization") or known["SerializedDAG"]


def import_dag_file(file: Path) -> ModuleType:
    name = f"unusual_prefix_{hashlib.sha1(str(file).encode()).hexdigest()}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    started, cpu = time.perf_counter(), time.process_time()
    dag = import_dag_file(Path(__file__).with_name(sys.argv[1])).dag
    imported, import_cpu = time.perf_counter(), time.process_time() - cpu
    serialized = serialization.to_dict(dag)
    ended = time.perf_counter()
    facts = {
        "seconds": ended - started,
        "cpu": time.process_time() - cpu,
        "import": imported - started,
        "import_cpu": import_cpu,
        "serialize": ended - imported,
        "tasks": len(dag.tasks),
        "edges": sum(len(task.downstream_task_ids) for task in dag.tasks),
        "bytes": len(json.dumps(serialized)),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
