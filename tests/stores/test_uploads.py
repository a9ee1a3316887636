"""The command line, with real services."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.bucket_kind import Kind
from harness.loopback import free_port
from harness.store_conformance import MB

from airflow_kart.cli.main import main
from airflow_kart.storage import BucketStore

Run = Callable[..., tuple[str, str]]
LOGGED = re.compile(r"^\S+Z \[info .*\n", re.MULTILINE)
"""What Airflow has logged in this process before, it goes on logging; a process of its own keeps quiet."""


@pytest.fixture
def store(kind: Kind) -> BucketStore:
    return kind.store()


@pytest.fixture
def connection(kind: Kind, store: Any) -> list[str]:
    """The option that names the connection to the service."""
    return ["--aws-conn-id", store.aws_conn_id] if kind.name == "s3" else ["--gcp-conn-id", store.gcp_conn_id]


@pytest.fixture
def run(connection: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; give what it wrote to its output and beside it."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")  # which a command sets for its process

    def uploads(*words: str) -> tuple[str, str]:
        main(["uploads", *words, *connection])
        written = capsys.readouterr()
        return LOGGED.sub("", written.out), written.err

    return uploads


def begin(store: BucketStore, *uris: str) -> list[Any]:
    begun = []
    for uri in uris:
        upload = store.upload(uri)
        upload.write(os.urandom(9 * MB))
        upload.finish()
        begun.append(upload)
    return begun


def test_uploads_are_listed(kind: Kind, store: BucketStore, run: Run) -> None:
    uris = [f"{kind.base}/ws/b.bin", f"{kind.base}/ws/deeper/a.bin"]
    before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=5)
    held = begin(store, *uris, f"{kind.base}/ws2/elsewhere.bin")
    rows = json.loads(run(f"{kind.base}/ws", "-o", "json")[0])
    assert sorted(row["uri"] for row in rows) == uris
    assert [sorted(row) for row in rows] == [["age", "begun", "uri"]] * 2
    begun = [dt.datetime.fromisoformat(row["begun"]) for row in rows]
    assert before < begun[0] <= begun[1] < before + dt.timedelta(minutes=2)
    assert all(row["age"].endswith("s") for row in rows)
    assert len(json.loads(run(f"{kind.base}/ws/", "-o", "json")[0])) == 2
    assert yaml.safe_load(run(f"{kind.base}/ws", "--output", "yaml")[0])[0]["begun"] == rows[0]["begun"]
    assert uris[0] in run(f"{kind.base}/ws", "--output", "plain")[0]
    assert uris[1] in run(f"{kind.base}/ws")[0]
    assert json.loads(run(f"{kind.base}/ws", "--older-than", "1h", "-o", "json")[0]) == []
    for upload in held:
        upload.publish()
    assert run(f"{kind.base}/ws") == ("", "nothing found\n")


def test_uploads_are_given_up(kind: Kind, store: BucketStore, run: Run) -> None:
    directory = f"{kind.base}/ws"
    held = begin(store, f"{directory}/a.bin", f"{directory}/b.bin", f"{kind.base}/ws2/c.bin")
    time.sleep(0.1)
    assert run(directory, "--abort") == (f"aborted 0 uploads begun more than 1d ago in {directory}/\n", "")
    assert run(directory, "--abort", "--older-than", "1h")[0].startswith("aborted 0 uploads begun more than 1h ago")
    assert (
        run(directory, "--abort", "--older-than", "0s")[0] == f"aborted 2 uploads begun more than 0s ago in {directory}/\n"
    )
    with pytest.raises(Exception, match="its parts are gone"):
        held[0].publish()
    held[2].publish()
    assert store.stat(f"{kind.base}/ws2/c.bin") is not None


def test_the_configured_workspace_is_looked_through(
    kind: Kind, store: BucketStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = begin(store, f"{kind.base}/a.bin")
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", kind.base)
    assert [row["uri"] for row in json.loads(run("-o", "json")[0])] == [f"{kind.base}/a.bin"]
    assert held[0].publish()


def test_failures_are_told_in_a_line(kind: Kind, run: Run, connection: list[str]) -> None:
    scheme = kind.base.partition("://")[0]
    with pytest.raises(SystemExit, match=f"could not list {scheme}://nowhere/ws/: there is no bucket nowhere; create it"):
        run(f"{scheme}://nowhere/ws")
    with pytest.raises(SystemExit, match="there is no connection 'misspelled': add it"):
        main(["uploads", kind.base, connection[0], "misspelled"])


@pytest.mark.parametrize("kind", ["s3"], indirect=True)
def test_a_uri_may_name_the_connection(kind: Kind, store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    held = begin(store, f"{kind.base}/a.bin")
    named = kind.base.replace("://", f"://{store.aws_conn_id}@")
    main(["uploads", named, "-o", "plain"])
    assert f"{named}/a.bin" in capsys.readouterr().out
    main(["uploads", named, "--abort", "--older-than", "0s"])
    with pytest.raises(Exception, match="its parts are gone"):
        held[0].publish()


@pytest.mark.parametrize("kind", ["s3"], indirect=True)
def test_the_program(kind: Kind, store: BucketStore, connection: list[str]) -> None:
    """As it is installed: exit codes, and what goes where."""
    program = Path(sys.executable).with_name("airflow-kart")
    held = begin(store, f"{kind.base}/a.bin")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, "uploads", *words, *connection], capture_output=True, text=True, check=False)

    listed = run(kind.base, "-o", "json")
    assert [row["uri"] for row in json.loads(listed.stdout)] == [f"{kind.base}/a.bin"]
    assert listed.returncode == 0
    refused = run("s3://nowhere/ws")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("could not list s3://nowhere/ws/: there is no bucket nowhere")
    assert held[0].publish()


def test_a_service_that_is_not_there_is_named(kind: Kind, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__STORAGE_RETRIES", "0")
    address = f"http://127.0.0.1:{free_port()}"
    gone: Any = kind.store(address)
    option = ["--aws-conn-id", gone.aws_conn_id] if kind.name == "s3" else ["--gcp-conn-id", gone.gcp_conn_id]
    with pytest.raises(SystemExit, match=f"could not list {kind.base}/: .*trying again did not help .*{address}"):
        main(["uploads", kind.base, *option])
