"""What the level of real services shares: one service of each kind, connections to it, and a place for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import gcs_server, s3_server
from harness.bucket_kind import BUCKET, Kind
from harness.checkout import pytest_sessionfinish, pytest_sessionstart, pytest_terminal_summary  # noqa: F401
from harness.loops import Loops


@pytest.fixture(scope="session", autouse=True)
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Leave out whatever Airflow is configured to outside, before it is first imported."""
    home = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AIRFLOW", "AWS", "GOOGLE", "STORAGE_"))]:
            patch.delenv(name)
        patch.setenv("AIRFLOW_HOME", str(home))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        yield home


@pytest.fixture(scope="session")
def addresses(airflow_home: Path) -> Iterator[Callable[[str], str]]:
    """Give the address of a kind of service, which is started when it is first asked for and has a bucket."""
    import contextlib

    found: dict[str, str] = {}
    with contextlib.ExitStack() as running:

        def address(name: str) -> str:
            if name not in found:
                server = s3_server.s3_server() if name == "s3" else gcs_server.gcs_server()
                found[name] = running.enter_context(server)
                (s3_server if name == "s3" else gcs_server).make_bucket(found[name], BUCKET)
            return found[name]

        yield address


@pytest.fixture(params=["s3", "gcs"])
def kind(request: pytest.FixtureRequest, addresses: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Each kind of service in turn."""
    scheme = {"s3": "s3", "gcs": "gs"}[request.param]
    return Kind(request.param, addresses(request.param), f"{scheme}://{BUCKET}/{uuid.uuid4().hex}", monkeypatch)


@pytest.fixture
def loops() -> type[Loops]:
    return Loops
