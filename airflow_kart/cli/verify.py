"""``verify``: tasks made again and compared; checksums of a workspace."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys

from airflow_kart.audit.checksums import verify_checksums
from airflow_kart.audit.verify import verify
from airflow_kart.cli.artifacts import found_by, newest
from airflow_kart.cli.classes import look_in_project
from airflow_kart.cli.diff import DIFFERS
from airflow_kart.cli.output import progress, seconds_text, show, show_document
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.storage.workspace import Workspace

_MACHINES = ("json", "yaml")


def verify_artifacts(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Make tasks again and compare, or compare checksums; return 3 where something differs.

    Raises:
        ConfigurationError: neither a name nor a sample is given.
    """
    machine = arguments.output in _MACHINES
    if arguments.checksums:
        tell = progress("artifacts read")
        with workspace:
            checked = verify_checksums(found_by(workspace, arguments.name, arguments), mark=arguments.mark, tell=tell)
        if machine:
            show_document(dataclasses.asdict(checked), arguments.output)
        else:
            print(checked)
            show([vars(one) for one in checked.damaged], arguments.output) if checked.damaged else None
        return DIFFERS if checked.damaged else 0
    name: str | None = arguments.name
    if name is None and arguments.sample is None:
        raise ConfigurationError("verify: name a task, or give --sample N (0 for all tasks), or --checksums")
    look_in_project()
    done, tell = 0, progress("tasks made again")

    def told(_verified: object) -> None:
        nonlocal done
        done += 1
        tell(done)

    with workspace, contextlib.redirect_stdout(sys.stderr):
        chosen = (
            [newest(workspace, arguments.name)]
            if arguments.sample is None
            else found_by(workspace, arguments.name, arguments)
        )
        more = {"timeout": arguments.timeout.total_seconds(), "patience": arguments.patience.total_seconds()}
        found = verify(chosen, sample=arguments.sample or None, seed=arguments.seed, tell=told, **more)
    if machine:
        show_document(
            {"summary": str(found), "results": [dataclasses.asdict(one) for one in found.results]}, arguments.output
        )
    else:
        rows = [
            {"verdict": one.verdict, "task": one.task, "took": seconds_text(one.seconds), "reason": one.reason}
            for one in found.results
        ]
        show(rows, arguments.output, right=["took"])
        print(found)
    return DIFFERS if any(one.verdict in ("differs", "failed") for one in found.results) else 0
