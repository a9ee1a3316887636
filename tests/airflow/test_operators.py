"""What all operators take, where it may come from, and that a compiled DAG hands all of it on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
from typing import Any

import pytest
from airflow.sdk import DAG
from harness.pipeline import Raw

from airflow_kart import KartDag, KartOperator, KartPlanOperator, KartReportOperator, KartTaskGroup, kart_dag
from airflow_kart.compiler.compile import Where
from airflow_kart.operators.blueprint import Blueprint

TASK = Raw(day=dt.date(2024, 1, 1))
SHARED: dict[str, Any] = {
    "bind": {"day": "2024-02-02"},
    "workspace_directory": "/elsewhere",
    "read_from": ["/shared"],
    "aws_conn_id": "own_aws",
    "gcp_conn_id": "own_gcp",
    "lock": "redis",
    "redis_conn_id": "own_redis",
}
OPERATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "task": (KartOperator, {"task": TASK}),
    "plan": (KartPlanOperator, {"blueprint": Blueprint.single("task", TASK)}),
    "report": (KartReportOperator, {"blueprint": Blueprint.single("task", TASK)}),
}
operator = pytest.mark.parametrize(("operator", "arguments"), OPERATORS.values(), ids=OPERATORS)


@operator
def test_shared_arguments_may_come_from_default_args(operator, arguments):
    with DAG("operators_defaults", schedule=None, default_args={**SHARED, "retries": 4}):
        made = operator(task_id="task", **arguments)
        told = operator(task_id="told", **arguments, aws_conn_id="told", retries=1)
    assert {name: getattr(made, name) for name in SHARED} == SHARED
    assert made.retries == 4
    assert (told.aws_conn_id, told.gcp_conn_id, told.retries) == ("told", "own_gcp", 1)


@operator
def test_shared_arguments_are_none_where_nobody_gives_them(operator, arguments):
    made = operator(task_id="task", **arguments)
    assert {getattr(made, name) for name in SHARED} == {None}


@operator
def test_shared_arguments_are_templates(operator, arguments):
    templates = {"bind": {"day": "{{ ds }}"}, "read_from": ["{{ ds }}"]}
    made = operator(task_id="task", **arguments, **{name: templates.get(name, "{{ ds }}") for name in SHARED})
    made.render_template_fields({"ds": "2024-02-02"})
    rendered = {"bind": {"day": "2024-02-02"}, "read_from": ["2024-02-02"]}
    assert {name: getattr(made, name) for name in SHARED} == {name: rendered.get(name, "2024-02-02") for name in SHARED}


@operator
def test_an_argument_nobody_knows_is_refused(operator, arguments):
    with pytest.raises(TypeError, match="wrokspace_directory"):
        operator(task_id="task", **arguments, wrokspace_directory="/elsewhere")


def test_a_compiled_dag_hands_on_all_that_operators_take():
    assert {"bind", *(field.name for field in dataclasses.fields(Where))} == set(SHARED)
    for maker in (KartDag, KartTaskGroup, kart_dag):
        assert SHARED.keys() <= inspect.signature(maker).parameters.keys(), maker
    dag = KartDag("operators_compiled", TASK, schedule=None, **SHARED)
    for made in dag.tasks:
        assert {name: getattr(made, name) for name in SHARED} == SHARED
