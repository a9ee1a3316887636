"""A PostgreSQL server on loopback, for tests whose writers SQLite cannot keep apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.loopback import free_port

__all__ = ["dump_of", "postgres"]

_SERVER_USER = "postgres"


@contextmanager
def postgres(log_file: Path | None = None) -> Iterator[str]:
    """Start a server with an empty database in a directory of its own; give the address, without the driver."""
    programs = _programs()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="kart-postgres-", ignore_cleanup_errors=True) as directory:
        data = Path(directory, "data")
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            shutil.chown(directory, _SERVER_USER)
        initdb = [str(programs / "initdb"), "--pgdata", str(data), "--auth", "trust", "--username", "kart", "--no-sync"]
        subprocess.run(_unprivileged(initdb), check=True, capture_output=True, cwd="/")
        # Durability is for data that outlives the test.
        options = ["-c", "fsync=off", "-c", f"unix_socket_directories={directory}", "-c", "max_connections=200"]
        command = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), *options]
        with (log_file or Path(directory, "log")).open("wb") as log:
            server = subprocess.Popen(_unprivileged(command), stdout=log, stderr=log, cwd="/")
        try:
            _create_database(programs, port)
            yield f"kart@127.0.0.1:{port}/airflow"
        finally:
            server.terminate()
            server.wait(30)


def dump_of(database: str) -> bytes:
    """Return all tables of a database, as text."""
    command = [str(_programs() / "pg_dump"), f"postgresql://{database}"]
    return subprocess.run(command, check=True, capture_output=True, cwd="/").stdout


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise AssertionError("PostgreSQL is not installed; `make test` installs it, or: apt-get install postgresql")
    return found[-1].parent


def _unprivileged(command: list[str]) -> list[str]:
    return (
        ["setpriv", f"--reuid={_SERVER_USER}", f"--regid={_SERVER_USER}", "--clear-groups", *command]
        if os.geteuid() == 0
        else command
    )


def _create_database(programs: Path, port: int) -> None:
    command = [str(programs / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "kart", "airflow"]
    deadline = time.monotonic() + 30
    while subprocess.run(command, check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise AssertionError("PostgreSQL did not start")
        time.sleep(0.2)
