"""``why``: what made a task run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from airflow_kart.audit.cause import Cause, Why
from airflow_kart.audit.why import why_artifact
from airflow_kart.cli.artifacts import newest
from airflow_kart.cli.output import OUTPUTS, show_document
from airflow_kart.storage.workspace import Workspace

MACHINES = OUTPUTS[1:3]


def explain(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Print why the task of an artifact ran."""
    print_why(why_artifact(newest(workspace, arguments.name)), arguments.output)


def print_why(why: Why, output: str) -> None:
    """Print an answer: the task, the chain of causes, the root causes."""
    if output in MACHINES:
        show_document(why.as_json(), output)
        return
    print(f"{why.task}  {why.unique_id[:8]}")
    print(f"  {why.words}")
    if why.compared_with:
        print(f"  compared with {why.compared_with}")
    for cause in why.causes:
        for line in _lines(cause, why.task, "  "):
            print(line)


def _lines(cause: Cause, asked: str, indent: str) -> Iterator[str]:
    about = "" if cause.task == asked else f"{cause.task}: "
    yield f"{indent}{'└─' if cause.because else '●'} {about}{cause.words}"
    for line in cause.lines:
        yield f"{indent}     {line}"
    for each in cause.because:
        yield from _lines(each, asked, f"{indent}   ")
