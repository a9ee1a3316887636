"""The commands under ``airflow``, with a connection that is kept in the metadata database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import __version__
from harness import s3_server

PROGRAMS = {
    "airflow": [sys.executable, "-m", "airflow", "kart"],
    "airflow-kart": [str(Path(sys.executable).with_name("airflow-kart"))],
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3_server.s3_server() as address:
        s3_server.make_bucket(address, "kart")
        yield address


@pytest.fixture(params=list(PROGRAMS))
def program(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "airflow" and tuple(map(int, __version__.split(".")[:2])) < (3, 2):
        pytest.skip("Airflow takes commands from providers from 3.2 on")
    return PROGRAMS[request.param]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_connection_of_the_database_is_used(program: list[str], address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session

    from airflow_kart.storage import S3Store

    name = f"kept_{len(program)}"
    with create_session() as session:
        session.add(Connection(conn_id=name, **json.loads(s3_server.s3_connection(address))))
    monkeypatch.setenv("AIRFLOW_CONN_HERE", s3_server.s3_connection(address))
    uri = f"s3://kart/{name}/ws/large.bin"
    upload = S3Store("here").upload(uri)
    upload.write(bytes(9 << 20))
    upload.finish()
    directory = uri.rpartition("/")[0]
    listed = run(*program, "uploads", directory, "--aws-conn-id", name, "-o", "json")
    assert listed.returncode == 0, listed.stderr
    assert [row["uri"] for row in json.loads(listed.stdout)] == [uri]
    refused = run(*program, "uploads", directory, "--aws-conn-id", "misspelled")
    assert refused.returncode == 1
    assert "there is no connection 'misspelled': add it under Admin > Connections" in refused.stderr
    assert "Traceback" not in refused.stderr
    given_up = run(*program, "uploads", directory, "--aws-conn-id", name, "--older-than", "0s", "--abort")
    assert given_up.stdout == f"aborted 1 upload begun more than 0s ago in {directory}/\n"
    with pytest.raises(Exception, match="its parts are gone"):
        upload.publish()


def test_help_is_given(program: list[str]) -> None:
    shown = run(*program, "uploads", "--help")
    assert shown.returncode == 0
    assert all(option in shown.stdout for option in ("DIRECTORY", "--older-than", "--abort", "--aws-conn-id", "--output"))
