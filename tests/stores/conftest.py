"""What the level of real services shares: one service of each kind, connections to it, and a place for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import gcs_server, s3_server
from harness.loops import Loops

from airflow_kart.storage import GCSStore, S3Store

BUCKET = "kart"


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
def s3_address(airflow_home: Path) -> Iterator[str]:
    """The address of an S3 service that has a bucket."""
    with s3_server.s3_server() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_KART_S3", s3_server.s3_connection(address))
        s3_server.make_bucket(address, BUCKET)
        yield address


@pytest.fixture
def s3(s3_address: str) -> S3Store:
    return S3Store("kart_s3")


@pytest.fixture
def s3_base() -> str:
    """A uri below which a test may do what it likes."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def gcs_address(airflow_home: Path) -> Iterator[str]:
    """The address of a Google Cloud Storage that has a bucket."""
    with gcs_server.gcs_server() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_KART_GCS", gcs_server.gcs_connection())
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        gcs_server.make_bucket(address, BUCKET)
        yield address


@pytest.fixture
def gcs(gcs_address: str) -> GCSStore:
    return GCSStore("kart_gcs")


@pytest.fixture
def gcs_base() -> str:
    """A uri below which a test may do what it likes."""
    return f"gs://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def loops() -> type[Loops]:
    return Loops
