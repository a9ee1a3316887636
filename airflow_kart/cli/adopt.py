"""``adopt`` and ``reindex``: artifacts stay good after a change of code; the index of equal runs is written anew."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.cli import suppress_logs_and_warning

from airflow_kart.audit.adopt import Adopted, adopt
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
    with given_workspace(arguments) as workspace, workspace:
        cls, more = class_or_name(arguments.cls), {"dry_run": arguments.dry_run, "tell": _Progress().tell}
        if arguments.undo:
            found = undo_adoption(cls, **more)
        else:
            versions = arguments.versions or ()
            said = {"reason": arguments.reason or "", "verify": arguments.verify, "by": arguments.by, "versions": versions}
            found = adopt(cls, **said, **more)
    AirflowConsole().print_as(_each(found) if arguments.each else _counted(found), arguments.output)
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


class _Progress:
    """Lines on ``stderr``, now and then."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def tell(self, done: int, of: int) -> None:
        if time.monotonic() - self._said > _SECONDS_BETWEEN:
            self._said = time.monotonic()
            print(f"{done:,} of {of:,}", file=sys.stderr)


def _each(found: list[Adopted]) -> list[dict[str, Any]]:
    return [
        {"outcome": one.outcome, "task": one.task, "unique_id": one.unique_id, "new_id": one.new_id, "reason": one.reason}
        for one in found
    ]


def _counted(found: list[Adopted]) -> list[dict[str, Any]]:
    """Return a row for each outcome and reason, with the number of tasks and one of them."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        row = {"outcome": one.outcome, "tasks": 0, "for_example": one.task, "reason": one.reason}
        rows.setdefault((one.outcome, one.reason), row)["tasks"] += 1
    return list(rows.values())
