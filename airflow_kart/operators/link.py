"""The link from a task instance's page to its artifact: to the tab *Kart*.

Airflow's database holds the address of this class. A link knows neither task nor artifact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class KartArtifactLink(BaseOperatorLink):
    """Leads to the task instance's page of Kart: the outcome, the reason, the artifact."""

    @property
    def name(self) -> str:
        """The text on the button."""
        return "Kart artifact"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the link, relative to the UI's own address."""
        path = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
        dag_id, run_id, task_id = (quote(part, safe="") for part in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        mapped = f"/mapped/{ti_key.map_index}" if ti_key.map_index >= 0 else ""
        return f"{path}/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/plugin/kart_task"
