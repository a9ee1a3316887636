"""The trigger that waits for another run to make a task."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Any

from airflow_kart import settings
from airflow_kart.artifacts.staged import sidecar_version
from airflow_kart.exceptions import KartError
from airflow_kart.locks import LockWatch, Taken, locks_for
from airflow_kart.runtime.single_flight import timeout_message
from airflow_kart.storage.workspace import Workspace
from airflow_kart.triggers.deferral import SHORTEST_DEFERRAL, BaseTrigger, TriggerEvent, in_thread, workspace_of_trigger

__all__ = ["LockTrigger"]

_POLL_SECONDS = 1.0
_REMOTE_POLL_SECONDS = 4.0  # where looking is a request to a bucket
_FAILURES_SURVIVED = 60.0


class LockTrigger(BaseTrigger):
    """Fires when a task's lock is free, its holder is dead, or its artifact has changed.

    Args:
        task: the task, as ``repr()`` writes it.
        unique_id: the task's unique id, which names the lock.
        sidecars: the version of each artifact's sidecar, by the artifact's uri.
        since: the start of the wait (Unix time).
        workspace: the workspace of the artifacts and of the lock: a :class:`~airflow_kart.Workspace`, or its fields as JSON.
        workspace_directory: the workspace's directory, in arguments that an earlier version wrote.
        earlier: the workspace's other fields, likewise.
    """

    def __init__(
        self,
        *,
        task: str,
        unique_id: str,
        sidecars: Mapping[str, str | None],
        since: float,
        workspace: Workspace | Mapping[str, object] | None = None,
        workspace_directory: str | None = None,
        **earlier: str | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not annotated
        self.task_name = task
        self.unique_id = unique_id
        self.sidecars = dict(sidecars)
        self.since = since
        self.workspace = workspace_of_trigger(
            {"directory": workspace_directory, **earlier} if workspace is None else workspace
        )
        self._watch: LockWatch | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, for the triggerer's process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "task": self.task_name,
            "unique_id": self.unique_id,
            "sidecars": self.sidecars,
            "since": self.since,
            "workspace": self.workspace.as_written(),
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the operator has a reason to go on.

        After a minute of failed looks the operator goes on too. It logs the error, or waits again.
        """
        taken, trouble, began = Taken(None), "", time.monotonic()
        reached = began
        while True:
            reason = failed = ""
            try:
                reason, taken = await in_thread(self._look, taken)
            except KartError as error:
                if not trouble:
                    self.log.warning("Cannot look up the lock of %s; looking again: %s", self.task_name, error)
                trouble = str(error)
                if time.monotonic() - reached > _FAILURES_SURVIVED:
                    reason = f"nobody could look up the lock's holder ({trouble})"
            else:
                trouble, reached = "", time.monotonic()
            waited = time.time() - self.since
            if not reason and waited > settings.kart_int("lock_timeout"):
                failed = timeout_message(self.task_name, waited, taken)
            if (reason or failed) and time.monotonic() - began >= SHORTEST_DEFERRAL:
                dead = self._watch.dead if self._watch is not None else None
                event = {
                    "unique_id": self.unique_id,
                    "since": self.since,
                    "reason": reason,
                    "failed": failed,
                    "dead": {key: value for key, value in asdict(dead).items() if key != "holder"} if dead else None,
                }
                yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # as above
                return
            await asyncio.sleep(
                (_POLL_SECONDS if taken.time_to_live is None else _REMOTE_POLL_SECONDS) * random.uniform(0.75, 1.25)
            )

    def _look(self, before: Taken) -> tuple[str, Taken]:
        """Return the reason to go on, empty if there is none, and the lock's holder at this look, else at the last one."""
        if self._watch is None:
            self._watch = LockWatch(locks_for(self.workspace), self.unique_id)
        found = self._watch.look()
        if found is None:
            return "the other run has died" if self._watch.dead is not None else "the other run has ended", before
        return "the other run has published" if self._changed() else "", found

    def _changed(self) -> bool:
        return any(sidecar_version(self.workspace.store_of(uri), uri) != version for uri, version in self.sidecars.items())
