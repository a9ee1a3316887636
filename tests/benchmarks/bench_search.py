"""The pages of the search and of an artifact, in Airflow's own web application, over 10,000 artifacts on a disk.

The application runs in this process, so that its memory can be measured: before and after 200 requests of all kinds.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import bench_catalogue
import pandas as pd
from harness.airflow_home import environment, with_database
from side_by_side import Budget, print_table, temporary_directory, verdict

from airflow_kart import IntParameter, TaskOnKart, Workspace, build

ROUNDS = 5
SEARCH_AT_MOST = 1.0
PREVIEW_AT_MOST = 1.0
KILOBYTES = 300
REQUESTS = 200
MEGABYTES_MORE = 50


class Table(TaskOnKart[pd.DataFrame]):
    rows: int = IntParameter()

    def output(self) -> Any:
        return self.make_target("tables/table.parquet")

    def run(self) -> None:
        self.dump(pd.DataFrame({f"column {number}": range(self.rows) for number in range(20)}))


def memory() -> float:
    """Return the present size of this process, in megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def store(dag: Any) -> None:
    """Write a DAG to Airflow's database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    dag.relative_fileloc = f"{dag.dag_id}.py"
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.commit()
        made = LazyDeserializedDAG.from_dag(dag)
        update_dag_parsing_results_in_db("dags-folder", None, [made], {}, None, set(), session=session)


def main() -> int:
    """Measure, print, and return the exit code."""
    with temporary_directory() as directory:
        home = Path(directory)
        (home / "dags").mkdir()
        os.environ.update(environment(home, AIRFLOW__CORE__AUTH_MANAGER="harness.pages.ByDag"))
        with_database(home)
        workspace = Workspace(str(home / "ws"))
        bench_catalogue.DAYS = 1_000
        bench_catalogue.fill(workspace.directory)
        with workspace:
            build(Table(rows=100_000))
        from harness.pages import Pages  # Airflow reads its environment when it is first imported
        from pytest import MonkeyPatch

        from airflow_kart import KartDag

        store(KartDag("search", Table(rows=100_000), schedule=None, workspace=workspace))
        with MonkeyPatch.context() as patch:
            reader = Pages(patch).of("reader")
            one, other = (workspace.artifacts(name).latest().unique_id for name in ("Table", "Train"))
            addresses = {
                "search, all": "/kart/",
                "search, one class and a value": "/kart/?q=class:Train+depth=3",
                "search, a word": "/kart/?q=train+day=77",
                "search, no hit": "/kart/?q=nothing",
                "artifact, a table": f"/kart/artifacts/{one}",
                "artifact, a pickle": f"/kart/artifacts/{other}",
            }
            time.sleep(11)  # a folder that has just changed is listed
            found: dict[str, list[tuple[float, float]]] = {}
            for _ in range(ROUNDS + 1):  # the first one warms up
                for name, address in addresses.items():
                    began = time.perf_counter()
                    answer = reader.get(address)
                    assert answer.status_code == 200, answer.text
                    found.setdefault(name, []).append((time.perf_counter() - began, len(answer.content) / 1000))
            before = memory()
            for number in range(REQUESTS):
                reader.get(list(addresses.values())[number % len(addresses)])
            after = memory()
    medians = {name: tuple(map(statistics.median, zip(*rounds[1:], strict=True))) for name, rounds in found.items()}
    print_table(("10,000 artifacts", "s", "kB"), [(name, *numbers) for name, numbers in medians.items()])
    print(f"{before:.0f} MB before, {after:.0f} MB after {REQUESTS} requests")
    budgets = [Budget(f"memory after {REQUESTS} requests", after - before, MEGABYTES_MORE, " MB")]
    for name, (seconds, size) in medians.items():
        budgets.append(Budget(name, seconds, SEARCH_AT_MOST if "search" in name else PREVIEW_AT_MOST, " s"))
        budgets.append(Budget(f"{name}, size", size, KILOBYTES, " kB"))
    return verdict(budgets)


if __name__ == "__main__":
    sys.exit(main())
