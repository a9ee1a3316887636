"""``airflow-kart ...``: the commands as a program of their own, for Airflow 3.1, which takes none from providers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from airflow_kart.cli.command import COMMANDS, DESCRIPTION


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: the words after the program's name; by default, the process's own.

    Raises:
        SystemExit: argparse does not understand the words (exit code 2), or the command failed (1).
    """
    parser = argparse.ArgumentParser("airflow-kart", description=DESCRIPTION)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command.name, help=command.help, description=command.description)
        for argument in command.arguments:
            one.add_argument(*argument.flags, **argument.options)
        one.set_defaults(run=command.run)
    given = parser.parse_args(arguments)
    given.run(given)
