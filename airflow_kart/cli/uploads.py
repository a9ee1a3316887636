"""``uploads``: list or abort the uploads that killed processes left."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from airflow_kart.cli.duration import duration_text
from airflow_kart.cli.output import show
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.storage import UPLOADS, KeepsUploads
from airflow_kart.storage.workspace import Workspace

_A_DAY = dt.timedelta(days=1)


def uploads(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """List the abandoned uploads in a directory, or abort them.

    Raises:
        KartError: the command failed.
    """
    store, directory = workspace.store, workspace.directory.rstrip("/") + "/"
    older_than: dt.timedelta | None = arguments.older_than
    if isinstance(store, KeepsUploads):
        if not arguments.abort:
            show(_rows(store, directory, older_than), arguments.output)
            return
        age = _A_DAY if older_than is None else older_than
        count = store.abort_abandoned(directory, age)
        print(f"aborted {count} upload{'' if count == 1 else 's'} begun more than {duration_text(age)} ago in {directory}")
    else:
        hint = f"; you may delete old files in the hidden folders {UPLOADS}" if store.shared else ""
        raise ConfigurationError(
            f"this command lists uploads on disks and in s3:// and gs:// directories only, not in {directory}{hint}",
            uri=directory,
        )


def _rows(store: KeepsUploads, directory: str, older_than: dt.timedelta | None) -> list[dict[str, Any]]:
    """Return the rows of the list, the oldest upload first."""
    now = dt.datetime.now(dt.timezone.utc)
    found = [
        upload for upload in store.abandoned_uploads(directory) if older_than is None or upload.begun < now - older_than
    ]
    return [
        {
            "uri": upload.uri,
            "begun": upload.begun.astimezone(dt.timezone.utc).isoformat(timespec="seconds"),
            "age": duration_text(now - upload.begun),
        }
        for upload in sorted(found, key=lambda upload: (upload.begun, upload.uri))
    ]
