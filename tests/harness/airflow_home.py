"""An AIRFLOW_HOME of a test's own, for Airflow's command line in processes of its own."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

__all__ = ["airflow_program", "environment", "with_database"]


def airflow_program() -> str:
    """Return the path of Airflow's command line."""
    return str(Path(sys.executable).parent / "airflow")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return what a process has to know, and nothing of what Airflow is configured to outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def with_database(home: Path) -> Path:
    """Give an AIRFLOW_HOME its database: a copy of one that this machine has migrated before, else of a new one."""
    migrated = Path(tempfile.gettempdir()) / f"kart-migrated-{version('apache-airflow')}-{os.getuid()}.db"
    if not migrated.exists():
        with tempfile.TemporaryDirectory(prefix="kart-migrated-") as folder:
            command = [airflow_program(), "db", "migrate"]
            done = subprocess.run(
                command, env=environment(Path(folder)), capture_output=True, text=True, timeout=240, check=False
            )
            assert done.returncode == 0, done.stderr
            # The database is in WAL mode: a copy of the file alone would miss what is in the log.
            whole = Path(folder) / "whole.db"
            source, copy = sqlite3.connect(Path(folder) / "airflow.db"), sqlite3.connect(whole)
            source.backup(copy)
            source.close()
            copy.close()
            shutil.copy(whole, migrated.with_suffix(f".{os.getpid()}"))
            migrated.with_suffix(f".{os.getpid()}").rename(migrated)  # another process may be at it too
    shutil.copy(migrated, home / "airflow.db")
    return home
