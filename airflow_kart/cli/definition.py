"""``airflow kart ...``: the commands in the form in which Airflow, from 3.2 on, takes them from a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kart.cli.command import COMMANDS, DESCRIPTION

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand


def get_kart_commands() -> list[CLICommand]:
    """Return the group ``kart`` of Airflow's commands, and load nothing: Airflow calls this for each command of its own."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    subcommands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            description=command.description,
            func=command.run,
            args=[
                Arg(argument.flags, **argument.options)  # type: ignore[no-untyped-call]  # Airflow gives it no types
                for argument in command.arguments
            ],
        )
        for command in COMMANDS
    ]
    return [GroupCommand(name="kart", help=DESCRIPTION, subcommands=subcommands)]
