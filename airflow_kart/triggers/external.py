"""The trigger that waits for artifacts of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow_kart import settings
from airflow_kart.storage.workspace import Workspace
from airflow_kart.triggers.deferral import SHORTEST_DEFERRAL, BaseTrigger, TriggerEvent, in_thread, workspace_of_trigger

__all__ = ["ExternalArtifactTrigger"]


class ExternalArtifactTrigger(BaseTrigger):
    """Fires when all objects exist.

    Args:
        uris: the objects.
        poll_seconds: seconds between two looks.
        workspace: whose connections reach the objects: a :class:`~airflow_kart.Workspace`, or its fields as JSON; by default
            those of ``[kart]``.
        aws_conn_id: the connection for S3, in arguments that an earlier version wrote.
        gcp_conn_id: the connection for Google Cloud Storage, likewise.
    """

    def __init__(
        self,
        uris: Sequence[str],
        poll_seconds: float,
        workspace: Workspace | Mapping[str, object] | None = None,
        *,
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
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
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until all objects exist."""
        await asyncio.sleep(SHORTEST_DEFERRAL)
        while absent := [uri for uri in self.uris if not await in_thread(self._is_there, uri)]:
            self.log.info("Still missing: %s", ", ".join(absent))
            await asyncio.sleep(self.poll_seconds)
        yield TriggerEvent({"uris": self.uris})  # type: ignore[no-untyped-call]  # as above

    def _is_there(self, uri: str) -> bool:
        return self.workspace.store_of(uri).stat(uri) is not None
