"""Graphs that a command line names: of a class, or of the runs of a DAG."""

from __future__ import annotations

import argparse
import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from airflow_kart.cli.duration import moment
from airflow_kart.cli.pipelines import task_of
from airflow_kart.exceptions import ConfigurationError, KartError
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph

_CLASS = re.compile(r"([^:()]+):(\w[\w.]*(\(.*\))?)", re.DOTALL)
_A_DAY = dt.timedelta(days=1)


def is_class(text: str) -> bool:
    """Whether a text is ``file.py:Class`` or ``package.module:Class``, perhaps with values of parameters in brackets."""
    return _CLASS.fullmatch(text) is not None


def graph_of_class(workspace: Workspace, text: str) -> Graph:
    """Return the graph of a task: its class, and the parameters that differ from the defaults.

    Raises:
        KartError: there is no such class, or a value does not fit.
    """
    with workspace:
        return Graph.of([task_of(text)])


def graphs_of_dag(workspace: Workspace, text: str) -> Iterator[Graph]:
    """Return the graph of each run of a DAG that Airflow knows, and of each day that the text names.

    Args:
        workspace: where the runs have their artifacts, or read them from.
        text: ``dag_id``, ``dag_id@2013-03-01``, ``dag_id@2013-03-01..2013-03-31`` or ``dag_id@30d``. A span leaves the runs
            outside of it out.

    Raises:
        ConfigurationError: the DAG cannot be loaded, has no run, has its artifacts elsewhere, or a template cannot be rendered.
        KartError: the tasks make no graph.
    """
    from airflow_kart.cli.dags import dag_of, pipelines_of_run

    dag_id, _, span = text.partition("@")
    try:
        days = _days(span)
        dag = dag_of(dag_id)
        runs = [*_known_runs(dag_id, days), *(_run_of(day) for day in days or ())]
        found = [pipeline for run in runs for pipeline in pipelines_of_run(dag, run)]
        if not found:
            raise ConfigurationError(
                "it has no kart tasks" if runs else "Airflow knows no run of it; name days, as in dag@30d"
            )
        for pipeline in found:
            its = pipeline.workspace
            if workspace.directory.rstrip("/") not in [each.rstrip("/") for each in (its.directory, *its.others)]:
                raise ConfigurationError(f"it has its artifacts in {its.directory}, and not in {workspace.directory}")
            yield pipeline.graph
    except KartError as error:
        error.add_context(f"DAG {text}")
        raise
    except Exception as error:
        raise ConfigurationError(f"DAG {text}: {type(error).__name__}: {error}") from error


def _days(span: str) -> list[dt.datetime] | None:
    """Return the first moments (UTC) of the days of a span; ``None`` without a span."""
    if not span:
        return None
    now = dt.datetime.now(dt.timezone.utc)
    first, dots, last = span.partition("..")
    try:
        ends = [moment(end) for end in (first, last if dots else "0s" if first[-1:] in "dhms" else first)]
    except argparse.ArgumentTypeError as error:
        raise ConfigurationError(str(error)) from error
    start, end = (now - end if isinstance(end, dt.timedelta) else end for end in ends)
    start = start.astimezone(dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return [start + number * _A_DAY for number in range((end - start).days + 1)]


def _known_runs(dag_id: str, days: list[dt.datetime] | None) -> list[dict[str, Any]]:
    """Return the runs of a DAG that Airflow knows, in a span of days or all of them."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_kart.cli.dags import FACTS

    runs: list[dict[str, Any]]
    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id)).all()
        runs = [{name: getattr(run, name, None) for name in FACTS} for run in found]
    if days is None:
        return runs
    return [run for run in runs if days and days[0] <= (run["logical_date"] or run["run_after"]) < days[-1] + _A_DAY]


def _run_of(day: dt.datetime) -> dict[str, Any]:
    """Return what a run of a day would be, if nobody gave it any values."""
    from airflow.sdk.timezone import coerce_datetime

    from airflow_kart.cli.dags import FACTS

    dates = dict.fromkeys(("logical_date", "run_after", "data_interval_start"), coerce_datetime(day))
    end = coerce_datetime(day + _A_DAY)
    return {**dict.fromkeys(FACTS), **dates, "data_interval_end": end, "run_id": f"manual__{day.isoformat()}"}
