"""``why``: what made a task run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from airflow_kart.audit.catalogue.rows import one_look
from airflow_kart.audit.cause import Cause, Why
from airflow_kart.audit.why import why_artifact
from airflow_kart.cli.artifacts import newest
from airflow_kart.cli.output import MACHINES, show_document
from airflow_kart.storage.workspace import Workspace


def explain(workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Print why the task of an artifact ran, or why tasks of a plan would run."""
    if arguments.pipeline is not None:
        answers = list(_planned(workspace, arguments))
    else:
        with one_look():
            answers = [why_artifact(newest(workspace, arguments.name, arguments))]
    if arguments.output in MACHINES:
        found = [why.as_json() for why in answers]
        show_document(found if arguments.pipeline is not None else found[0], arguments.output)
        return
    for why in answers:
        print_why(why)


def _planned(workspace: Workspace, arguments: argparse.Namespace) -> Iterator[Why]:
    from airflow_kart.audit.catalogue.history import History
    from airflow_kart.audit.forecast import why_planned  # only a plan needs the pipeline's classes, and what makes plans
    from airflow_kart.cli.pipeline import named_in
    from airflow_kart.cli.pipelines import pipelines

    found = pipelines(workspace, arguments)
    named: dict[int, list[str]] = {}
    for pipeline, unique_id in named_in(found, arguments.name):
        named.setdefault(id(pipeline), []).append(unique_id)
    for pipeline in found:
        if id(pipeline) in named:
            with pipeline.workspace:
                plan, history = pipeline.plan(), History(pipeline.workspace)
                for unique_id in named[id(pipeline)]:
                    yield why_planned(pipeline.graph.nodes[unique_id].task, plan.tasks[unique_id], history)


def print_why(why: Why) -> None:
    """Print an answer: the task, the chain of causes, the root causes."""
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
