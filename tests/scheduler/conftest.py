"""One Airflow for the tests of this level, beside those that need one of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import gcs_server, s3_server
from harness.airflow_server import AirflowServer
from harness.checkout import pytest_sessionfinish, pytest_sessionstart, pytest_terminal_summary  # noqa: F401
from harness.flagship import flagship
from harness.postgres import postgres
from xdist.scheduler import LoadScopeScheduling

HERE = Path(__file__).parent
PRELOAD = """
import contextlib
import sys

if "scheduler" in sys.argv:  # whose forks the tasks are: else each of hundreds imports them again
    with contextlib.suppress(ImportError):  # an earlier Airflow's environment has not all of them
        import airflow.providers.amazon.aws.hooks.s3
        import airflow.providers.google.cloud.hooks.gcs
    import airflow.sdk.execution_time.task_runner
    import airflow_kart.operators.plan, airflow_kart.operators.report, airflow_kart.operators.task
    import pandas
    import sklearn.ensemble
"""


class _TwoSets(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives one process the tests of this Airflow, and another those of the files that start one for themselves."""

    def _split_scope(self, nodeid: str) -> str:
        return "own" if any(name in nodeid for name in ("test_canary.py", "test_single_flight.py")) else "shared"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _TwoSets(config, log)


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    home = tmp_path_factory.mktemp("airflow")
    with postgres() as database, s3_server.s3_server() as s3, gcs_server.gcs_server() as gcs:
        s3_server.make_bucket(s3, "kart")
        gcs_server.make_bucket(gcs, "kart")
        environment = {
            "KART_TEST_LEDGER": str(home / "ledger"),
            "AIRFLOW_CONN_KART_S3": s3_server.s3_connection(s3),
            "AIRFLOW_CONN_KART_GCS": gcs_server.gcs_connection(),
            "STORAGE_EMULATOR_HOST": gcs,
            "AIRFLOW__CORE__AUTH_MANAGER": "harness.pages.ByDag",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,only-hostile:viewer",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH")))),
        }
        server = AirflowServer(home, database, environment, triggerer=True)  # a task that waits is deferred
        (home / "config").mkdir()
        (home / "config" / "airflow_local_settings.py").write_text(PRELOAD)
        for file in HERE.glob("dags/*.py"):
            shutil.copy(file, server.dags)
        example = flagship()
        (server.dags / "flight_delays.py").write_text(example)
        for scheme in ("s3", "gs"):
            where = f'workspace=Workspace("{scheme}://kart/flights", aws_conn_id="kart_s3", gcp_conn_id="kart_gcs")'
            text = example.replace('dag_id="flight_delays"', f'dag_id="flight_delays_{scheme}", {where}')
            text = text.replace("from airflow_kart import (", "from airflow_kart import (\n    Workspace,")
            (server.dags / f"flight_delays_{scheme}.py").write_text(text)
        try:
            server.start()
            yield server
        finally:
            server.stop()


class Ledger:
    """What ran since it was last asked."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0

    def new_entries(self) -> list[str]:
        entries = self._file.read_text().split() if self._file.exists() else []
        new, self._read = entries[self._read :], len(entries)
        return sorted(new)


@pytest.fixture(scope="session")
def ledger(airflow: AirflowServer) -> Ledger:
    return Ledger(airflow.home / "ledger")
