"""The health that Airflow's API server tells without a login: the scheduler's heartbeat, and whether a triggerer runs."""

from __future__ import annotations

import functools
import json
import sys
import time
import urllib.request
from typing import NamedTuple

from airflow_kart.settings import airflow_option

_SECONDS_FOR_AN_ANSWER = 5.0
_SECONDS_OF_ONE_ANSWER = 2.0


class Health(NamedTuple):
    """The state of Airflow's services."""

    heartbeat: str
    """The latest heartbeat of a scheduler (ISO 8601). A scheduler beats at the end of a round of its loop."""
    triggerer: bool
    """Whether a triggerer runs."""


def airflow_health() -> Health | None:
    """Return the health of Airflow's services, ``None`` where nobody answers. One request serves a process for two seconds."""
    return _health_in(int(time.monotonic() / _SECONDS_OF_ONE_ANSWER))


@functools.lru_cache(maxsize=2)
def _health_in(_period: int) -> Health | None:
    base = (airflow_option("core", "execution_api_server_url") or "").rstrip("/").removesuffix("/execution")
    base = base or airflow_option("api", "base_url") or ""
    if not base.startswith(("http://", "https://")):
        base = f"http://localhost:8080{base}"
    try:
        address = f"{base.rstrip('/')}/api/v2/monitor/health"
        with urllib.request.urlopen(address, timeout=_SECONDS_FOR_AN_ANSWER) as answer:  # noqa: S310 - http, as checked
            said = json.load(answer)
        return Health(str(said["scheduler"]["latest_scheduler_heartbeat"]), said["triggerer"]["status"] == "healthy")
    except (OSError, ValueError, LookupError, TypeError):
        return None


def runs_in_process() -> bool:
    """Whether ``airflow tasks test`` or ``dag.test()`` runs the task: with neither a scheduler nor a triggerer."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return type(getattr(runner, "SUPERVISOR_COMMS", None)).__name__ == "InProcessSupervisorComms"
