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


def _adopt(arguments: argparse.Namespace) -> None:
    from airflow_kart.cli.adopt import adopt_class

    adopt_class(arguments)


def _reindex(arguments: argparse.Namespace) -> None:
    from airflow_kart.cli.adopt import write_index

    write_index(arguments)


_CONNECTIONS = (
    Argument("--aws-conn-id", help="Airflow connection for S3 (default: option aws_conn_id of section kart)"),
    Argument(
        "--gcp-conn-id",
        help="Airflow connection for Google Cloud Storage (default: option gcp_conn_id of section kart)",
    ),
)
_OUTPUT = (
    Argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml", "plain"),
        metavar="(table, json, yaml, plain)",
        default="table",
        help="Output format. Allowed values: json, yaml, plain, table (default: table)",
    ),
    Argument("-v", "--verbose", action="store_true", help="Show the log"),
)
_DIRECTORY = Argument("directory", nargs="?", metavar="DIRECTORY", help="Workspace (default: the configured workspace)")

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
            *_CONNECTIONS,
            *_OUTPUT,
        ),
        run=_uploads,
    ),
    Command(
        name="adopt",
        help="Keep the artifacts of a class after a change of its code that does not matter",
        description=(
            "Bind the artifacts of a class to the unique ids that its tasks have after a change of the code: by links where "
            "that works, with a record of who, when and why in the sidecars. A later change makes the tasks run. An "
            "interrupted command leaves nothing half; the same command goes on."
        ),
        arguments=(
            Argument(
                "cls",
                metavar="CLASS",
                help="Train or pipeline.Train, as sidecars name the class; package.module:Train; or dags/file.py:Train",
            ),
            _DIRECTORY,
            Argument("--reason", help="Why the change does not matter; required, but with --undo"),
            Argument(
                "--verify",
                type=int,
                default=0,
                metavar="N",
                help="Make so many of the tasks again first, in a scratch directory; where bytes differ, adopt nothing",
            ),
            Argument(
                "--from",
                dest="versions",
                action="append",
                metavar="VERSION",
                help=(
                    "Adopt the artifacts of this earlier version: a code_version, or four or more first digits of a fingerprint; "
                    "may be given several times; all for all (default: the version of the newest artifact)"
                ),
            ),
            Argument("--by", help="Who says so (default: the user of this process)"),
            Argument("--undo", action="store_true", help="Take the latest adoption of the class back"),
            Argument("--dry-run", action="store_true", help="Show what would become of the artifacts; change nothing"),
            Argument("--each", action="store_true", help="List each task, in place of numbers of tasks"),
            *_CONNECTIONS,
            *_OUTPUT,
        ),
        run=_adopt,
    ),
    Command(
        name="reindex",
        help="Write the index of equal runs anew",
        description=(
            "Write the index by which a task finds the artifact of an equal run anew, from the sidecars of a workspace, and "
            "remove its entries that point to nothing."
        ),
        arguments=(_DIRECTORY, *_CONNECTIONS, *_OUTPUT),
        run=_reindex,
    ),
)
