"""Make 1,000 inline tasks in ten layers, and a root: with ``build()``, or inside the root's operator.

The argument is ``build`` or ``operator``; the operator's time is that of its task instance in a run of ``dag.test()``.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from airflow_kart import IntParameter, TaskOnKart, Workspace, build

LAYERS, WIDTH = 10, 100


class Node(TaskOnKart[int]):
    inline: ClassVar[bool] = True
    layer: int = IntParameter()
    place: int = IntParameter()

    def requires(self) -> list[TaskOnKart[int]]:
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Node(layer=self.layer - 1, place=place) for place in places]

    def run(self) -> None:
        self.dump(sum(self.load()) % 1000 + 1)


class Root(TaskOnKart[int]):
    def requires(self) -> list[TaskOnKart[int]]:
        return [Node(layer=LAYERS - 1, place=place) for place in range(WIDTH)]

    def run(self) -> None:
        self.dump(sum(self.load()))


def run_operator(workspace: str) -> float:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils import db
    from airflow.utils.session import create_session

    from airflow_kart import KartDag

    db.initdb()
    dag = KartDag("inline", Root(), schedule=None, workspace_directory=workspace)
    dag.relative_fileloc = "inline.py"
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.commit()
        serialized = [LazyDeserializedDAG.from_dag(dag)]
        update_dag_parsing_results_in_db("dags-folder", None, serialized, {}, None, set(), session=session)
    run = dag.test()
    durations = {ti.task_id: ti.duration for ti in run.get_task_instances()}
    assert set(durations) == {"plan", "root", "report"}, durations
    return float(durations["root"])


def run_build(workspace: str) -> float:
    started = time.perf_counter()
    build(Root(), workspace_directory=workspace)
    return time.perf_counter() - started


with tempfile.TemporaryDirectory() as folder:
    with contextlib.redirect_stdout(io.StringIO()):
        seconds = {"build": run_build, "operator": run_operator}[sys.argv[1]](folder)
    sidecars = sum(1 for _ in Path(folder).rglob("*.kart.json"))
    with Workspace(folder):
        result = Root().output().load()
print(json.dumps({"seconds": seconds, "result": result, "sidecars": sidecars}))
