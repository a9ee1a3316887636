"""The trigger that waits for artifacts of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_kart import settings
from airflow_kart.storage.workspace import Workspace
from airflow_kart.triggers.deferral import WaitTrigger, workspace_of_trigger

__all__ = ["ExternalArtifactTrigger"]


class ExternalArtifactTrigger(WaitTrigger):
    """Fires when all objects exist.

    Args:
        uris: the objects.
        poll_seconds: seconds between two looks.
        workspace: whose connections reach the objects: a :class:`~airflow_kart.Workspace`, or its fields as JSON; by default
            those of ``[kart]``.
        until: as for every trigger here.
        aws_conn_id: the connection for S3, in arguments that an earlier version wrote.
        gcp_conn_id: the connection for Google Cloud Storage, likewise.
    """

    def __init__(
        self,
        uris: Sequence[str],
        poll_seconds: float,
        workspace: Workspace | Mapping[str, object] | None = None,
        until: float | None = None,
        *,
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
    ) -> None:
        super().__init__(until)
        self.uris = list(uris)
        self.poll_seconds = poll_seconds
        earlier = {"directory": settings.workspace_directory(), "aws_conn_id": aws_conn_id, "gcp_conn_id": gcp_conn_id}
        self.workspace = workspace_of_trigger(earlier if workspace is None else workspace)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, for the triggerer's process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "uris": self.uris,
            "poll_seconds": self.poll_seconds,
            "workspace": self.workspace.as_written(),
            "until": self.until,
        }

    def look(self) -> dict[str, Any] | None:
        """Look for the objects."""
        absent = self._absent()
        if absent:
            self.log.info("Still missing: %s", ", ".join(absent))
            return None
        return self.event(uris=self.uris)

    def pause(self) -> float:
        """Return the external task's own."""
        return self.poll_seconds

    def waits_for(self) -> str:
        """Return the missing objects."""
        return f"for what is made elsewhere, {', '.join(self._absent())}"

    def _absent(self) -> list[str]:
        return [uri for uri in self.uris if self.workspace.store_of(uri).stat(uri) is None]
