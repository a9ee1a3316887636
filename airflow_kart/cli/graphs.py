"""Graphs whose artifacts a command keeps: of a class, or of the runs of a DAG."""

from __future__ import annotations

import argparse
import datetime as dt
import re
from collections.abc import Iterator

from airflow_kart.cli.duration import moment
from airflow_kart.cli.pipeline import Asked
from airflow_kart.cli.pipelines import pipelines_named
from airflow_kart.exceptions import ConfigurationError, KartError
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph

_CLASS = re.compile(r"[^:()]+(\.py|:\w[\w.]*(\(.*\))?)", re.DOTALL)
_A_DAY = dt.timedelta(days=1)


def is_class(text: str) -> bool:
    """Whether a text is ``file.py:Class`` or ``package.module:Class``, perhaps with values of parameters, or ``file.py``."""
    return _CLASS.fullmatch(text) is not None


def graphs_of_class(workspace: Workspace, text: str) -> list[Graph]:
    """Return the graph of a task, or of all tasks of a file.

    Raises:
        KartError: there is no such class, or a value does not fit.
    """
    return [found.graph for found in pipelines_named(text, Asked(), workspace, is_given=True)]


def graphs_of_dag(workspace: Workspace, text: str) -> Iterator[Graph]:
    """Return the graphs of each run of a DAG that Airflow knows, and of each day that the text names.

    Args:
        workspace: where the runs have their artifacts, or read them from.
        text: ``dag_id``, ``dag_id@2013-03-01``, ``dag_id@2013-03-01..2013-03-31`` or ``dag_id@30d``. A span leaves the runs
            outside of it out.

    Raises:
        ConfigurationError: the DAG cannot be loaded, has no run, has its artifacts elsewhere, or has operators whose tasks only
            a run knows.
        KartError: a template cannot be rendered, or the tasks make no graph.
    """
    from airflow_kart.cli.dags import load_dag, pipelines_of_run, runs_between, unchanged_params
    from airflow_kart.operators.task import KartOperator

    dag_id, _, span = text.partition("@")
    try:
        days = _days(span)
        dag = load_dag(dag_id)
        others = [one for one in dag.task_dict.values() if not isinstance(one, KartOperator)]
        mapped = [one.task_id for one in others if issubclass(getattr(one, "operator_class", object), KartOperator)]
        if mapped:
            raise ConfigurationError(f"{mapped[0]} is mapped, and only a run knows its tasks; keep its artifacts by --keep")
        runs = runs_between(dag_id, days[0], days[-1] + _A_DAY) if days else runs_between(dag_id, None, None)
        asked = [*(Asked(run_id=run_id) for run_id in runs), *(Asked(date=day.isoformat()) for day in days)]
        if not asked:
            raise ConfigurationError("Airflow knows no run of it; name days, as in dag@30d")
        for one in asked:
            with unchanged_params(dag):
                pipelines = pipelines_of_run(dag, one, None)
            for found in pipelines:
                its = found.workspace
                if workspace.directory.rstrip("/") not in [each.rstrip("/") for each in (its.directory, *its.others)]:
                    raise ConfigurationError(f"it has its artifacts in {its.directory}, and not in {workspace.directory}")
                yield found.graph
    except KartError as error:
        error.add_context(f"DAG {text}")
        raise


def _days(span: str) -> list[dt.datetime]:
    """Return the first moments (UTC) of the days of a span; none without a span."""
    if not span:
        return []
    now = dt.datetime.now(dt.timezone.utc)
    first, dots, last = span.partition("..")
    try:
        ends = [moment(end) for end in (first, last if dots else "0s" if first[-1:] in "dhms" else first)]
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(str(error)) from error
    start, end = (now - end if isinstance(end, dt.timedelta) else end for end in ends)
    start = start.astimezone(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    if end < start:
        raise ConfigurationError(f"{span} ends before it begins")
    return [start + number * _A_DAY for number in range((end - start).days + 1)]
