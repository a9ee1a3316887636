"""``diff``: what two artifacts, two DAG runs or two days differ in."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

from airflow_kart.audit.difference import Comparison, difference, pairs
from airflow_kart.audit.record import Record
from airflow_kart.cli.artifacts import found_by, newest
from airflow_kart.cli.output import progress, show, show_document
from airflow_kart.cli.why import MACHINES
from airflow_kart.exceptions import ConfigurationError, MissingArtifactError
from airflow_kart.storage.workspace import Workspace

DIFFERS = 3
"""The exit code where data differ."""


def show_differences(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Show what two artifacts, or the artifacts of two runs or two days, differ in; return 3 where data differ.

    Raises:
        ConfigurationError: neither two artifacts, nor two runs, nor two days are named.
        MissingArtifactError: one of them has no artifact.
    """
    with workspace:
        if arguments.runs or arguments.days:
            return _of_many(workspace, arguments)
        names = arguments.names
        if len(names) == 1:
            before, after = _last_two(workspace, names[0])
        elif len(names) == 2:
            before, after = (newest(workspace, name) for name in names)
        else:
            raise ConfigurationError("diff: name one or two artifacts, or give two --runs or two --days")
        found = difference(before, after, data=not arguments.no_data, rows=arguments.rows)
    if arguments.output in MACHINES:
        show_document(dataclasses.asdict(found), arguments.output)
    else:
        rows = [vars(one) for one in found.differences]
        heading = f"{before}\n{after}\n{found.summary()}\n"
        if rows:
            show(rows, arguments.output, heading=heading)
        else:
            print(heading, end="")
        for note in found.notes:
            print(note)
    return DIFFERS if found.data == "differs" else 0


def _of_many(workspace: Workspace, arguments: argparse.Namespace) -> int:
    name = arguments.names[0] if arguments.names else None
    sides: list[list[Record]] = []
    for given in arguments.runs or arguments.days:
        found: Iterable[Record] = found_by(workspace, name)
        records = [one for one in found if (one.run_id == given if arguments.runs else _is_of(one, given))]
        if not records:
            raise MissingArtifactError(f"the workspace {workspace.directory} has no artifact of {given}")
        sides.append(records)
    matched, tell, rows, documents = pairs(*sides), progress("artifacts compared"), [], []
    for number, (before, after) in enumerate(matched, 1):
        if before is not None and after is not None:
            found_between = difference(before, after, data=not arguments.no_data, rows=arguments.rows)
            documents.append({"task": str(before), **dataclasses.asdict(found_between)})
            rows.append({"task": str(before), "data": found_between.data, "differences": _short(found_between)})
        else:
            words = "only in the first" if after is None else "only in the second"
            documents.append({"task": str(before or after), "data": words})
            rows.append({"task": str(before or after), "data": words, "differences": ""})
        tell(number, len(matched))
    if arguments.output in MACHINES:
        show_document(documents, arguments.output)
    else:
        show(rows, arguments.output)
    return DIFFERS if any(row["data"] not in ("identical", "equal") for row in rows) else 0


def _short(found: Comparison) -> str:
    return found.summary().removeprefix("equal bytes; ").removeprefix("equal bytes")


def _last_two(workspace: Workspace, name: str) -> tuple[Record, Record]:
    """Return the newest artifact of a name, and the one of the same class before, in the order of time."""
    last = newest(workspace, name)
    earlier: list[Any] = [one for one in found_by(workspace, last.task_class).newest() if one.unique_id != last.unique_id]
    if not earlier:
        raise MissingArtifactError(
            f"the workspace {workspace.directory} has one artifact of {name} only; name another", task=name
        )
    return earlier[0], last


def _is_of(record: Record, day: str) -> bool:
    return any(
        value == day or (isinstance(value, str) and value.startswith(f"{day}T")) for value in record.parameters.values()
    )
