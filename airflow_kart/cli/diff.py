"""``diff``: what two artifacts, two DAG runs or two days differ in."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Iterator

from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.rows import one_look
from airflow_kart.audit.differences.difference import difference, pairs
from airflow_kart.audit.differences.values import shortened
from airflow_kart.cli.artifacts import found_by, newest
from airflow_kart.cli.output import MACHINES, progress, show, show_document
from airflow_kart.cli.workspace import ANSWER_IS_NO
from airflow_kart.exceptions import ConfigurationError, MissingArtifactError
from airflow_kart.storage.workspace import Workspace

_WIDEST = 48


def show_differences(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Show what two artifacts, or the artifacts of two runs or two days, differ in; return 3 where data differ.

    Raises:
        ConfigurationError: neither two artifacts, nor two runs, nor two days are named.
        MissingArtifactError: one of them has no artifact.
    """
    names, output = arguments.names, arguments.output
    with workspace, one_look():
        if arguments.runs or arguments.days:
            return _show_pairs(pairs(*_sides(workspace, arguments)), arguments)
        if len(names) not in (1, 2):
            raise ConfigurationError("diff: name one or two artifacts, or give two --runs or two --days")
        before, after = _last_two(workspace, names[0]) if len(names) == 1 else [newest(workspace, name) for name in names]
        found = difference(before, after, data=not arguments.no_data, rows=arguments.rows)
    if output in MACHINES:
        show_document(dataclasses.asdict(found), output)
    else:
        print(f"{before}\n{after}\n{found.summary()}\n")
        if found.differences:
            show(
                [{name: shortened(str(text), _WIDEST) for name, text in vars(one).items()} for one in found.differences],
                output,
            )
        print("\n".join(found.notes), end="\n" if found.notes else "")
    return ANSWER_IS_NO if found.data == "differs" else 0


def _show_pairs(matched: list[tuple[Record | None, Record | None]], arguments: argparse.Namespace) -> int:
    tell, documents = progress("artifacts compared"), []
    for number, (before, after) in enumerate(matched, 1):
        document = {
            "task": str(before or after),
            "data": f"only in the {'second' if before is None else 'first'}",
            "summary": "",
        }
        if before is not None and after is not None:
            found = difference(before, after, data=not arguments.no_data, rows=arguments.rows)
            document = {**document, **dataclasses.asdict(found), "summary": found.summary()}
        documents.append(document)
        tell(number, len(matched))
    if arguments.output not in MACHINES:
        show(
            [{name: shortened(one[name], 2 * _WIDEST) for name in ("task", "data", "summary")} for one in documents],
            arguments.output,
        )
    else:
        show_document(documents, arguments.output)
    return 0 if all(one["data"] in ("identical", "equal", "unknown") for one in documents) else ANSWER_IS_NO


def _sides(workspace: Workspace, arguments: argparse.Namespace) -> Iterator[list[Record]]:
    for given in arguments.runs or arguments.days:
        found: Iterable[Record] = found_by(workspace, arguments.names[0] if arguments.names else None)
        records = [one for one in found if (one.run_id == given if arguments.runs else _is_of(one, given))]
        if not records:
            raise MissingArtifactError(f"the workspace {workspace.directory} has no artifact of {given}")
        yield records


def _last_two(workspace: Workspace, name: str) -> list[Record]:
    """Return the newest artifact of a name, after the one of the same class before."""
    last = newest(workspace, name)
    found: Iterable[Record] = found_by(workspace, last.task_class).newest()
    earlier = next((one for one in found if one.unique_id != last.unique_id), None)
    if earlier is None:
        raise MissingArtifactError(
            f"the workspace {workspace.directory} has one artifact of {name} only; name two", task=name
        )
    return [earlier, last]


def _is_of(record: Record, day: str) -> bool:
    return any(value == day or str(value).startswith(f"{day}T") for value in record.parameters.values())
