"""No secret is found anywhere after runs with `airflow dags test`, and with build(workers=2)."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from harness.airflow_home import airflow_program, environment
from harness.canary import DAGS, SECRETS, environment_of, hits, texts_below


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An Airflow whose temporary files are its own, in which everything has run."""
    home = tmp_path_factory.mktemp("canary")
    for folder in ("dags", "temporary", "output"):
        (home / folder).mkdir()
    (home / "dags" / "canary.py").write_text(DAGS)
    surroundings = environment(home, TMPDIR=str(home / "temporary"), **environment_of(SECRETS))

    def run(name: str, *command: str) -> None:
        done = subprocess.run(command, env=surroundings, cwd=home, capture_output=True, timeout=300, check=False)
        (home / "output" / name).write_bytes(done.stdout + b"\n---\n" + done.stderr)

    run("migrate", airflow_program(), "db", "migrate")
    (home / "works.txt").write_text("there")
    (home / "fails.txt").write_text("there")
    (home / "retries.txt").write_text("there")
    run("reserialize", airflow_program(), "dags", "reserialize")
    for mode in ("works", "fails", "retries"):
        run(f"bound_{mode}", airflow_program(), "dags", "test", f"canary_bound_{mode}")
        run(mode, airflow_program(), "dags", "test", f"canary_{mode}")
    run("again", airflow_program(), "dags", "test", "canary_works", "--conf", json.dumps({"kart_rerun": "*"}))
    run("build", sys.executable, str(home / "dags" / "canary.py"), "fails")
    return home


def dump(home: Path) -> bytes:
    connection = sqlite3.connect(home / "airflow.db")
    try:
        return "\n".join(connection.iterdump()).encode()
    finally:
        connection.close()


def test_everything_ran(home):
    outputs = {path.name: path.read_text() for path in (home / "output").iterdir()}
    assert "canary_bound_works" in dump(home).decode()
    assert "Report: " in outputs["works"], outputs["works"][-3000:]
    assert "went wrong with" in outputs["works"], outputs["works"][-3000:]
    assert "no access with" in outputs["fails"], outputs["fails"][-3000:]
    assert "failed: RuntimeError" in outputs["build"], outputs["build"][-3000:]
    assert len(list((home / "kart_workspace").rglob("*.kart.json"))) >= 5


def test_no_secret_is_found(home):
    found = hits(SECRETS, [("database", dump(home)), *texts_below(home, Path(tempfile.gettempdir(), "no"))])
    assert found == []


def test_the_search_finds_secrets(tmp_path):
    for number, text in enumerate([SECRETS["default"], repr(SECRETS["unicode"]), json.dumps({"a": SECRETS["upstream"]})]):
        (tmp_path / f"{number}.txt").write_text(text)
    assert len(hits(SECRETS, texts_below(tmp_path))) == 3
