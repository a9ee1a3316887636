"""DAG runs that a test makes itself, task instance by task instance, as ``dag.test()`` does for a whole run."""

from __future__ import annotations

from typing import Any

__all__ = ["as_scheduled", "clear", "run_tasks"]


def as_scheduled(dag: Any) -> Any:
    """Return a DAG as the scheduler has it."""
    from airflow.serialization import serialized_objects

    found: Any = serialized_objects
    serialization = getattr(found, "DagSerialization", None) or found.SerializedDAG  # the latter in Airflow 3.1
    return serialization.deserialize_dag(serialization.serialize_dag(dag))


def run_tasks(dag: Any, run_id: str) -> dict[str, str]:
    """Run what Airflow would schedule of a run, until nothing is left; return the states."""
    from airflow.models.dagrun import DagRun
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.run_id == run_id)).one()
        run.dag = as_scheduled(dag)
        while True:
            session.expire_all()
            ready, _ = run.update_state(session=session)
            if not ready:
                return {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
            for ti in ready:
                ti.try_number += 1
                ti.state = "scheduled"
            session.commit()
            for ti in ready:
                ti.refresh_from_db(session=session)
                if str(ti.state) == "scheduled":  # else the plan has skipped it
                    _run_task(ti=ti, task=dag.task_dict[ti.task_id])


def clear(dag: Any, run_id: str, *task_ids: str) -> None:
    """Clear task instances of a run, as the button does; without task ids all."""
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        of_run = select(TaskInstance).where(TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == run_id)
        tis = [ti for ti in session.scalars(of_run) if not task_ids or ti.task_id in task_ids]
        clear_task_instances(tis, session)
        for ti in tis:
            ti.dag_run.state = "running"
