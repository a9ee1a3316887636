"""The trigger that waits for artifacts which are made elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_kart.storage import store_for
from airflow_kart.triggers.deferral import SHORTEST_DEFERRAL, in_thread

__all__ = ["ExternalArtifactTrigger"]


class ExternalArtifactTrigger(BaseTrigger):
    """Fires when all the objects are there.

    Args:
        uris: the objects.
        poll_seconds: how often it looks, in seconds.
        aws_conn_id: id of the Airflow connection for S3; by default ``[kart] aws_conn_id``.
        gcp_conn_id: id of the Airflow connection for Google Cloud Storage; by default ``[kart] gcp_conn_id``.
    """

    def __init__(
        self,
        uris: Sequence[str],
        poll_seconds: float,
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        self.uris = list(uris)
        self.poll_seconds = poll_seconds
        self.aws_conn_id = aws_conn_id
        self.gcp_conn_id = gcp_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, for the triggerer's process."""
        names = ("uris", "poll_seconds", "aws_conn_id", "gcp_conn_id")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until everything is there."""
        await asyncio.sleep(SHORTEST_DEFERRAL)
        while absent := [uri for uri in self.uris if not await in_thread(self._is_there, uri)]:
            self.log.info("Not there yet: %s", ", ".join(absent))
            await asyncio.sleep(self.poll_seconds)
        yield TriggerEvent({"uris": self.uris})  # type: ignore[no-untyped-call]  # as above

    def _is_there(self, uri: str) -> bool:
        return store_for(uri, aws_conn_id=self.aws_conn_id, gcp_conn_id=self.gcp_conn_id).stat(uri) is not None
