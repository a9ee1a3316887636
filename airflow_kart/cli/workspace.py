"""The workspace of a command, and the end of a command that fails."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_kart import settings
from airflow_kart.exceptions import KartError
from airflow_kart.storage.workspace import Workspace


@contextmanager
def given_workspace(arguments: argparse.Namespace) -> Iterator[Workspace]:
    """Return the workspace that a command was given, by default the configured one.

    Raises:
        SystemExit: the command failed; the text gives the reason, and the exit code is 1; 130 for an interrupted command.
    """
    # The metadata database may hold the connections. Airflow's own commands find them there by the same means.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        directory = arguments.directory or settings.workspace_directory()
        yield Workspace(directory, arguments.aws_conn_id, arguments.gcp_conn_id)
    except KartError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
