"""``adopt`` and ``reindex``: artifacts stay good after a change of code; the index of equal runs is written anew."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from airflow_kart.audit.adoption.adopt import adopt
from airflow_kart.audit.adoption.undo import undo_adoption
from airflow_kart.audit.records import Adopted
from airflow_kart.audit.reindex import reindex
from airflow_kart.cli.classes import class_or_name
from airflow_kart.cli.output import progress, show
from airflow_kart.storage.workspace import Workspace


def adopt_class(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Adopt the artifacts of a class, or take the latest adoption back.

    Raises:
        KartError: the command failed.
    """
    with workspace, contextlib.redirect_stdout(sys.stderr):  # of run()
        cls, more = class_or_name(arguments.cls), {"dry_run": arguments.dry_run, "tell": progress("tasks")}
        if arguments.undo:
            found = undo_adoption(cls, **more)
        else:
            versions = arguments.versions or ()
            said = {"reason": arguments.reason or "", "verify": arguments.verify, "by": arguments.by, "versions": versions}
            found = adopt(cls, **said, **more)
    show([vars(one) for one in found] if arguments.each else _counted(found), arguments.output, right=["tasks"])
    if arguments.dry_run:
        print("a dry run: nothing was changed", file=sys.stderr)


def write_index(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Write the index of a workspace anew.

    Raises:
        KartError: the command failed.
    """
    with workspace:
        found = reindex()
    show([found._asdict()], arguments.output)


def _counted(found: list[Adopted]) -> list[dict[str, Any]]:
    """Return a row for each outcome and reason, with the number of tasks and one of them."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        row = {"outcome": one.outcome, "tasks": 0, "for_example": one.task, "reason": one.reason}
        rows.setdefault((one.outcome, one.reason), row)["tasks"] += 1
    return list(rows.values())
