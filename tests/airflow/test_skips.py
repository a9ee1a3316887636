"""A skip that is no hit: by a branch, by ``run()``, by a person. It skips what is downstream, and the report says so."""

from __future__ import annotations

import datetime as dt

import pytest
from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.exceptions import AirflowSkipException
from harness.pipeline import Clean, Judged, Noted, Raw, Window, ran

from airflow_kart import IntParameter, KartDag, KartOperator, KartTaskGroup, TaskOnKart, build

DAY = dt.date(2024, 5, 6)
GRAPH = {"raw__0", "raw__1", "clean__0", "clean__1", "window", "model", "judged"}
plan_or_not = pytest.mark.parametrize("plan", [True, False], ids=["plan", "no plan"])


@pytest.fixture(autouse=True)
def _nothing_noted():
    ran()


class NoData(Noted):
    """Skips itself while ``there`` is false."""

    there = False

    def run(self):
        super().run()
        if not NoData.there:
            raise AirflowSkipException("no data today")


class Other(Noted):
    pass


class Report(Noted):
    def requires(self):
        return {"data": NoData(), "other": Other()}


class Summary(Noted):
    def requires(self):
        return Report()


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.setattr(NoData, "there", False)


def branch_away(group_of):
    @task.branch
    def choose():
        return "elsewhere"

    @task
    def elsewhere():
        return "here"

    @task
    def after():
        return "after"

    chosen = choose()
    chosen >> elsewhere()
    group = group_of()
    chosen >> group >> after()


@plan_or_not
def test_a_branch_that_goes_elsewhere_skips_the_whole_group(run_dag, plan):
    with DAG(f"skips_branch_{plan}", schedule=None) as dag:
        branch_away(lambda: KartTaskGroup("group", Judged(day=DAY), plan=plan))
    run = run_dag(dag)
    assert run.state == "success"
    assert {state for task_id, state in run.states.items() if task_id.startswith("group.")} == {"skipped"}
    assert run.states["after"] == "skipped"
    assert run.states["elsewhere"] == "success"
    assert ran() == []


@plan_or_not
def test_artifacts_of_earlier_runs_do_not_make_a_skipped_group_run(run_dag, plan):
    build(Clean(day=DAY))
    ran()
    with DAG(f"skips_branch_warm_{plan}", schedule=None) as dag:
        branch_away(lambda: KartTaskGroup("group", Judged(day=DAY), plan=plan))
    run = run_dag(dag)
    assert run.state == "success"
    assert run.states["group.window"] == run.states["group.report"] == "skipped"
    assert ran() == []


@plan_or_not
def test_an_outside_task_that_skips_itself_skips_what_hangs_on_it(run_dag, plan):
    class Outside(BaseOperator):
        def execute(self, context):
            raise AirflowSkipException("not today")

    with DAG(f"skips_outside_{plan}", schedule=None) as dag:
        KartTaskGroup("group", Judged(day=DAY), plan=plan)
        Outside(task_id="outside") >> dag.get_task("group.window")
    run = run_dag(dag)
    assert run.state == "success"
    assert ran() == ["Clean", "Clean", "Raw", "Raw"]
    found = run.xcom("group.report", "report")
    assert found["skipped"] == ["group.window", "group.model", "group.judged"]
    assert found["why"]["group.window"] == "outside was skipped"
    assert found["why"]["group.judged"] == "group.model was skipped: group.window was skipped: outside was skipped"


def test_a_trigger_rule_of_the_author_decides_instead(run_dag):
    class Eager(Noted):
        operator_kwargs = {"trigger_rule": "all_done"}

        def requires(self):
            return Other()

    class Outside(BaseOperator):
        def execute(self, context):
            raise AirflowSkipException("not today")

    with DAG("skips_own_rule", schedule=None) as dag:
        KartTaskGroup("group", Eager())
        Outside(task_id="outside") >> dag.get_task("group.eager")
    assert run_dag(dag).outcomes("group.report")["ran"] == ["group.eager", "group.other"]


@plan_or_not
def test_run_that_skips_itself_skips_its_consumers(run_dag, plan, monkeypatch, caplog):
    dag = KartDag(f"skips_run_{plan}", Summary(), schedule=None, plan=plan)
    run = run_dag(dag)
    assert run.state == "success"
    assert ran() == ["NoData", "Other"]
    made = {"plan": "success"} if plan else {}
    skipped = dict.fromkeys(("no_data", "report_task", "summary", "report"), "skipped")
    assert run.states == {**made, **skipped, "other": "success"}
    found = run.xcom("report", "report")
    assert {name: found[name] for name in ("ran", "cached", "not_needed", "skipped", "failed")} == {
        "ran": ["other"],
        "cached": [],
        "not_needed": [],
        "skipped": ["no_data", "report_task", "summary"],
        "failed": [],
    }
    assert found["why"]["no_data"] == "no data today"
    assert found["why"]["report_task"] == "no_data was skipped: no data today"
    monkeypatch.setattr(NoData, "there", True)
    assert run_dag(dag).outcomes()["ran"] == ["no_data", "report_task", "summary"]
    ran()


def test_one_root_that_was_skipped_does_not_skip_the_report(run_dag):
    run = run_dag(KartDag("skips_one_root", [NoData(), Other()], schedule=None))
    assert run.states["report"] == "success"
    assert run.xcom("report", "report")["skipped"] == ["no_data"]
    assert run.xcom("report")["skipped"] == 1


def test_a_rerun_that_skips_itself_skips_what_was_made_from_the_old_artifact(run_dag, monkeypatch):
    dag = KartDag("skips_rerun", Summary(), schedule=None)
    monkeypatch.setattr(NoData, "there", True)
    run_dag(dag)
    ran()
    monkeypatch.setattr(NoData, "there", False)
    run = run_dag(dag, run_conf={"kart_rerun": ["no_data"]})
    assert run.state == "success"
    assert ran() == ["NoData"]
    assert run.xcom("report", "report")["skipped"] == ["no_data", "report_task", "summary"]
    assert run.outcomes()["cached"] == ["other"]


def test_a_task_without_an_operator_skips_its_consumers_operator(run_dag):
    class Inline(NoData):
        inline = True

    class User(Noted):
        def requires(self):
            return Inline()

    run = run_dag(KartDag("skips_inline", User(), schedule=None))
    assert run.states["user"] == "skipped"
    assert run.xcom("report", "report")["why"] == {"user": "no data today"}
    with DAG("skips_single", schedule=None) as single:
        KartOperator(task_id="summary", task=Summary())
    assert run_dag(single).states == {"summary": "skipped"}


@plan_or_not
def test_a_hit_is_no_skip(run_dag, plan):
    build(Window(day=DAY))
    ran()
    run = run_dag(KartDag(f"skips_hit_{plan}", Judged(day=DAY), schedule=None, plan=plan))
    assert run.outcomes()["ran"] == ["judged", "model"]
    assert run.states["window"] == "skipped"
    assert ran() == ["Judged", "Model"]


def test_a_task_that_is_marked_as_success_without_an_artifact_is_not_cached(run_dag, monkeypatch):
    from airflow_kart import KartOperator as Operator

    def marked_by_hand(self, context):
        return None

    dag = KartDag("skips_marked", Raw(day=DAY), schedule=None)
    monkeypatch.setattr(Operator, "execute", marked_by_hand)
    run = run_dag(dag)
    assert run.states["raw"] == "success"
    found = run.xcom("report", "report")
    assert (found["skipped"], found["cached"], found["ran"]) == (["raw"], [], [])
    assert found["why"]["raw"].startswith("it was marked as success, and its artifact is not there: ")


def test_a_task_whose_artifact_went_after_it_ran_is_still_said_to_have_run(run_dag):
    class Volatile(TaskOnKart[int]):
        n: int = IntParameter(default=1)

        def run(self):
            self.dump(self.n)

    class Remover(TaskOnKart[int]):
        def requires(self):
            return Volatile()

        def run(self):
            self.dump(self.load())
            Volatile().output().remove()

    run = run_dag(KartDag("skips_gone", Remover(), schedule=None))
    assert run.outcomes()["ran"] == ["remover", "volatile"]
