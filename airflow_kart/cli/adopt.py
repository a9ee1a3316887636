"""``adopt`` and ``reindex``: artifacts stay good after a change of code; the index of equal runs is written anew."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.cli import suppress_logs_and_warning

from airflow_kart.audit.adopt import adopt
from airflow_kart.audit.records import Adopted
from airflow_kart.audit.reindex import reindex
from airflow_kart.audit.undo import undo_adoption
from airflow_kart.cli.classes import class_or_name
from airflow_kart.cli.workspace import given_workspace

_SECONDS_BETWEEN = 2.0


@suppress_logs_and_warning
def adopt_class(arguments: argparse.Namespace) -> None:
    """Adopt the artifacts of a class, or take the latest adoption back.

    Raises:
        SystemExit: the command failed; the text gives the reason.
    """
    with given_workspace(arguments) as workspace, workspace, contextlib.redirect_stdout(sys.stderr):  # of run()
        cls, more = class_or_name(arguments.cls), {"dry_run": arguments.dry_run, "tell": _progress()}
        if arguments.undo:
            found = undo_adoption(cls, **more)
        else:
            versions = arguments.versions or ()
            said = {"reason": arguments.reason or "", "verify": arguments.verify, "by": arguments.by, "versions": versions}
            found = adopt(cls, **said, **more)
    AirflowConsole(markup=False, emoji=False).print_as(
        [vars(one) for one in found] if arguments.each else _counted(found), arguments.output
    )
    if arguments.dry_run:
        print("a dry run: nothing was changed", file=sys.stderr)


@suppress_logs_and_warning
def write_index(arguments: argparse.Namespace) -> None:
    """Write the index of a workspace anew.

    Raises:
        SystemExit: the command failed; the text gives the reason.
    """
    with given_workspace(arguments) as workspace, workspace:
        found = reindex()
    AirflowConsole().print_as([found._asdict()], arguments.output)


def _progress() -> Callable[[int, int], None]:
    """Return a function that writes a line to ``stderr`` now and then."""
    said = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal said
        if time.monotonic() - said > _SECONDS_BETWEEN:
            said = time.monotonic()
            print(f"{done:,} of {of:,}", file=sys.stderr)

    return tell


def _counted(found: list[Adopted]) -> list[dict[str, Any]]:
    """Return a row for each outcome and reason, with the number of tasks and one of them."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        row = {"outcome": one.outcome, "tasks": 0, "for_example": one.task, "reason": one.reason}
        rows.setdefault((one.outcome, one.reason), row)["tasks"] += 1
    return list(rows.values())
