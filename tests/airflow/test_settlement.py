"""An operator whose end leaves the inputs of tasks downstream as they were, settles these tasks: they need no process."""

from __future__ import annotations

import threading
import time

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_kart import KartDag, KartTaskGroup, Workspace, build
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.operators.xcom import kart_result
from airflow_kart.runtime.runner import run_task

SOURCE = """
from __future__ import annotations
from airflow_kart import *

RAN = []

def helper(value):
    return value + 1

class Root(TaskOnKart[int]):
    code_version = "auto"
    def run(self):
        RAN.append("Root")
        self.dump(helper(1))

class Cell(TaskOnKart[int]):
    code_version = "auto"
    level: int = IntParameter(default=3)
    column: int = IntParameter(default=0)

    def requires(self):
        if self.level == 3:
            return [Cell(level=2, column=column) for column in range(3)]
        return [Cell(level=self.level - 1, column=self.column) if self.level == 2 else Root()]

    def run(self):
        RAN.append("Cell")
        self.dump(self.column + sum(self.load()))
"""
EQUAL = SOURCE.replace("value + 1", "1 + value  # other code, equal result")
OTHER = SOURCE.replace("value + 1", "value + 2")


def processes(run):
    """The tasks that pushed what became of them; of settled ones nobody did."""
    from airflow.models.xcom import XComModel

    own = (
        (XComModel.dag_id == run.dag_run.dag_id)
        & (XComModel.run_id == run.dag_run.run_id)
        & (XComModel.key == "return_value")
    )
    with create_session() as session:
        return sorted(set(session.scalars(select(XComModel.task_id).where(own))) - {"plan", "report"})


def why(run):
    return run.xcom("report", "report")["why"]


@pytest.fixture
def pipeline(load_module):
    """Load a version of the pipeline; return its module."""

    def load(source):
        return load_module(source, "settled")

    return load


def test_an_edit_without_consequence_costs_one_process(run_dag, pipeline):
    cold = run_dag(KartDag("settled", pipeline(SOURCE).Cell(), schedule=None))
    assert len(processes(cold)) == 8
    module = pipeline(EQUAL)
    dag = KartDag("settled", module.Cell(), schedule=None)
    run = run_dag(dag)
    assert (run.state, module.RAN) == ("success", ["Root"])
    (root,) = processes(run)
    assert run.states[root] == "success"
    report = run.xcom("report", "report")
    assert (len(report["reused"]), report["ran"], report["skipped"]) == (7, [root], [])
    assert all("reused from an equal run" in why(run)[one] for one in report["reused"])
    assert {run.states[one] for one in report["reused"]} == {"skipped"}
    assert run_dag(dag).outcomes()["ran"] == []
    assert build(module.Cell()) == build(pipeline(SOURCE).Cell())


def test_an_edit_with_consequences_settles_nothing_until_it_is_taken_back(run_dag, pipeline):
    found = []
    for source in (SOURCE, OTHER, EQUAL):
        run = run_dag(KartDag("unsettled", pipeline(source).Cell(), schedule=None))
        found.append((len(run.outcomes()["ran"]), len(processes(run))))
    assert found == [(8, 8), (8, 8), (1, 1)]


TWO = """
from __future__ import annotations
from airflow_kart import *

RAN = []

class Noted(TaskOnKart[int]):
    def run(self):
        RAN.append(type(self).__name__)
        self.dump(self.load() if self.requires() else VALUES[type(self).__name__])

VALUES = {"Left": 1, "Right": 2}

class Left(Noted): pass
class Right(Noted): pass
class Both(Noted):
    def requires(self):
        return {"left": Left(), "right": Right()}
class Next(Noted):
    def requires(self):
        return Both()
class Last(Noted):
    def requires(self):
        return Next()
"""


def test_a_task_with_several_inputs_is_settled_when_the_last_one_is_there(run_dag, pipeline):
    module = pipeline(TWO)
    dag = KartDag("settled_two", module.Last(), schedule=None)
    run_dag(dag)
    again = {"run_conf": {"kart_rerun": ["Left", "Right"]}}
    module.RAN.clear()
    assert processes(run_dag(dag, **again)) == ["left", "right"]
    assert sorted(module.RAN) == ["Left", "Right"]
    for name in ("Left", "Right"):  # neither's old artifact, which is still readable, may stand for the new one
        module.VALUES[name] += 10
        run = run_dag(KartDag("settled_two", module.Last(), schedule=None), **again)
        assert processes(run) == ["both", "last", "left", "next", "right"]
        assert module.Both().output().load() == {"left": module.VALUES["Left"], "right": module.VALUES["Right"]}


def test_an_input_in_a_workspace_that_is_only_read_does_not_stand_for_the_rerun_one(run_dag, pipeline, tmp_path):
    module = pipeline(TWO)
    with Workspace(str(tmp_path / "elsewhere")):
        build(module.Last())
    workspace = Workspace(str(tmp_path / "own"), read_from=(str(tmp_path / "elsewhere"),))
    module.VALUES.update(Left=10, Right=20)
    run = run_dag(
        KartDag("settled_read", module.Last(), schedule=None, workspace=workspace),
        run_conf={"kart_rerun": ["Left", "Right"]},
    )
    assert run.state == "success"
    with workspace:
        assert module.Last().output().load() == {"left": 10, "right": 20}


@pytest.mark.parametrize("case", ["downstream", "named in a pull", "an author's rule", "an asset", "on_cached"])
def test_who_is_needed_has_a_process_of_its_own(run_dag, pipeline, case):
    module = pipeline(TWO)
    if case == "an author's rule":
        module.Next.operator_kwargs = {"trigger_rule": "all_done"}
    if case == "an asset":
        module.Next.assets, module.Next.assets_when_cached = ("settled-asset",), True
    with DAG(f"settled_{len(case)}", schedule=None) as dag:
        group = KartTaskGroup("g", module.Last(), on_cached="success" if case == "on_cached" else "skip")
        if case == "downstream":
            dag.get_task("g.next") >> BashOperator(task_id="after", bash_command="true")
        if case == "named in a pull":
            group >> BashOperator(task_id="after", bash_command="echo {{ ti.xcom_pull(task_ids='g.next')['outcome'] }}")
    run_dag(dag)
    module.RAN.clear()
    run = run_dag(dag, run_conf={"kart_rerun": ["Left"]})
    assert (run.state, module.RAN) == ("success", ["Left"])
    own = {"g.left", "g.next"} if case != "on_cached" else {"g.left", "g.both", "g.next", "g.last"}
    assert set(processes(run)) - {"after", "g.plan", "g.report"} - ({"g.right"} if case == "on_cached" else set()) == own
    assert run.xcom("g.next")["outcome"] == "reused"
    assert sorted(run.xcom("g.report", "report")["reused"]) == ["g.both", "g.last", "g.next"]
    assert run.states["g.next"] == ("success" if case in ("downstream", "on_cached", "an asset") else "skipped")


def test_a_task_outside_the_graph_finds_what_became_of_a_settled_one(run_dag, pipeline):
    module = pipeline(TWO)
    with DAG("settled_result", schedule=None) as dag:
        ask = PythonOperator(
            task_id="ask", python_callable=lambda ti: [kart_result(ti, f"g.{name}") for name in ("both", "last", "right")]
        )
        KartTaskGroup("g", module.Last()) >> ask
    cold = run_dag(dag).xcom("ask")
    run = run_dag(dag, run_conf={"kart_rerun": ["Left"]})
    assert "g.both" not in processes(run)
    found = run.xcom("ask")
    assert [one["outcome"] for one in found] == ["reused", "reused", "cached"]
    assert [one["unique_id"] for one in found] == [one["unique_id"] for one in cold]
    assert [one["artifacts"] for one in found] == [one["artifacts"] for one in cold]


def test_a_task_that_another_run_makes_is_left_to_its_own_operator(run_dag, pipeline):
    module = pipeline(TWO)
    dag = KartDag("settled_lock", module.Last(), schedule=None)
    run_dag(dag)
    module.RAN.clear()
    workspace = Workspace.current()
    held = threading.Event()

    def hold():
        lease = locks_for(workspace).acquire(module.Next().unique_id, Holder("another run"))
        assert not isinstance(lease, Taken)
        held.set()
        while "Left" not in module.RAN:
            time.sleep(0.05)
        time.sleep(2)
        lease.release()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    run = run_dag(dag, run_conf={"kart_rerun": ["Left"]})
    holder.join()
    assert (run.state, module.RAN) == ("success", ["Left"])
    assert processes(run) == ["left", "next"]


def test_a_task_downstream_of_a_skip_is_not_settled_with_the_artifact_before(run_dag, pipeline):
    module = pipeline(TWO)
    dag = KartDag("settled_skip", module.Last(), schedule=None)
    run_dag(dag)
    again = {"run_conf": {"kart_rerun": ["Left", "Right"]}}
    module.Left.run, run = skip, module.Left.run
    report = run_dag(dag, **again).xcom("report", "report")
    assert report["skipped"] == ["left", "both", "next", "last"]
    module.Left.run = run
    module.VALUES["Left"] = 5
    run_dag(dag)
    assert module.Last().output().load() == {"left": 5, "right": 2}


def skip(_task):
    raise AirflowSkipException("nothing today")


def test_a_task_that_was_made_meanwhile_of_an_input_before_its_rerun_is_not_taken_for_complete(run_dag, pipeline):
    module = pipeline(TWO)
    dag = KartDag("settled_meanwhile", module.Last(), schedule=None)
    run_dag(dag)
    module.VALUES["Left"] = 5
    run = module.Left.run

    def meanwhile(task):
        run_task(module.Both())  # as `airflow tasks test` does, for example
        run(task)

    module.Left.run = meanwhile
    assert run_dag(dag, run_conf={"kart_rerun": ["Left"]}).state == "success"
    assert module.Last().output().load() == {"left": 5, "right": 2}


def test_a_wrapper_is_skipped_where_something_that_it_groups_is(run_dag, pipeline):
    module = pipeline(TWO + "\nclass Group(WrapperTask):\n    def requires(self):\n        return [Left(), Right()]\n")
    module.Left.run = skip
    run = run_dag(KartDag("settled_wrapper", module.Group(), schedule=None))
    assert run.xcom("report", "report")["skipped"] == ["left", "group"]
    assert run.states["report"] == "skipped"


def test_a_reused_artifact_at_a_new_place_is_an_event_of_its_asset(run_dag, pipeline):
    def events():
        with create_session() as session:
            rows = select(AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
            return [extra["unique_id"] for extra in session.scalars(rows.where(AssetModel.name == "settled-news"))]

    source = SOURCE.replace("    level:", '    assets = ("settled-news",)\n    level:')
    edited = source.replace("value + 1", "1 + value  # other code, equal result")
    run_dag(KartDag("settled_news", pipeline(source).Cell(level=1), schedule=None))
    module = pipeline(edited)
    dag = KartDag("settled_news", module.Cell(level=1), schedule=None)
    run = run_dag(dag)
    assert run.xcom("report", "report")["reused"] == ["cell"]
    run_dag(dag, run_conf={"kart_rerun": ["Root"]})  # the artifact stays as it is
    assert len(events()) == 2
    assert events()[1] == module.Cell(level=1).unique_id
