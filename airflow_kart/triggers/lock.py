"""The trigger that waits for another run to make a task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow_kart import settings
from airflow_kart.artifacts.staged import sidecar_version
from airflow_kart.exceptions import KartError
from airflow_kart.locks import LockWatch, Taken, locks_for
from airflow_kart.runtime.single_flight import timeout_message, whereabouts
from airflow_kart.storage.workspace import Workspace
from airflow_kart.triggers.deferral import WaitTrigger, varied, workspace_of_trigger

__all__ = ["LockTrigger"]

_POLL_SECONDS = 1.0
_REMOTE_POLL_SECONDS = 4.0  # where looking is a request to a bucket
_FAILURES_SURVIVED = 60.0


class LockTrigger(WaitTrigger):
    """Fires when a task's lock is free, its holder is dead, or its artifact has changed.

    Args:
        task: the task, as ``repr()`` writes it.
        unique_id: the task's unique id, which names the lock.
        sidecars: the version of each artifact's sidecar, by the artifact's uri.
        since: the start of the wait (Unix time).
        until: as for every trigger here.
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
        until: float | None = None,
        workspace: Workspace | Mapping[str, object] | None = None,
        workspace_directory: str | None = None,
        **earlier: str | None,
    ) -> None:
        super().__init__(until)
        self.task_name = task
        self.unique_id = unique_id
        self.sidecars = dict(sidecars)
        self.since = since
        self.workspace = workspace_of_trigger(
            {"directory": workspace_directory, **earlier} if workspace is None else workspace
        )
        self._watch: LockWatch | None = None
        self.taken = Taken(None)
        """The lock at the last look."""
        self._reached = time.monotonic()
        self._trouble = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, for the triggerer's process."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "task": self.task_name,
            "unique_id": self.unique_id,
            "sidecars": self.sidecars,
            "since": self.since,
            "until": self.until,
            "workspace": self.workspace.as_written(),
        }

    def look(self) -> dict[str, Any] | None:
        """Look at the lock, then at the artifacts.

        After a minute of failed looks the operator goes on too. It logs the error, or waits again.
        """
        reason = failed = ""
        try:
            reason = self._reason()
        except KartError as error:
            if not self._trouble:
                self.log.warning("Cannot look up the lock of %s; looking again: %s", self.task_name, error)
            self._trouble = str(error)
            if time.monotonic() - self._reached > _FAILURES_SURVIVED:
                reason = f"nobody could look up the lock's holder ({self._trouble})"
        else:
            self._trouble, self._reached = "", time.monotonic()
        waited = time.time() - self.since
        if not reason and waited > settings.kart_int("lock_timeout"):
            failed = timeout_message(self.task_name, waited, self.taken)
        return self.event(reason=reason, failed=failed) if reason or failed else None

    def glance(self) -> dict[str, Any] | None:
        """Look once; look on only while the holder may be dead, as for a time its lease has not been renewed."""
        first = None
        while (event := self.look()) is None and self.taken.silent:
            if first is None:
                first = self.taken.version
            if self.taken.version != first:
                break
            time.sleep(_POLL_SECONDS)
        return event

    def pause(self) -> float:
        """Return less where looking is no request to a bucket."""
        return varied(_POLL_SECONDS if self.taken.time_to_live is None else _REMOTE_POLL_SECONDS)

    def waits_for(self) -> str:
        """Return the lock holder."""
        return f"as {self.task_name} is being made by {whereabouts(self.taken)}"

    def event(self, **said: object) -> dict[str, Any]:
        """Return an event, with the lock of a dead holder."""
        dead = self._watch.dead if self._watch is not None else None
        return super().event(
            unique_id=self.unique_id,
            since=self.since,
            dead={key: value for key, value in dead._asdict().items() if key != "holder"} if dead else None,
            **{"reason": "", **said},
        )

    def _reason(self) -> str:
        """Return the reason to go on; empty if there is none."""
        if self._watch is None:
            self._watch = LockWatch(locks_for(self.workspace), self.unique_id)
        found = self._watch.look()
        if found is None:
            return "the other run has died" if self._watch.dead is not None else "the other run has ended"
        self.taken = found
        return "the other run has published" if self._changed() else ""

    def _changed(self) -> bool:
        return any(sidecar_version(self.workspace.store_of(uri), uri) != version for uri, version in self.sidecars.items())
