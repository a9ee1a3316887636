"""The pipelines of a DAG: its file parsed here, its templates rendered as in a run, without a scheduler or a DAG run."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_kart.cli.pipeline import Asked, Pipeline
from airflow_kart.cli.quiet import quiet_airflow
from airflow_kart.exceptions import BindingError, ConfigurationError
from airflow_kart.identity.spelling import closest
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.operators.run_context import RunContext
from airflow_kart.operators.task import KartOperator
from airflow_kart.operators.xcom import pulled_by
from airflow_kart.storage.workspace import Workspace

_MOST_ERRORS = 5


def pipelines_of_dag(dag_id: str, asked: Asked, workspace: Workspace | None) -> list[Pipeline]:
    """Return a pipeline for each compiled graph of a DAG, and for each single operator.

    Args:
        dag_id: the DAG.
        asked: the run.
        workspace: a workspace in place of the DAG's.

    Raises:
        ConfigurationError: there is no such DAG, or no kart task in the DAG.
        BindingError: a value is missing, or does not fit.
    """
    return pipelines_of_run(load_dag(dag_id), asked, workspace)


def load_dag(dag_id: str) -> Any:
    """Return a DAG, parsed from its file.

    Raises:
        ConfigurationError: there is no such DAG.
    """
    quiet_airflow()
    with contextlib.redirect_stdout(sys.stderr):  # of DAG files
        return _dag(dag_id)


def pipelines_of_run(dag: Any, asked: Asked, workspace: Workspace | None) -> list[Pipeline]:
    """Return the pipelines of one run of a parsed DAG; arguments and errors as of :func:`pipelines_of_dag`."""
    run = _stored_run(dag.dag_id, asked.run_id) if asked.run_id is not None else _new_run(dag, asked)
    found, met = [], set[int]()
    for operator in dag.task_dict.values():
        blueprint = getattr(operator, "blueprint", None)
        if blueprint is not None and id(blueprint) in met:
            continue
        met.add(id(blueprint))
        if blueprint is not None or isinstance(operator, KartOperator):
            found.append(_pipeline(operator, run, asked, workspace))
        elif issubclass(getattr(operator, "operator_class", object), KartOperator):
            if asked.values:
                found.append(_pipeline(_unmapped(operator), run, asked, workspace))
            else:
                print(f"left out: {operator.task_id} is mapped; give the values of one task by --set", file=sys.stderr)
    if not found:
        raise ConfigurationError(f"the DAG {dag.dag_id} has no kart task")
    return found


def _unmapped(mapped: Any) -> Any:
    """Return an operator of a mapped one, without the values that it is mapped over."""
    operator = mapped.unmap({"bind": {}})
    operator.dag = mapped.dag
    return operator


def _pipeline(operator: Any, run: _Run, asked: Asked, workspace: Workspace | None) -> Pipeline:
    dag_id = operator.dag.dag_id
    blueprint = operator.blueprint or Blueprint.single(operator.task_id, operator.task)
    operator = operator.prepare_for_execution()
    known = {name for root in blueprint.roots for name in root.cls.get_parameters()}
    values = {name: text for name, text in asked.values.items() if name in known}
    operator.bind = {name: value for name, value in (operator.bind or {}).items() if name not in values}
    try:
        context = _context(operator, run)
        operator.render_template_fields(context)
    except Exception as error:
        said = str(error).partition("\n")[0]
        hint = "" if run.logical_date is not None else "; this run has no logical date: --date 2013-03-01 gives one"
        raise BindingError(
            f"DAG {dag_id}, {operator.task_id}: {said}{hint}; --conf and --set give values, --run-id those of a DAG run"
        ) from error
    operator._private_values = {**operator._private_values, **values}  # noqa: SLF001 - of the same package; never shown
    own = operator.run_workspace() if workspace is None else replace(operator.run_workspace(), directory=workspace.directory)
    with own:
        run_context = RunContext(operator, blueprint, context)
        run_context.check_conf()
        tasks, graph = run_context.run.task_ids, run_context.run.graph
        used = {task_id for task_id in blueprint.nodes if run_context.outside(task_id)}
        used |= pulled_by(run_context.others, blueprint.nodes)
        return Pipeline(own, graph, tasks, run_context.rerun(), run_context.run.unique_ids(used))


@dataclass(frozen=True)
class _Run:
    """What templates know of a DAG run."""

    dag_id: str
    run_id: str
    logical_date: dt.datetime | None
    run_after: dt.datetime
    data_interval_start: dt.datetime | None = None
    data_interval_end: dt.datetime | None = None
    conf: Mapping[str, Any] | None = None
    partition_key: str | None = None
    partition_date: dt.datetime | None = None
    run_type: Any = "manual"


def _new_run(dag: Any, asked: Asked) -> _Run:
    """Return a run that somebody triggers now, for a logical date or for none.

    Raises:
        ConfigurationError: the date cannot be understood.
    """
    from airflow.sdk import timezone

    now = timezone.utcnow()
    if asked.date is None:
        return _Run(dag.dag_id, f"manual__{now.isoformat()}", None, now, conf=asked.conf)
    try:
        date = timezone.parse(asked.date)
    except Exception as error:
        raise ConfigurationError(f"--date {asked.date!r} is no date; write 2013-03-01 or 2013-03-01T06:00") from error
    try:
        from airflow.serialization.encoders import coerce_to_core_timetable
    except ImportError:  # Airflow 3.1
        timetable = dag.timetable
    else:
        timetable = coerce_to_core_timetable(dag.timetable)
    interval = timetable.infer_manual_data_interval(run_after=date)
    return _Run(dag.dag_id, f"manual__{date.isoformat()}", date, date, interval.start, interval.end, asked.conf)


def _stored_run(dag_id: str, run_id: str) -> _Run:
    """Return a DAG run of Airflow's database.

    Raises:
        ConfigurationError: there is none, or no database.
    """
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    names = [name for name in _Run.__dataclass_fields__ if name not in ("dag_id", "run_id")]
    try:
        with create_session() as session:
            runs = select(DagRun).where(DagRun.dag_id == dag_id)
            found = session.scalar(runs.where(DagRun.run_id == run_id))
            if found is not None:
                facts: dict[str, Any] = {name: getattr(found, name, None) for name in names}
                return _Run(dag_id, run_id, **facts)
            newest = [one.run_id for one in session.scalars(runs.order_by(DagRun.run_after.desc()).limit(3))]
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"Airflow's database cannot be asked for the run {run_id}: {getattr(error, 'orig', error)}"
        ) from error
    raise ConfigurationError(f"the DAG {dag_id} has no run {run_id}; its newest are {', '.join(newest) or 'none'}")


@contextlib.contextmanager
def unchanged_params(dag: Any) -> Iterator[None]:
    """Put the values of a DAG's params back: Airflow writes the conf of a run into them."""
    owners = (dag, *dag.task_dict.values())
    params = [owner.params.get_param(name) for owner in owners for name in getattr(owner, "params", ())]
    values = [param.value for param in params]
    try:
        yield
    finally:
        for param, value in zip(params, values, strict=True):
            param.value = value


def runs_between(dag_id: str, first: dt.datetime | None, end: dt.datetime | None) -> list[str]:
    """Return the ids of the runs of a DAG that Airflow's database has, of a span of dates or all."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        runs = [
            (run.run_id, run.logical_date or run.run_after)
            for run in session.scalars(select(DagRun).filter_by(dag_id=dag_id))
        ]
    return [run_id for run_id, date in runs if (first is None or date >= first) and (end is None or date < end)]


def _context(operator: Any, run: _Run) -> Any:
    """Return the context that Airflow would render the operator's templates with."""
    from airflow.sdk.api.datamodels import _generated as sent
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    facts = {**vars(run), "consumed_asset_events": [], "start_date": run.run_after, "end_date": None, "state": "running"}
    served = sent.TIRunContext.model_construct(dag_run=sent.DagRun.model_construct(**facts), max_tries=0)
    ti = RuntimeTaskInstance.model_construct(
        id=uuid.uuid4(),
        dag_id=run.dag_id,
        run_id=run.run_id,
        task_id=operator.task_id,
        map_index=-1,
        try_number=1,
        max_tries=0,
        task=operator,
        start_date=run.run_after,
        _ti_context_from_server=served,
    )
    return ti.get_template_context()


def _dag(dag_id: str) -> Any:
    """Return a DAG of the configured bundles, from the first file that makes it; files that mention its id come first.

    Raises:
        ConfigurationError: no file makes the DAG.
    """
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import BundleDagBag  # type: ignore[no-redef]

    known: set[str] = set()
    errors: dict[str, str] = {}
    for folder, file in _files(dag_id.encode()):
        bag = BundleDagBag(dag_folder=file, bundle_path=folder)
        if (dag := bag.dags.get(dag_id)) is not None:
            return dag
        known |= bag.dags.keys()
        errors |= dict.fromkeys([file] if bag.import_errors else (), "\n".join(map(str, bag.import_errors.values())))
    close = closest(dag_id, known)
    hint = f"; did you mean {close}?" if close else f"; there are {', '.join(sorted(known)) or 'none at all'}"
    told = [f"\n{file} cannot be imported:\n{error.rstrip()}" for file, error in list(errors.items())[:_MOST_ERRORS]]
    raise ConfigurationError(f"there is no DAG {dag_id}{hint}{''.join(told)}")


def _files(mentioned: bytes) -> list[tuple[Path, str]]:
    """Return the files of all bundles that may make DAGs, each with its bundle's folder; those that mention an id come first."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.file import find_dag_file_paths

    found = []
    safe_mode = conf.getboolean("core", "dag_discovery_safe_mode", fallback=True)
    for bundle in DagBundlesManager().get_all_dag_bundles():
        bundle.initialize()
        found += [(Path(bundle.path), file) for file in find_dag_file_paths(str(bundle.path), safe_mode)]
    return sorted(found, key=lambda one: mentioned not in Path(one[1]).read_bytes())
