"""``verify``: tasks made again and compared; checksums of a workspace."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys

from airflow_kart.audit.verification.checksums import verify_checksums
from airflow_kart.audit.verification.verify import verify
from airflow_kart.cli.artifacts import found_by, newest
from airflow_kart.cli.classes import look_in_project
from airflow_kart.cli.output import MACHINES, progress, show, show_document
from airflow_kart.cli.workspace import ANSWER_IS_NO
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.runtime.tally import in_words
from airflow_kart.storage.workspace import Workspace


def verify_artifacts(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Make tasks again and compare, or compare checksums; return 3 where something differs.

    Raises:
        ConfigurationError: neither a name nor a sample is given.
    """
    name, output = arguments.name, arguments.output
    asked = found_by(workspace, name, arguments)
    if arguments.checksums:
        conditions = (name, arguments.since, arguments.until, arguments.dag_id, arguments.run_id, arguments.outcome)
        with workspace:
            checked = verify_checksums(
                asked if any(conditions) else None, mark=arguments.mark, tell=progress("artifacts read")
            )
        if output in MACHINES:
            show_document(dataclasses.asdict(checked), output)
        else:
            print(checked)
            if checked.damaged:
                show([vars(one) for one in checked.damaged], output)
        return ANSWER_IS_NO if checked.damaged else 0
    if not name and arguments.sample is None:
        raise ConfigurationError("verify: name a task, or give --sample N (0 for all tasks), or --checksums")
    look_in_project()
    with workspace, contextlib.redirect_stdout(sys.stderr):  # of modules
        found = verify(
            [newest(workspace, name)] if arguments.sample is None else asked,
            sample=arguments.sample or None,
            seed=arguments.seed,
            timeout=arguments.timeout.total_seconds(),
            patience=arguments.patience.total_seconds(),
            tell=progress("tasks made again"),
        )
    if output in MACHINES:
        show_document({"summary": str(found), "results": [dataclasses.asdict(one) for one in found.results]}, output)
    else:
        rows = [(one.verdict, one.task, in_words(one.seconds), one.reason) for one in found.results]
        show([dict(zip(("verdict", "task", "took", "reason"), row, strict=True)) for row in rows], output, right=["took"])
        print(found)
    return ANSWER_IS_NO if any(one.verdict in ("differs", "failed") for one in found.results) else 0
