"""What the level of real services shares: one service of each kind, connections to it, and a place for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import gcs_server, s3_server
from harness.loops import Loops

from airflow_kart.storage import BucketStore, GCSStore, S3Store
from airflow_kart.storage.buckets.faults import Retries

BUCKET = "kart"


@dataclass(frozen=True)
class Kind:
    """A kind of service that is running, and how to come to a store of it."""

    name: str
    address: str
    base: str
    """A uri below which a test may do what it likes."""
    patch: pytest.MonkeyPatch

    def store(self, address: str | None = None, retries: int | None = None, account: bool = False) -> BucketStore:
        """Return a store that reaches the service at an address, such as a proxy's, with a connection of its own.

        With ``account`` it has credentials, for which Google's token is to be got at the same address.
        """
        found, conn_id = address or self.address, f"kart_{uuid.uuid4().hex[:8]}"
        tries = Retries(retries) if retries is not None else None
        if self.name == "s3":
            self.patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", s3_server.s3_connection(found))
            return S3Store(conn_id, tries)
        self.patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", gcs_server.gcs_connection(found if account else None))
        self.patch.setenv("STORAGE_EMULATOR_HOST", found)
        store = GCSStore(conn_id, tries)
        assert store.service.who  # makes the session, which keeps the address
        return store


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
