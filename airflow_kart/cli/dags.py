"""The pipelines of a DAG: its file parsed here, its templates rendered as in a run, without a scheduler or a DAG run."""

from __future__ import annotations

import contextlib
import copy
import difflib
import logging
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from airflow.providers.common.compat.sdk import conf

from airflow_kart.cli.pipeline import Asked, Pipeline
from airflow_kart.exceptions import BindingError, ConfigurationError
from airflow_kart.operators.blueprint import Blueprint
from airflow_kart.operators.run_context import RunContext
from airflow_kart.operators.task import KartOperator
from airflow_kart.operators.xcom import pulled_by
from airflow_kart.storage.workspace import Workspace

_MOST_ERRORS = 5
FACTS = (
    "run_id",
    "logical_date",
    "run_after",
    "data_interval_start",
    "data_interval_end",
    "conf",
    "partition_key",
    "partition_date",
)
"""What templates know of a DAG run."""


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
    dag = dag_of(dag_id)
    run = _stored_run(dag_id, asked.run_id) if asked.run_id is not None else _new_run(dag, asked)
    found = list(pipelines_of_run(dag, run, asked, workspace))
    mapped = [task_id for task_id, one in dag.task_dict.items() if not asked.values and _is_mapped(one)]
    if mapped:
        print(f"left out: {', '.join(mapped)} is mapped; give the values of one task by --set", file=sys.stderr)
    if not (found or mapped):
        raise ConfigurationError(f"the DAG {dag_id} has no kart task")
    return found


def pipelines_of_run(
    dag: Any, run: Mapping[str, Any], asked: Asked | None = None, workspace: Workspace | None = None
) -> Iterator[Pipeline]:
    """Return the pipelines of a DAG run; mapped operators have one only where values are asked for.

    Args:
        dag: the DAG.
        run: its facts, by the names of :data:`FACTS`.
        asked: what a command asks for; ``None`` for the tasks of a run of the past, whatever its ``conf`` holds.
        workspace: a workspace in place of the DAG's.

    Raises:
        BindingError: a value is missing, or does not fit.
    """
    met = set[int]()
    for operator in dag.task_dict.values():
        blueprint = getattr(operator, "blueprint", None)
        if blueprint is not None and id(blueprint) in met:
            continue
        met.add(id(blueprint))
        if blueprint is not None or isinstance(operator, KartOperator):
            yield _pipeline(operator, run, asked, workspace)
        elif asked is not None and asked.values and _is_mapped(operator):
            one = operator.unmap({"bind": {}})
            one.dag = dag
            yield _pipeline(one, run, asked, workspace)


def _is_mapped(operator: Any) -> bool:
    return not isinstance(operator, KartOperator) and issubclass(getattr(operator, "operator_class", object), KartOperator)


def _obey_disabled_logging() -> None:
    """Let Airflow's own loggers be silent where :func:`logging.disable` says so."""
    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and _dropped_if_disabled not in processors:
        processors.insert(0, _dropped_if_disabled)  # in place: loggers keep this list


def _dropped_if_disabled(_logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if logging.getLevelName(method.upper()) <= logging.root.manager.disable:
        raise structlog.DropEvent
    return event


def _pipeline(operator: Any, run: Mapping[str, Any], asked: Asked | None, workspace: Workspace | None) -> Pipeline:
    dag_id = operator.dag.dag_id
    blueprint = operator.blueprint or Blueprint.single(operator.task_id, operator.task)
    operator = operator.prepare_for_execution()
    known = {name for root in blueprint.roots for name in root.cls.get_parameters()}
    values = {name: text for name, text in (asked or Asked()).values.items() if name in known}
    operator.bind = {name: value for name, value in (operator.bind or {}).items() if name not in values}
    try:
        context = _context(operator, run)
        operator.render_template_fields(context)
    except Exception as error:
        said = str(error).partition("\n")[0]
        hint = "" if run["logical_date"] is not None else "; this run has no logical date: --date 2013-03-01 gives one"
        raise BindingError(
            f"DAG {dag_id}, {operator.task_id}: {said}{hint}; --conf and --set give values, --run-id those of a DAG run"
        ) from error
    operator._private_values = {**operator._private_values, **values}  # noqa: SLF001 - of the same package; never shown
    own = operator.run_workspace() if workspace is None else replace(operator.run_workspace(), directory=workspace.directory)
    with own:
        run_context = RunContext(operator, blueprint, context)
        tasks, graph = run_context.run.task_ids, run_context.run.graph
        if asked is None:
            return Pipeline(own, graph, tasks)
        run_context.check_conf()
        used = {task_id for task_id in blueprint.nodes if run_context.outside(task_id)}
        used |= pulled_by(run_context.others, blueprint.nodes)
        return Pipeline(own, graph, tasks, run_context.rerun(), run_context.run.unique_ids(used))


def _new_run(dag: Any, asked: Asked) -> dict[str, Any]:
    """Return the facts of a run that somebody triggers now, for a logical date or for none.

    Raises:
        ConfigurationError: the date cannot be understood.
    """
    from airflow.sdk import timezone

    now = timezone.utcnow()
    if asked.date is None:
        return {**dict.fromkeys(FACTS), "run_id": f"manual__{now.isoformat()}", "run_after": now, "conf": asked.conf}
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
    return {
        **dict.fromkeys(FACTS),
        "run_id": f"manual__{date.isoformat()}",
        "logical_date": date,
        "run_after": date,
        "data_interval_start": interval.start,
        "data_interval_end": interval.end,
        "conf": asked.conf,
    }


def _stored_run(dag_id: str, run_id: str) -> dict[str, Any]:
    """Return the facts of a DAG run of Airflow's database.

    Raises:
        ConfigurationError: there is none, or no database.
    """
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            runs = select(DagRun).where(DagRun.dag_id == dag_id)
            found = session.scalar(runs.where(DagRun.run_id == run_id))
            if found is not None:
                return {name: getattr(found, name, None) for name in FACTS}
            newest = [one.run_id for one in session.scalars(runs.order_by(DagRun.run_after.desc()).limit(3))]
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"Airflow's database cannot be asked for the run {run_id}: {getattr(error, 'orig', error)}"
        ) from error
    raise ConfigurationError(f"the DAG {dag_id} has no run {run_id}; its newest are {', '.join(newest) or 'none'}")


def _context(operator: Any, run: Mapping[str, Any]) -> Any:
    """Return the context that Airflow would render the operator's templates with."""
    from airflow.sdk.api.datamodels import _generated as sent
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    more = {"consumed_asset_events": [], "start_date": run["run_after"], "end_date": None, "state": "running"}
    served = sent.DagRun.model_construct(**{"run_type": "manual", **run, **more}, dag_id=operator.dag.dag_id)
    ti = RuntimeTaskInstance.model_construct(
        id=uuid.uuid4(),
        dag_id=operator.dag.dag_id,
        run_id=run["run_id"],
        task_id=operator.task_id,
        map_index=-1,
        try_number=1,
        max_tries=0,
        task=operator,
        start_date=run["run_after"],
        _ti_context_from_server=sent.TIRunContext.model_construct(dag_run=served, max_tries=0),
    )
    dag, kept = operator.dag, copy.deepcopy(operator.dag.params)
    operator.params = copy.deepcopy(operator.params)
    try:
        return ti.get_template_context()
    finally:
        dag.params = kept  # Airflow has put the conf into them, for a process that has one run


def dag_of(dag_id: str) -> Any:
    """Return a DAG of the configured bundles, from the first file that makes it; files that mention its id come first.

    Raises:
        ConfigurationError: no file makes the DAG.
    """
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import BundleDagBag  # type: ignore[no-redef]

    _obey_disabled_logging()
    known: set[str] = set()
    errors: dict[str, str] = {}
    for folder, file in _files(dag_id.encode()):
        with contextlib.redirect_stdout(sys.stderr):
            bag = BundleDagBag(dag_folder=file, bundle_path=folder)
        if (dag := bag.dags.get(dag_id)) is not None:
            return dag
        known |= bag.dags.keys()
        errors |= dict.fromkeys([file] if bag.import_errors else (), "\n".join(map(str, bag.import_errors.values())))
    close = difflib.get_close_matches(dag_id, known, 1)
    hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known)) or 'none at all'}"
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
