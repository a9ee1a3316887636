"""The pages of a DAG run of 1,000 tasks: seconds and bytes of each, and the memory of the API server's process over 200 requests.

Run by hand: ``python tests/benchmarks/bench_pages.py [tasks]``.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HOME = Path(tempfile.mkdtemp(prefix="kart-bench-pages-"))
(HOME / "dags").mkdir()
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__KART__WORKSPACE_DIRECTORY=str(HOME / "workspace"),
    AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
)
sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest  # noqa: E402 - Airflow reads the environment when it is imported
from harness.airflow_home import with_database  # noqa: E402

from airflow_kart import IntParameter, KartDag, TaskOnKart, build  # noqa: E402

TASKS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


class Leaf(TaskOnKart[int]):
    number: int = IntParameter()

    def run(self) -> None:
        self.dump(self.number)


class Root(TaskOnKart[int]):
    def requires(self) -> Any:
        return [Leaf(number=number) for number in range(TASKS - 1)]

    def run(self) -> None:
        self.dump(len(self.load()))


def resident() -> int:
    """Return the resident memory of this process in kB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Measure."""
    with_database(HOME)
    for number in range(TASKS - 1):
        build(Leaf(number=number))
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from harness.pages import Pages

    dag = KartDag("bench_pages", Root, schedule=None)
    dag.relative_fileloc = "bench_pages.py"
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
        session.commit()
        update_dag_parsing_results_in_db(
            "dags-folder", None, [LazyDeserializedDAG.from_dag(dag)], {}, None, set(), session=session
        )
    run = dag.test()
    with pytest.MonkeyPatch.context() as patch:
        client = Pages(patch).of("ann")
        address = f"/kart/dags/bench_pages/runs/{run.run_id}"
        root = next(one for one in dag.task_ids if one.startswith("root"))
        pages = {"run": address, "DAG": "/kart/dags/bench_pages"}
        pages |= {
            more: f"{address}{more}"
            for more in ("?outcome=cached&number=2", "/compare", "/why", f"/tasks/{root}", f"/tasks/{root}/why")
        }
        for name, page in pages.items():
            seconds = []
            for _ in range(10):
                started = time.perf_counter()
                answer = client.get(page)
                seconds.append(time.perf_counter() - started)
            first, usual = seconds[0], statistics.median(seconds)
            print(f"{answer.status_code} {name:30} first {first:.3f} s, then {usual:.3f} s, {len(answer.content):,} bytes")
        before = resident()
        for _ in range(200):
            client.get(address)
        print(f"memory: {before:,} kB before 200 requests, {resident():,} kB after")


if __name__ == "__main__":
    main()
