"""An AIRFLOW_HOME of a test's own, for Airflow's command line in processes of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["airflow_program", "environment"]


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
