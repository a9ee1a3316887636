"""What becomes of each task in a run: ran, cached, not needed, failed."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from airflow.sdk import DAG, BaseOperator
from harness.pipeline import RAN, Clean, Judged, Model, Raw, Window, ran
from harness.stand_ins import context

from airflow_kart import KartDag, KartOperator, KartTaskGroup, TaskOnKart, build, run_date
from airflow_kart.operators import bulk_skip

DAY = dt.date(2024, 5, 6)
TASKS = {"raw__0", "raw__1", "clean__0", "clean__1", "window", "model", "judged"}


@pytest.fixture(autouse=True)
def _nothing_noted():
    ran()


def judged(dag_id, **options):
    return KartDag(dag_id, Judged(day=DAY), schedule=None, **options)


def test_cold_then_warm(run_dag):
    dag = judged("outcome_cold")
    cold = run_dag(dag)
    assert cold.state == "success"
    assert cold.outcomes() == {"ran": sorted(TASKS), "cached": [], "not_needed": [], "failed": []}
    assert len(ran()) == 7
    warm = run_dag(dag)
    assert warm.outcomes() == {"ran": [], "cached": ["judged"], "not_needed": sorted(TASKS - {"judged"}), "failed": []}
    assert {warm.states[task] for task in TASKS} == {"skipped"}
    assert warm.states["plan"] == warm.states["report"] == "success"
    assert ran() == []


def test_more_tasks_are_skipped_than_one_request_names(run_dag, monkeypatch):
    monkeypatch.setattr(bulk_skip, "_MOST_AT_ONCE", 3)
    dag = judged("outcome_requests")
    run_dag(dag)
    warm = run_dag(dag)
    assert {warm.states[task] for task in TASKS} == {"skipped"}
    assert warm.states["plan"] == warm.states["report"] == "success"


def test_no_task_is_skipped_while_the_scheduler_could_start_one_downstream_of_it(monkeypatch):
    monkeypatch.setattr(bulk_skip, "_MOST_AT_ONCE", 2)
    operators = judged("outcome_order").task_dict
    requests = bulk_skip.requests_of(TASKS, operators)
    assert sorted(task for request in requests for task in request) == sorted(TASKS)
    settled: set[str] = set()
    for request in requests:
        settled.update(request)
        for task in request:
            assert operators[task].downstream_task_ids & TASKS <= settled, requests


def test_a_changed_value_reruns_its_task_and_what_is_below(run_dag):
    dag = judged("outcome_changed")
    run_dag(dag)
    ran()
    assert run_dag(dag, run_conf={"kind": "forest"}).outcomes()["ran"] == ["judged", "model"]
    assert ran() == ["Judged", "Model"]


def test_rerun_takes_globs_and_reruns_what_is_below(run_dag):
    dag = judged("outcome_rerun")
    run_dag(dag)
    ran()
    run = run_dag(dag, run_conf={"kart_rerun": ["clean__*+"]})
    assert ran() == ["Clean", "Clean", "Judged", "Model", "Window"]
    assert run.outcomes()["cached"] == ["raw__0", "raw__1"]


def other_bytes(task):
    RAN.append("Clean")
    task.dump("other bytes")


@pytest.mark.parametrize("plan", [True, False], ids=["plan", "no plan"])
def test_where_a_rerun_gives_equal_bytes_nothing_downstream_runs(run_dag, monkeypatch, plan):
    dag = judged("outcome_equal", plan=plan)
    run_dag(dag)
    ran()
    run = run_dag(dag, run_conf={"kart_rerun": ["clean__0"]})
    assert ran() == ["Clean"]
    assert run.state == "success"
    assert sorted(run.xcom("report", "report")["reused"]) == ["judged", "model", "window"]
    assert {run.states[task] for task in ("judged", "model", "window")} == {"skipped"}
    assert re.search("reused from an equal run|its inputs are equal to", run.xcom("report", "report")["why"]["judged"])
    with monkeypatch.context() as changed:
        changed.setattr(Clean, "run", other_bytes)
        again = run_dag(dag, run_conf={"kart_rerun": ["clean__0"]})
    assert sorted(again.outcomes()["ran"]) == ["clean__0", "judged", "model", "window"]
    assert ran() == ["Clean", "Judged", "Model", "Window"]
    assert run_dag(judged("outcome_equal", plan=plan)).outcomes()["ran"] == []


@pytest.mark.parametrize(
    ("named", "again"),
    [
        ("Clean+", ["Clean", "Clean", "Judged", "Model", "Window"]),
        ("Clean", ["Clean", "Clean"]),
        ("Judge*", ["Judged"]),
        ("model+", ["Judged", "Model"]),
        (["raw__1", "Judged"], ["Judged", "Raw"]),
    ],
    ids=str,
)
def test_rerun_takes_classes_task_ids_and_globs(run_dag, named, again):
    dag = judged(f"outcome_rerun_{len(str(named))}")
    build(Judged(day=DAY))
    ran()
    run_dag(dag, run_conf={"kart_rerun": named if isinstance(named, list) else [named]})
    assert ran() == again


def test_rerun_of_nothing_says_what_there_is(run_dag, capfd):
    assert run_dag(judged("outcome_rerun_none"), run_conf={"kart_rerun": ["modle"]}).state == "failed"
    said = "".join(capfd.readouterr())
    assert "kart_rerun: no task matches 'modle'; there are Clean, Judged, Model, Raw, Window, clean__0," in said
    assert "did you mean model?" in said


def test_on_cached_success_ends_cached_tasks_well(run_dag):
    dag = judged("outcome_success", on_cached="success")
    run_dag(dag)
    ran()
    warm = run_dag(dag)
    assert warm.states["judged"] == "success"
    assert warm.xcom("judged")["outcome"] == "cached"
    assert warm.states["raw__0"] == "skipped"
    assert ran() == []


def test_without_a_plan_each_operator_looks_for_itself(run_dag):
    dag = judged("outcome_unplanned", plan=False)
    assert "plan" not in dag.task_ids
    assert len(run_dag(dag).outcomes()["ran"]) == 7
    ran()
    warm = run_dag(dag)
    assert warm.state == "success"
    assert warm.outcomes() == {"ran": [], "cached": sorted(TASKS), "not_needed": [], "failed": []}
    assert ran() == []


def test_a_smaller_window_leaves_operators_without_a_task(run_dag):
    run = run_dag(judged("outcome_smaller"), run_conf={"days": 1})
    assert run.state == "success"
    assert run.outcomes()["not_needed"] == ["clean__1", "raw__1"]
    assert run.states["clean__1"] == "skipped"
    assert ran() == ["Clean", "Judged", "Model", "Raw", "Window"]


def test_a_larger_window_makes_new_tasks_inside_their_consumer(run_dag):
    run = run_dag(judged("outcome_larger"), run_conf={"days": 4})
    assert run.state == "success"
    assert ran().count("Clean") == 4
    assert run.outcomes()["ran"] == sorted(TASKS)


def test_a_missing_intermediate_of_complete_consumers_stays_missing(run_dag):
    dag = judged("outcome_intermediate")
    run_dag(dag)
    ran()
    window = Window(day=DAY)
    window.output().remove()
    assert "window" in run_dag(dag).outcomes()["not_needed"]
    assert ran() == []
    assert not window.complete()


def test_a_truncated_artifact_is_made_again(run_dag):
    dag = judged("outcome_truncated")
    run_dag(dag)
    ran()
    target = Judged(day=DAY).output()
    with open(target.uri, "r+b") as file:
        file.truncate(3)
    run = run_dag(dag)
    assert ran() == ["Judged"]
    assert run.outcomes()["cached"] == ["model"]


def test_an_altered_artifact_is_never_loaded(run_dag):
    run_dag(judged("outcome_altered"))
    target = Model(window=Window(day=DAY)).output()
    with open(target.uri, "r+b") as file:
        file.seek(5)
        file.write(b"\x00\xff")
    Judged(day=DAY).output().remove()
    ran()
    run = run_dag(judged("outcome_altered_again"))
    assert run.state == "failed"
    assert run.states["judged"] == "failed"
    assert not Judged(day=DAY).complete()


def test_tasks_outside_the_graph_always_run(run_dag):
    class Outside(BaseOperator):
        def execute(self, context):
            return self.task_id

    with DAG("outcome_outside", schedule=None) as dag:
        group = KartTaskGroup("kart", Judged(day=DAY))
        Outside(task_id="after_group").set_upstream(group)
        Outside(task_id="after_window").set_upstream(dag.get_task("kart.window"))
    for turn in ("cold", "warm"):
        run = run_dag(dag)
        assert run.state == "success"
        assert run.states["after_group"] == run.states["after_window"] == "success", turn
    assert run.states["kart.window"] == "success"
    assert run.states["kart.judged"] == "skipped"
    assert run.outcomes("kart.report")["cached"] == ["kart.judged", "kart.window"]


def test_two_groups_share_artifacts_and_the_form(run_dag):
    with DAG("outcome_groups", schedule=None) as dag:
        first = KartTaskGroup("first", Judged(day=DAY))
        first >> KartTaskGroup("second", Model(window=Window(day=DAY)))
    examples = dag.params.get_param("kart_rerun").schema["examples"]
    assert {f"first.{task}" for task in TASKS} | {"second.model", "second.window"} < set(examples)
    run = run_dag(dag, run_conf={"kart_rerun": ["second.model"]})
    assert len(run.outcomes("first.report")["ran"]) == 7
    assert run.outcomes("second.report")["ran"] == ["second.model"]
    assert run.outcomes("second.report")["cached"] == ["second.window"]


def test_two_groups_of_one_class_keep_their_values(run_dag):
    with DAG("outcome_values", schedule=None) as dag:
        KartTaskGroup("three", Judged(day=DAY, days=1)) >> KartTaskGroup("six", Judged(day=DAY, days=2))
    assert {name: dag.params[name] for name in ("days", "six.days")} == {"days": 1, "six.days": 2}
    assert "six.day" not in dag.params  # the same in both: one field
    run_dag(dag, run_conf={"six.days": 3})
    assert Judged(day=DAY, days=1).complete()
    assert Judged(day=DAY, days=3).complete()
    assert not Judged(day=DAY, days=2).complete()


def test_a_rerun_reaches_tasks_that_have_no_operator(run_dag):
    dag = judged("outcome_rerun_inside")
    run_dag(dag, run_conf={"days": 4})
    ran()
    run_dag(dag, run_conf={"days": 4, "kart_rerun": ["window+"]})
    assert ran() == ["Judged", "Model", "Window"]
    run_dag(dag, run_conf={"days": 4, "kart_rerun": ["raw__*+"]})
    assert sorted(set(ran())) == ["Clean", "Judged", "Model", "Raw", "Window"]


def test_a_rerun_that_failed_goes_on_in_the_next_run(run_dag, monkeypatch):
    run_dag(judged("outcome_rerun_failed"))
    with monkeypatch.context() as broken:
        broken.setattr(Judged, "run", lambda self: 1 / 0)
        assert run_dag(judged("outcome_rerun_failed"), run_conf={"kart_rerun": ["model+"]}).state == "failed"
    ran()
    assert run_dag(judged("outcome_rerun_failed")).outcomes()["ran"] == ["judged"]
    assert ran() == ["Judged"]


def test_an_operator_by_itself_reruns_and_makes_what_that_needs(run_dag):
    with DAG("outcome_single_rerun", schedule=None) as dag:
        KartOperator(task_id="model", task=Model(window=Window(day=DAY)))
    run_dag(dag)
    Window(day=DAY).output().remove()
    ran()
    assert run_dag(dag, run_conf={"kart_rerun": ["model"]}).xcom("model")["outcome"] == "ran"
    assert ran() == ["Model", "Window"]


def test_an_operator_by_itself_makes_what_is_missing_below(run_dag):
    with DAG("outcome_single", schedule=None) as dag:
        KartOperator(task_id="judge", task=Judged(day=DAY), on_cached="success")
    build(Clean(day=DAY))
    ran()
    assert run_dag(dag).xcom("judge")["outcome"] == "ran"
    assert ran() == ["Clean", "Judged", "Model", "Raw", "Window"]
    assert run_dag(dag).xcom("judge")["outcome"] == "cached"


def test_an_operator_by_itself_takes_templates(run_dag):
    with DAG("outcome_single_bound", schedule=None) as dag:
        KartOperator(task_id="raw", task=Raw(day=DAY), bind={"day": run_date(offset=dt.timedelta(days=-1))})
    run_dag(dag, logical_date=dt.datetime(2024, 7, 1, tzinfo=dt.timezone.utc))
    assert Raw(day=dt.date(2024, 6, 30)).complete()


def test_several_roots_share_what_they_share(run_dag):
    dag = KartDag(
        "outcome_roots", [Model(window=Window(day=DAY)), Model(window=Window(day=DAY), kind="forest")], schedule=None
    )
    assert {"model__tree", "model__forest", "window"} <= set(dag.task_ids)
    assert run_dag(dag).state == "success"
    assert ran() == ["Clean", "Clean", "Model", "Model", "Raw", "Raw", "Window"]


def test_a_failure_fails_the_run_and_is_reported(run_dag):
    class Broken(TaskOnKart[int]):
        def run(self):
            raise RuntimeError("broken")

    class Above(TaskOnKart[int]):
        def requires(self):
            return [Broken(), Raw(day=DAY)]

        def run(self):
            self.dump(1)

    run = run_dag(KartDag("outcome_failure", Above(), schedule=None))
    assert run.state == "failed"
    assert run.states["report"] == "failed"
    assert run.outcomes()["failed"] == ["above", "broken"]
    assert run.outcomes()["ran"] == ["raw"]


def test_an_unwritable_workspace_fails_the_plan(run_dag, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    dag = KartDag("outcome_unwritable", Raw(day=DAY), schedule=None, workspace_directory=str(tmp_path / "file" / "ws"))
    run = run_dag(dag)
    assert run.states["plan"] == "failed"
    assert run.states["raw"] == "upstream_failed"
    assert ran() == []


def test_missing_inputs_are_listed_with_the_command_that_makes_them(run_dag):
    from airflow_kart.exceptions import MissingInputError

    dag = judged("outcome_missing_inputs", plan=False)
    operator = dag.get_task("window")

    with pytest.raises(MissingInputError) as missing:
        operator.execute(context())
    message = str(missing.value)
    assert "needs 2 input(s) that are not there" in message
    for task_id, day in (("clean__0", DAY), ("clean__1", DAY - dt.timedelta(days=1))):
        assert Clean(day=day).output().uri in message
        assert f"airflow tasks test outcome_missing_inputs {task_id} 2024-05-06" in message


def kinds(run, name="plan", key="plan"):
    return {task_id: row["outcome"] for task_id, row in run.xcom(name, key).items()}


def test_the_plan_counts_and_the_report_says_why(run_dag, capfd):
    dag = judged("outcome_why")
    build(Window(day=DAY))
    ran()
    run = run_dag(dag)
    upstream = {"raw__0", "raw__1", "clean__0", "clean__1"}
    planned = {"judged": "run", "model": "run", "window": "cached", **dict.fromkeys(upstream, "not_needed")}
    assert kinds(run) == planned
    assert run.xcom("plan") == {"run": 2, "cached": 1, "not_needed": 4}
    assert {task_id: len(row["uris"]) for task_id, row in run.xcom("plan", "plan").items()} == dict.fromkeys(planned, 1)
    why = run.xcom("report", "report")["why"]
    assert why.pop("window").startswith("made 20")
    assert why == {"judged": "no artifact", "model": "no artifact", **dict.fromkeys(upstream, "nothing that needs it runs")}
    assert {key: run.xcom("report")[key] for key in ("ran", "cached", "not_needed", "skipped", "failed")} == {
        "ran": 2,
        "cached": 1,
        "not_needed": 4,
        "skipped": 0,
        "failed": 0,
    }
    said = "".join(capfd.readouterr())
    assert "Plan: 2 to run, 1 cached, 4 not needed, in " in said
    assert "Report: 2 ran, 1 cached, 4 not needed; " in said
    assert re.search(r"^task +outcome +seconds +values +why$", said, re.MULTILINE)
    assert re.search(r"^raw__0 +not_needed +\d\.\d\d +day=2024-05-0[56] +nothing that needs it runs$", said, re.MULTILINE)
    assert re.search(r"^judged +ran +\d\.\d\d +day=2024-05-06 +no artifact\b", said, re.MULTILINE)
    assert re.search(r"^model +run +day=2024-05-06 +no artifact: there is no earlier artifact of \w+$", said, re.MULTILINE)


def test_the_report_says_what_failed_and_what_could_not_run(run_dag, monkeypatch):
    monkeypatch.setattr(Window, "run", lambda self: 1 / 0)
    run = run_dag(judged("outcome_why_failed"))
    found = run.xcom("report", "report")
    assert found["failed"] == ["window", "model", "judged"]
    assert {task_id: found["why"][task_id] for task_id in found["failed"]} == {
        "window": "it failed",
        "model": "something it needs failed",
        "judged": "something it needs failed",
    }


@pytest.mark.parametrize("order", ["downstream first", "upstream first"])
def test_roots_that_overlap_run_and_rerun_together(run_dag, order):
    model = Model(window=Window(day=DAY))
    roots = [Judged(day=DAY), model, Window(day=DAY)]
    if order == "upstream first":
        roots.reverse()
    fixed = {"day": DAY, "days": 2, "kind": "tree"}  # a run may change a field of the form, and so part the roots
    dag = KartDag(f"outcome_overlap_{len(order)}", roots, bind=fixed, schedule=None)
    tasks = set(dag.task_ids) - {"plan", "report"}
    assert len(tasks) == 7
    assert dag.get_task("window").downstream_task_ids == {"model"}
    assert dag.get_task("report").upstream_task_ids == {"judged"}
    assert run_dag(dag).outcomes()["ran"] == sorted(tasks)
    ran()
    warm = run_dag(dag)
    assert kinds(warm) == {**dict.fromkeys(tasks, "not_needed"), **dict.fromkeys(("judged", "model", "window"), "cached")}
    run = run_dag(dag, run_conf={"kart_rerun": ["window"]})
    assert ran() == ["Window"]
    why = run.xcom("report", "report")["why"]
    assert why["window"] == "asked to run again"
    assert why["judged"].endswith("reused from an equal run")
    run = run_dag(dag, run_conf={"kart_rerun": ["window+"]})
    assert ran() == ["Judged", "Model", "Window"]


def test_a_rerun_has_the_plans_reason_in_its_sidecar(run_dag):
    import json
    from pathlib import Path

    from airflow_kart.artifacts.sidecar import sidecar_uri

    dag = judged("outcome_reason")
    build(Judged(day=DAY))
    run_dag(dag, run_conf={"kart_rerun": ["model+"]})
    reasons = [
        json.loads(Path(sidecar_uri(task.output().uri)).read_bytes())["run"]["reason"]
        for task in (Model(window=Window(day=DAY)), Judged(day=DAY))
    ]
    assert reasons == ["asked to run again", "asked to run again"]
