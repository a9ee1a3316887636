"""Early cut-off in a DAG run: what a task settles downstream that ends with the bytes of before, under a real scheduler.

The executor is LocalExecutor. First 200 tasks in four levels under ``code_version = "auto"``, of which one has been edited so
that its result stays equal. Then 1,000 tasks downstream of one that ``kart_rerun`` names.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.airflow_server import AirflowServer
from harness.postgres import postgres
from side_by_side import Budget, print_table, temporary_directory, verdict

from airflow_kart.runtime.packed import unpacked

LEVEL, WIDE = 66, 1000
SETTLED_AT_MOST = 5.0
PIPELINE = """
from __future__ import annotations
from airflow_kart import IntParameter, KartDag, TaskOnKart, build

def helper(value):
    return value + 1

class Root(TaskOnKart[int]):
    code_version = "auto"
    def run(self):
        self.dump(helper(1))

class Cell(TaskOnKart[int]):
    code_version = "auto"
    level: int = IntParameter()
    column: int = IntParameter()
    def requires(self):
        return [Cell(level=self.level - 1, column=self.column)] if self.level else Root()
    def run(self):
        self.dump((self.column, self.load()))

class Top(TaskOnKart[int]):
    code_version = "auto"
    width: int = IntParameter()
    def requires(self):
        return [Cell(level=2, column=column) for column in range(self.width)]
    def run(self):
        self.dump(len(self.load()))

levels, wide = Top(width=LEVEL), [Cell(level=0, column=column) for column in range(WIDE)]
""".replace("LEVEL", str(LEVEL)).replace("WIDE", str(WIDE))
DAGS = """
from airflow_kart import KartDag
from pipeline import levels, wide

KartDag("levels", levels, schedule=None)
KartDag("wide", wide, schedule=None)
"""
FILL = "from pipeline import *\nfor task in [levels, *wide]: build(task)"


def main() -> int:
    """Fill the workspace, edit, run both DAGs, print, and return the exit code."""
    with temporary_directory() as home, postgres() as database:
        server = AirflowServer(Path(home), database, {"AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300"})
        pipeline = server.dags / "pipeline.py"
        pipeline.write_text(PIPELINE, encoding="utf-8")
        (server.dags / "both.py").write_text(DAGS, encoding="utf-8")
        subprocess.run(
            [sys.executable, "-c", FILL], env=server.environment, cwd=server.dags, check=True, capture_output=True
        )
        pipeline.write_text(PIPELINE.replace("value + 1", "1 + value  # the other way round"), encoding="utf-8")
        try:
            server.start()
            server.wait_for_dags("levels", "wide")
            found = [
                measured(server, "levels", {}),
                measured(server, "wide", {"kart_rerun": ["Root"]}),
            ]
        finally:
            server.stop()
    columns = (
        "dag",
        "state",
        "ran",
        "reused",
        "processes of tasks",
        "root's end to the last skip, s",
        "root's process, s",
        "run, s",
    )
    print_table(columns, [list(row.values()) for row in found])
    levels, wide = found
    expected = {"levels": (1, 3 * LEVEL + 1, "success"), "wide": (1, WIDE, "success")}
    if any((row["ran"], row["reused"], row["state"]) != expected[row["dag"]] for row in found):
        return 1
    return verdict(
        [
            Budget("processes, with four levels", levels["processes"], 4),
            Budget("processes, with 1,000 tasks downstream", wide["processes"], 1),
            Budget("seconds from the root's last artifact to the last skip", wide["settled"], SETTLED_AT_MOST),
        ]
    )


def measured(server: AirflowServer, dag: str, conf: Mapping[str, Any]) -> dict[str, Any]:
    """Run a DAG, and tell what became of its tasks."""
    run_id = server.trigger(dag, conf=dict(conf))
    run = server.finished(dag, run_id, timeout=900)
    tasks = {name: task for name, task in run.tasks.items() if name not in ("plan", "report")}
    report = unpacked(run.xcom("report", "report"))
    return {
        "dag": dag,
        "state": run.state,
        "ran": len(report["ran"]),
        "reused": len(report["reused"]),
        "processes": len(run.started() & tasks.keys()),
        "settled": max(_moment(task["end_date"]) for task in tasks.values()) - _published(server),
        "root": float(run.tasks["root"]["duration"]),
        "run": run.seconds,
    }


def _published(server: AirflowServer) -> float:
    """When the root's artifact was published last."""
    return max(file.stat().st_mtime for file in server.workspace.rglob("Root_*.pkl"))


def _moment(text: str) -> float:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    sys.exit(main())
