"""``airflow kart ...``: the commands as Airflow takes them from a provider, from 3.2 on."""

from __future__ import annotations

from typing import Any

from airflow_kart.cli.command import COMMANDS, DESCRIPTION

__all__ = ["get_kart_commands"]


def get_kart_commands() -> list[Any]:
    """Return the group ``kart`` of Airflow's commands. Airflow calls this for each of its commands, so it loads nothing."""
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
