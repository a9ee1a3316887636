"""The commands and their arguments, as data. A command imports its implementation when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_kart.cli.duration import duration

DESCRIPTION = "Look after the artifacts of kart tasks"


class Argument:
    """An argument: the parameters of ``argparse``'s ``add_argument``."""

    def __init__(self, *flags: str, **options: Any) -> None:
        self.flags, self.options = flags, options


@dataclass(frozen=True)
class Command:
    """A command."""

    name: str
    help: str
    description: str
    arguments: tuple[Argument, ...]
    run: Callable[[argparse.Namespace], None]


def _uploads(arguments: argparse.Namespace) -> None:
    from airflow_kart.cli.uploads import uploads

    uploads(arguments)


COMMANDS = (
    Command(
        name="uploads",
        help="List or abort the uploads that killed processes left behind",
        description=(
            "List the unfinished uploads of large objects to a bucket: neither published nor discarded. The process of such "
            "an upload was killed, or is still writing: from outside the two look the same. Nobody sees the parts sent so "
            "far, and the bucket's owner pays for them."
        ),
        arguments=(
            Argument(
                "directory",
                nargs="?",
                metavar="DIRECTORY",
                help="Workspace, or any s3:// or gs:// directory (default: the configured workspace)",
            ),
            Argument(
                "--older-than",
                type=duration,
                metavar="DURATION",
                help="Only uploads begun longer ago, such as 90m, 24h or 7d (default: all; with --abort, 24h)",
            ),
            Argument(
                "--abort",
                action="store_true",
                help="Abort the uploads in place of listing them: nobody can publish an aborted upload",
            ),
            Argument("--aws-conn-id", help="Airflow connection for S3 (default: option aws_conn_id of section kart)"),
            Argument(
                "--gcp-conn-id",
                help="Airflow connection for Google Cloud Storage (default: option gcp_conn_id of section kart)",
            ),
            Argument(
                "-o",
                "--output",
                choices=("table", "json", "yaml", "plain"),
                metavar="(table, json, yaml, plain)",
                default="table",
                help="Output format. Allowed values: json, yaml, plain, table (default: table)",
            ),
            Argument("-v", "--verbose", action="store_true", help="Show the log"),
        ),
        run=_uploads,
    ),
)
