"""The ledger of a workspace: a line for each run, with what it computed and what it reused.

Sidecars tell what runs made; nothing else tells what artifacts have saved. On a disk, a run adds a line to the file of its
month; elsewhere, a run writes a small object. Losing the ledger loses sums only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import posixpath
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from airflow_kart.exceptions import StorageError
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.tally import Sum, Tally
from airflow_kart.storage import RUNS, keeps_files
from airflow_kart.storage.workspace import Workspace

_AT_END = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A run: of a DAG, or of ``build()``."""

    at: str
    """When the run ended (ISO 8601, UTC)."""
    dag_id: str | None
    run_id: str | None
    sums: Mapping[tuple[str, Outcome], Sum]
    """By the logical name of the class and the outcome."""


def enter(workspace: Workspace, tally: Tally, run: tuple[str, str] | None = None) -> None:
    """Write a run into the ledger; a store that refuses only costs the sums.

    Args:
        workspace: the workspace.
        tally: what became of the tasks.
        run: DAG id and run id; ``None`` outside Airflow.
    """
    if not tally.sums:
        return
    now = dt.datetime.now(dt.timezone.utc)
    dag_id, run_id = run or (None, None)
    sums = [[name, outcome.value, one.tasks, round(one.seconds, 3)] for (name, outcome), one in tally.sums.items()]
    line = json.dumps([now.isoformat(), dag_id, run_id, sums]).encode()
    folder, store = f"{workspace.directory.rstrip('/')}/{RUNS}", workspace.store
    try:
        if keeps_files(store):
            path = store.path(f"{folder}/{now:%Y-%m}.ndjson")
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(path))  # in a workspace that is there: a run that made nothing makes none
            descriptor = os.open(path, _AT_END, 0o666)
            try:
                os.write(descriptor, b"\n%b\n" % line)  # a process may have died within the line before
            finally:
                os.close(descriptor)
            return
        upload = store.upload(f"{folder}/{now:%Y-%m}/{now:%dT%H%M%S}-{uuid.uuid4().hex[:8]}.ndjson")
        try:
            upload.write(line)
            upload.publish()
        finally:
            upload.discard()
    except (StorageError, OSError) as error:
        logger.debug("the ledger of %s was not written: %s", workspace.directory, error)


def entries(workspace: Workspace, since: str = "") -> Iterator[Entry]:
    """Return the runs of a workspace's ledger, of the months from a moment on, the newest files first; damaged lines are left out.

    Raises:
        StorageError: the store refused.
    """
    prefix = f"{workspace.directory.rstrip('/')}/{RUNS}/"
    for uri in sorted(workspace.store.list(prefix), reverse=True):
        if posixpath.relpath(uri, prefix)[:7] >= since[:7] and (found := workspace.store.read(uri)) is not None:
            for line in filter(None, found.data.split(b"\n")):
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    yield _entry(json.loads(line))


def _entry(read: Any) -> Entry:
    at, dag_id, run_id, sums = read
    return Entry(
        at, dag_id, run_id, {(name, Outcome(outcome)): Sum(count, seconds) for name, outcome, count, seconds in sums}
    )
