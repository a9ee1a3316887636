"""What all operators take, where it may come from, and that a compiled DAG hands all of it on."""

from __future__ import annotations

import datetime as dt
import inspect
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from harness.pipeline import Clean, Raw

from airflow_kart import (
    KartDag,
    KartOperator,
    KartPlanOperator,
    KartReportOperator,
    KartTaskGroup,
    TaskOnKart,
    Workspace,
    build,
    kart_dag,
)
from airflow_kart.exceptions import BindingError, ConfigurationError, IdentityError
from airflow_kart.operators.blueprint import Blueprint

HOME = os.environ["AIRFLOW_HOME"]
TASK = Raw(day=dt.date(2024, 1, 1))
SHARED: dict[str, Any] = {
    "bind": {"day": "2024-02-02"},
    "workspace": Workspace("/elsewhere", "own_aws", "own_gcp", ("/shared",), "redis", "own_redis"),
}
HELD: dict[str, Any] = {
    "bind": {"day": "2024-02-02"},
    "workspace": {
        "directory": "/elsewhere",
        "read_from": ["/shared"],
        "aws_conn_id": "own_aws",
        "gcp_conn_id": "own_gcp",
        "lock": "redis",
        "redis_conn_id": "own_redis",
    },
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
        told = operator(task_id="told", **arguments, workspace="/told", retries=1)
    assert {name: getattr(made, name) for name in HELD} == HELD
    assert made.retries == 4
    assert (told.workspace, told.bind, told.retries) == ({"directory": "/told"}, HELD["bind"], 1)


@operator
def test_shared_arguments_are_none_where_nobody_gives_them(operator, arguments):
    made = operator(task_id="task", **arguments)
    assert {getattr(made, name) for name in HELD} == {None}


@operator
def test_shared_arguments_are_templates(operator, arguments):
    written = Workspace("{{ ds }}/ws", "{{ ds }}", "{{ ds }}", ("{{ ds }}/../other",), "{{ ds }}", "{{ ds }}")
    made = operator(task_id="task", **arguments, bind={"day": "{{ ds }}"}, workspace=written)
    assert operator.template_fields == tuple(HELD)
    made.render_template_fields({"ds": "2024-02-02"})
    assert made.bind == {"day": "2024-02-02"}
    day = "2024-02-02"
    assert made.workspace == {
        "directory": f"{day}/ws",
        "read_from": [f"{day}/../other"],
        **dict.fromkeys(("aws_conn_id", "gcp_conn_id", "lock", "redis_conn_id"), day),
    }
    assert made.run_workspace() == Workspace(f"{HOME}/{day}/ws", day, day, (f"{HOME}/other",), day, day)


@operator
@pytest.mark.parametrize(
    ("given", "directory"),
    [
        ({"workspace_directory": "below/home"}, f"{HOME}/below/home"),
        ({"workspace": "below/home"}, f"{HOME}/below/home"),
        ({"workspace": Workspace("below/home")}, f"{HOME}/below/home"),
        ({"workspace": "s3://bucket/ws"}, "s3://bucket/ws"),
        ({"workspace": Workspace("~/ws")}, os.path.expanduser("~/ws")),
        ({"workspace": Path("/data/ws")}, "/data/ws"),
    ],
    ids=["short form", "text", "workspace", "uri", "home of the user", "path"],
)
def test_a_relative_workspace_is_below_airflow_home(operator, arguments, given, directory):
    made = operator(task_id="task", **arguments, **given)
    assert made.run_workspace() == Workspace(directory)


@operator
def test_without_a_workspace_it_is_the_configured_one(operator, arguments, workspace):
    assert operator(task_id="task", **arguments).run_workspace() == Workspace(str(workspace))
    assert operator(task_id="empty", **arguments, workspace_directory="").run_workspace() == Workspace(str(workspace))
    rendered_to_nothing = operator(task_id="nothing", **arguments, workspace=Workspace("{{ '' }}", lock="lease"))
    rendered_to_nothing.render_template_fields({})
    assert rendered_to_nothing.run_workspace() == Workspace(str(workspace), lock="lease")
    with Workspace("/entered", lock="none") as entered:
        assert operator(task_id="entered", **arguments).run_workspace() == entered


@operator
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workspace": "/a", "workspace_directory": "/b"}, "workspace is '/a' and workspace_directory is '/b' .*give one"),
        ({"workspace": 3}, r"workspace is 3; give a path, a uri, or a Workspace\(...\)"),
        ({"workspace_directory": b"/a"}, "workspace_directory is b'/a'; give a path"),
        ({"namespace": 3}, "namespace is 3, and that of the workspace is 3; give one text"),
        (
            {"namespace": "a", "workspace": Workspace("/a", namespace="b")},
            "namespace is 'a', and that of the workspace is .b.; give one text",
        ),
        ({"namespace": "{{ ds }}"}, "namespace is '{{ ds }}'; give words of letters"),
        ({"namespace": "airflow_kart.x"}, "namespace is 'airflow_kart.x'; give words of letters"),
    ],
    ids=str,
)
def test_a_wrong_workspace_is_an_error_when_the_operator_is_made(operator, arguments, given, message):
    with pytest.raises((BindingError, ConfigurationError), match=message):
        operator(task_id="task", **arguments, **given)


def test_a_namespace_of_other_operators_is_none_of_ours():
    with DAG("operators_kubernetes", schedule=None, default_args={"namespace": "pods"}):
        assert KartOperator(task_id="alone", task=TASK).workspace is None
        KartTaskGroup("group", TASK)
        named = KartOperator(task_id="named", task=TASK, namespace="team_a")
    assert named.workspace == {"directory": "", "namespace": "team_a"}


@operator
def test_an_argument_nobody_knows_is_refused(operator, arguments):
    with pytest.raises(TypeError, match="wrokspace_directory"):
        operator(task_id="task", **arguments, wrokspace_directory="/elsewhere")


def test_a_compiled_dag_hands_on_all_that_operators_take():
    for maker in (KartDag, KartTaskGroup, kart_dag):
        assert {*SHARED, "workspace_directory", "namespace"} <= inspect.signature(maker).parameters.keys(), maker
    dag = KartDag("operators_compiled", TASK, schedule=None, **SHARED)
    with DAG("operators_grouped", schedule=None) as grouped:
        KartTaskGroup("group", TASK, **SHARED)
    for made in [*dag.tasks, *grouped.tasks]:
        assert {name: getattr(made, name) for name in HELD} == HELD


@pytest.mark.parametrize("maker", [KartDag, KartTaskGroup])
def test_a_wrong_workspace_is_an_error_of_the_dag(maker):
    with (
        DAG("operators_wrong", schedule=None),
        pytest.raises(BindingError, match=r"^Kart\w+ 'wrong': workspace is '/a' and"),
    ):
        maker("wrong", TASK, workspace="/a", workspace_directory="/b")


def test_the_workspace_of_a_dag_wins_over_its_default_args():
    dag = KartDag("operators_won", TASK, schedule=None, workspace="/a", default_args={"workspace_directory": "/b"})
    assert {vars(operator)["workspace"]["directory"] for operator in dag.tasks} == {"/a"}


def test_a_workspace_of_templates_is_where_the_artifacts_are(run_dag, tmp_path):
    class Number(TaskOnKart[int]):
        def run(self):
            self.dump(1)

    made = build(Number(), workspace_directory=tmp_path / "shared")
    directory = f"{tmp_path}/{{{{ dag.dag_id }}}}"
    shared = (f"{tmp_path}/{{{{ params.shared }}}}",)
    given: dict[str, Any] = {"schedule": None, "params": {"shared": "shared"}}
    run = run_dag(KartDag("operators_read", Number(), workspace=Workspace(directory, read_from=shared), **given))
    assert run.states["number"] == "skipped"
    run = run_dag(KartDag("operators_own", Number(), workspace=Workspace(directory, lock="none"), **given))
    assert run.outcomes()["ran"] == ["number"]
    with Workspace(str(tmp_path / "operators_own")):
        assert Number().output().load() == made
    assert not (tmp_path / "operators_read").exists()


def test_two_namespaces_of_a_workspace_share_nothing(run_dag, tmp_path):
    given: dict[str, Any] = {"schedule": None, "workspace_directory": str(tmp_path), "on_cached": "success"}
    day = dt.date(2024, 1, 1)
    first = KartDag("operators_a", Clean(day=day), namespace="team.a", **given)
    assert run_dag(first).outcomes()["ran"] == ["clean", "raw"]
    assert run_dag(first).outcomes()["cached"] == ["clean"]
    assert run_dag(KartDag("operators_none", Clean(day=day), **given)).outcomes()["ran"] == ["clean", "raw"]
    with DAG("operators_b", schedule=None) as second:
        group = KartTaskGroup("group", Clean(day=day), namespace="b", workspace_directory=str(tmp_path))
        alone = KartOperator(task_id="alone", task=Raw(day=day), workspace=Workspace(str(tmp_path), namespace="b"))
        group >> alone
    run = run_dag(second, run_conf={"kart_rerun": ["group.clean"]})
    assert run.outcomes("group.report")["ran"] == ["group.clean", "group.raw"]
    assert run.states["alone"] == "skipped"
    with Workspace(str(tmp_path), namespace="b"):
        here = Clean(day=day)
        assert here.complete()
        assert here.output().uri.startswith(f"{tmp_path}/b/harness/pipeline/Clean_")
        assert here.output().sidecar().content["task"]["class"] == "b.harness.pipeline.Clean"
        assert Clean.restore(here.unique_id) == here
        with (
            Workspace(str(tmp_path)),
            pytest.raises(IdentityError, match=r"as b\.harness\.pipeline\.Clean, and is harness\.pipeline\.Clean in"),
        ):
            here.complete()
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {"harness", "team", "b"}
    assert Clean(day=day).unique_id != here.unique_id
