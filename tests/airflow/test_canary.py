"""No secret is found anywhere after runs with `airflow dags test`, and with build(workers=2)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness.airflow_home import airflow_program, environment, with_database
from harness.canary import DAGS, SECRETS, command_lines, environment_of, hits, texts_below

WAITS = "Waiting for what is made elsewhere"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An Airflow whose temporary files are its own, in which everything has run."""
    home = with_database(tmp_path_factory.mktemp("canary"))
    for folder in ("dags", "temporary", "output"):
        (home / folder).mkdir()
    (home / "dags" / "canary.py").write_text(DAGS)
    surroundings = environment(home, TMPDIR=str(home / "temporary"), **environment_of(SECRETS))

    def run(name: str, *command: str, **more: str) -> None:
        with (home / "output" / name).open("wb") as out, (home / "output" / f"{name} stderr").open("wb") as errors:
            subprocess.run(
                command, env={**surroundings, **more}, cwd=home, stdout=out, stderr=errors, timeout=300, check=False
            )

    def deliver() -> None:
        """Deliver the file that a run waits for, once it does."""
        while not ended.wait(0.1) and not any(WAITS in file.read_text() for file in home.glob("output/bound*")):
            pass
        (home / "retries.txt").write_text("there")

    ended = threading.Event()
    with contextlib.ExitStack() as ending:
        lines = ending.enter_context(command_lines(home))
        for mode in ("works", "fails"):
            (home / f"{mode}.txt").write_text("there")
        later = threading.Thread(target=deliver)
        later.start()
        ending.callback(later.join)
        ending.callback(ended.set)
        run("bound", airflow_program(), "dags", "test", "canary_bound_retries")
        run("again", airflow_program(), "dags", "test", "canary_works", "--conf", json.dumps({"kart_rerun": ["*"]}))
        run("fails", airflow_program(), "dags", "test", "canary_fails")
        run("build", sys.executable, str(home / "dags" / "canary.py"), "works", "fails", CANARY_SCRIPT="1")
    (home / "output" / "command lines").write_bytes(b"\n".join(line for _, line in sorted(lines)))
    return home


def dump(home: Path) -> bytes:
    connection = sqlite3.connect(home / "airflow.db")
    try:
        return "\n".join(connection.iterdump()).encode()
    finally:
        connection.close()


def test_everything_ran(home):
    outputs = {path.name: path.read_text() for path in (home / "output").iterdir()}
    for name, words in (
        ("bound", WAITS),
        ("bound", "Report: "),
        ("again", "Report: 3 ran"),
        ("fails", "no access"),
        ("build", "failed: RuntimeError"),
        ("command lines", "canary_bound_retries"),
    ):
        assert words in outputs[name], outputs[name][-3000:]
    assert (home / "tried-retries").exists()
    holders = [json.loads(file.read_text()) for file in (home / "kart_workspace").rglob("Holder_*.kart.json")]
    assert {holder["task"]["parameters"]["mode"]["value"] for holder in holders} == {"retries", "works"}
    for holder in holders:
        assert any("uses ***" in line for line in holder["log_tail"])
        assert holder["task_log"]["password"] == "***"
        assert "***" in holder["artifact"]["labels"]
    assert "canary_bound_retries" in dump(home).decode()


def test_no_secret_is_found(home):
    found = hits(SECRETS, [("database", dump(home)), *texts_below(home)])
    assert found == []


def test_the_search_finds_secrets(tmp_path):
    for number, text in enumerate([SECRETS["default"], repr(SECRETS["unicode"]), json.dumps({"a": SECRETS["upstream"]})]):
        (tmp_path / f"{number}.txt").write_text(text)
    assert len(hits(SECRETS, texts_below(tmp_path))) == 3
