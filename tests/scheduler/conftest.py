"""One Airflow for all tests of this level."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.airflow_server import AirflowServer
from harness.postgres import postgres

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "example_dags"


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    home = tmp_path_factory.mktemp("airflow")
    with postgres() as database:
        server = AirflowServer(home, database, {"KART_TEST_LEDGER": str(home / "ledger")})
        for file in [*HERE.glob("dags/*.py"), EXAMPLES / "flight_delays.py"]:
            shutil.copy(file, server.dags)
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
