"""Stand-ins for what Airflow gives an operator, where no run is wanted."""

from __future__ import annotations

import datetime as dt
from typing import Any

__all__ = ["DagRunStandIn", "Ti", "context"]


class Ti:
    """A task instance whose run has no other."""

    dag_id, run_id, task_id, map_index, try_number = "stand_in", "r", "window", -1, 1

    def get_task_states(self, **_asked: Any) -> dict[str, Any]:
        return {}

    def get_ti_count(self, **_asked: Any) -> int:
        return 0

    def xcom_pull(self, **_asked: Any) -> None:
        return None

    def xcom_push(self, **_pushed: Any) -> None:
        return None


class DagRunStandIn:
    """A run of a day."""

    logical_date = run_after = start_date = dt.datetime(2024, 5, 6, tzinfo=dt.timezone.utc)
    data_interval_start = data_interval_end = None
    run_type = "manual"
    conf: dict[str, Any] | None = None


def context(**params: Any) -> dict[str, Any]:
    """Return the context of an operator."""
    return {"ti": Ti(), "dag_run": DagRunStandIn(), "params": params}
