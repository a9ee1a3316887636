"""The commands and their arguments, as data. What a command does is imported when it is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_kart.cli.duration import duration

__all__ = ["COMMANDS", "DESCRIPTION", "Argument", "Command"]

DESCRIPTION = "Look after the artifacts of kart tasks"


@dataclass(frozen=True)
class Argument:
    """An argument, by what ``argparse``'s ``add_argument`` takes."""

    flags: tuple[str, ...]
    options: Mapping[str, Any]


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
        help="List, or give up, uploads that killed processes have left",
        description=(
            "List the uploads of large objects to a bucket that were begun and neither published nor discarded. Their "
            "process was killed, or is still writing: from outside the two look the same. What they have sent is seen by "
            "nobody and paid for."
        ),
        arguments=(
            Argument(
                ("directory",),
                {
                    "nargs": "?",
                    "metavar": "DIRECTORY",
                    "help": "Workspace, or any s3:// or gs:// directory (default: the configured workspace)",
                },
            ),
            Argument(
                ("--older-than",),
                {
                    "type": duration,
                    "metavar": "DURATION",
                    "help": "Only those begun longer ago, such as 90m, 24h or 7d (default: all; with --abort, 24h)",
                },
            ),
            Argument(
                ("--abort",),
                {
                    "action": "store_true",
                    "help": "Give them up in place of listing them: they can no longer be published",
                },
            ),
            Argument(
                ("--aws-conn-id",), {"help": "Airflow connection for S3 (default: option aws_conn_id of section kart)"}
            ),
            Argument(
                ("--gcp-conn-id",),
                {"help": "Airflow connection for Google Cloud Storage (default: option gcp_conn_id of section kart)"},
            ),
            Argument(
                ("-o", "--output"),
                {
                    "choices": ("table", "json", "yaml", "plain"),
                    "metavar": "(table, json, yaml, plain)",
                    "default": "table",
                    "help": "Output format. Allowed values: json, yaml, plain, table (default: table)",
                },
            ),
            Argument(("-v", "--verbose"), {"action": "store_true", "help": "Show what is logged"}),
        ),
        run=_uploads,
    ),
)
