"""Graphs that a command line names: of a class, or of the runs of a DAG."""

from __future__ import annotations

import argparse
import datetime as dt
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from airflow_kart.audit.naming import Named
from airflow_kart.cli.classes import class_or_name
from airflow_kart.cli.duration import moment
from airflow_kart.exceptions import ConfigurationError, KartError
from airflow_kart.operators.blueprint import RootSpec
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Graph

_CLASS = re.compile(r"([^:()]+):(\w[\w.]*(\(.*\))?)", re.DOTALL)
_A_DAY = dt.timedelta(days=1)
_DATES = ("logical_date", "data_interval_start", "data_interval_end")
_OF_RUN = ("dag_id", "run_id", "run_type", "run_after", "start_date", "partition_key", "partition_date", "conf", *_DATES)


def is_class(text: str) -> bool:
    """Whether a text is ``file.py:Class`` or ``package.module:Class``, perhaps with values of parameters in brackets."""
    return _CLASS.fullmatch(text) is not None


def graph_of_class(workspace: Workspace, text: str) -> Graph:
    """Return the graph of a task: its class, and the parameters that differ from the defaults.

    Raises:
        KartError: there is no such class, or a value does not fit.
    """
    place, _, task = text.partition(":")
    named = Named.of(task)
    root = RootSpec.of(class_or_name(f"{place}:{task.partition('(')[0]}"))
    if unknown := sorted(named.parameters.keys() - root.cls.get_parameters().keys()):
        raise ConfigurationError(f"{text}: {root.cls.__qualname__} has no parameter {', '.join(unknown)}")
    with workspace:
        return Graph.of([root.make({name: root.read(name, value) for name, value in named.parameters.items()})])


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
    from airflow.utils.cli import get_bagged_dag

    dag_id, _, span = text.partition("@")
    try:
        days = _days(span)
        dag: Any = get_bagged_dag(None, dag_id)
        operators = {id(one.blueprint): one for one in dag.task_dict.values() if hasattr(one, "blueprint")}
        runs = [*_known_runs(dag_id, days), *(_run_of(dag_id, day) for day in days or ())]
        if not operators or not runs:
            raise ConfigurationError(
                "it has no kart tasks" if runs else "Airflow knows no run of it; name days, as in dag@30d"
            )
        for run in runs:
            for operator in operators.values():
                yield _graph(workspace, dag, operator, run)
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


def _known_runs(dag_id: str, days: list[dt.datetime] | None) -> list[SimpleNamespace]:
    """Return the runs of a DAG that Airflow knows, in a span of days or all of them."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id)).all()
        runs = [SimpleNamespace(**{name: getattr(run, name, None) for name in _OF_RUN}) for run in found]
    if days is None:
        return runs
    return [run for run in runs if days and days[0] <= (run.logical_date or run.run_after) < days[-1] + _A_DAY]


def _run_of(dag_id: str, day: dt.datetime) -> SimpleNamespace:
    """Return what a run of a day would be, if nobody gave it any values."""
    from airflow.sdk.timezone import coerce_datetime

    date, end = coerce_datetime(day), coerce_datetime(day + _A_DAY)
    found: dict[str, Any] = {"dag_id": dag_id, "run_id": f"manual__{day.isoformat()}", "run_type": "manual"}
    found |= dict.fromkeys((*_DATES, "run_after", "start_date"), date) | {"data_interval_end": end}
    return SimpleNamespace(**{**dict.fromkeys(_OF_RUN), **found})


def _graph(workspace: Workspace, dag: Any, operator: Any, run: SimpleNamespace) -> Graph:
    params = dag.params.__class__()
    params.update({**dag.params, **(run.conf or {})})
    values = params.dump()
    one = operator.prepare_for_execution()
    one.render_template_fields(_context(dag, one, run, values))
    with one.run_workspace() as its:
        if workspace.directory.rstrip("/") not in [each.rstrip("/") for each in (its.directory, *its.others)]:
            raise ConfigurationError(f"it has its artifacts in {its.directory}, and not in {workspace.directory}")
        found: Graph = operator.blueprint.for_run(one.run_bind(), values).graph
        return found


def _context(dag: Any, operator: Any, run: SimpleNamespace, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of Airflow's context that templates use."""
    from airflow.sdk.execution_time.context import ConnectionAccessor, MacrosAccessor, VariableAccessor

    date = run.logical_date
    names = ("run_id", "partition_key", "partition_date", *(_DATES if date is not None else ()))
    context = {
        **{name: getattr(run, name) for name in names},
        "dag": dag,
        "dag_run": run,
        "task": operator,
        "params": params,
        "macros": MacrosAccessor(),
        "var": {"json": VariableAccessor(deserialize_json=True), "value": VariableAccessor(deserialize_json=False)},
        "conn": ConnectionAccessor(),
    }
    if date is None:  # templates of a date fail, as they do in the run
        return context
    days = {"ds": f"{date:%Y-%m-%d}", "ds_nodash": f"{date:%Y%m%d}"}
    return {**context, **days, "ts": date.isoformat(), "ts_nodash": f"{date:%Y%m%dT%H%M%S}"}
