"""Airflow in this process, on a throw-away SQLite database: DAGs run with ``dag.test()``, unchanged."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.airflow_home import with_database
from harness.checkout import pytest_sessionfinish, pytest_sessionstart, pytest_terminal_summary  # noqa: F401

_HOME = Path(tempfile.mkdtemp(prefix="kart-airflow-"))
(_HOME / "dags").mkdir()
# Airflow reads these when it is first imported.
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(_HOME / "dags"),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__LOGGING__LOGGING_LEVEL="INFO",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start Airflow's command line, which take longest."""
    items.sort(key=lambda item: not hasattr(getattr(item, "module", None), "airflow_program"))


@pytest.fixture(scope="session", autouse=True)
def _airflow_db() -> Iterator[None]:
    from airflow.sdk.execution_time import supervisor

    with_database(_HOME)
    # Airflow 3.1 and 3.2 would build the API anew for each task.
    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
    yield
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured workspace, a new one for each test."""
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


class Run:
    """A finished run: its state and its tasks'."""

    def __init__(self, dag_run: Any) -> None:
        self.dag_run = dag_run
        self.state = str(dag_run.state)
        self.states = {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """What a task pushed."""
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        run = (XComModel.dag_id == self.dag_run.dag_id) & (XComModel.run_id == self.dag_run.run_id)
        with create_session() as session:
            entry = select(XComModel).where(run, XComModel.task_id == task_id, XComModel.key == key)
            return XComModel.deserialize_value(session.scalars(entry).one())

    def outcomes(self, report: str = "report") -> dict[str, list[str]]:
        """What the report says became of the tasks."""
        found = self.xcom(report, "report")
        return {name: sorted(found[name]) for name in ("ran", "cached", "not_needed", "failed")}


@pytest.fixture
def store_dag() -> Callable[[Any], Any]:
    """Write a DAG that was made in the test to Airflow's database; return the DAG as the scheduler has it."""

    def store(dag: Any) -> Any:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.collection import update_dag_parsing_results_in_db
        from airflow.serialization.serialized_objects import LazyDeserializedDAG
        from airflow.utils.session import create_session

        dag.relative_fileloc = dag.relative_fileloc or f"{dag.dag_id}.py"
        serialized = LazyDeserializedDAG.from_dag(dag)
        with create_session() as session:
            DagBundlesManager().sync_bundles_to_db(session=session)
            session.commit()
            update_dag_parsing_results_in_db("dags-folder", None, [serialized], {}, None, set(), session=session)
        return serialized._real_dag

    return store


@pytest.fixture
def run_dag(store_dag: Callable[[Any], Any]) -> Callable[..., Run]:
    """Run a DAG that was made in the test."""

    def run(dag: Any, **options: Any) -> Run:
        store_dag(dag)
        return Run(dag.test(**options))

    return run


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[str], Any]:
    """Parse the source of a DAG file as the DAG processor does; return Airflow's DagBag."""

    def parse_source(source: str, name: str = "pipeline.py") -> Any:
        try:
            from airflow.dag_processing.dagbag import DagBag
        except ImportError:  # Airflow 3.1
            from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

        folder = tmp_path / "dags"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(
            "from __future__ import annotations\nfrom airflow_kart import *\n" + textwrap.dedent(source)
        )
        return DagBag(dag_folder=str(folder), bundle_path=folder)

    return parse_source


@pytest.fixture
def load_module(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Load source as a module of its own."""
    loaded = []

    def load(source: str, name: str = "pipeline") -> Any:
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        sys.modules.pop(name, None)
