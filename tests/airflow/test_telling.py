"""What a run tells others: XComs, events of assets, metrics, the reasons in the report."""

from __future__ import annotations

import datetime as dt
import importlib.util
import socket
from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import pytest
from airflow.sdk import DAG, Asset, AssetAlias, BaseOperator, task, task_group
from harness.pipeline import Judged, Model, Window, ran

from airflow_kart import (
    DateParameter,
    KartDag,
    KartOperator,
    KartTaskGroup,
    Parameter,
    ParameterVisibility,
    TaskOnKart,
    Workspace,
    build,
)
from airflow_kart.exceptions import BindingError, ParameterError
from airflow_kart.locks import Holder, Taken, locks_for
from airflow_kart.operators.xcom import kart_result, pulled_by
from airflow_kart.runtime.packed import unpacked

DAY = dt.date(2024, 5, 6)
STABLE = ("task", "unique_id", "seconds", "artifacts")


class Table(TaskOnKart[pd.DataFrame]):
    assets: ClassVar[Sequence[Any]] = (
        "shop/table/{day:%Y-%m}",
        Asset("s3://shop/table"),
        lambda task: f"shop/{task.day.day}",
    )
    day: dt.date = DateParameter(default=DAY)

    def output(self):
        return self.make_target("table.parquet")

    def run(self):
        self.dump(pd.DataFrame({"a": [1, 2, 3]}))


class Two(TaskOnKart[dict[str, object]]):
    def output(self):
        return {"table": self.make_target("two.csv"), "text": self.make_target("two.txt")}

    def run(self):
        self.dump(pd.DataFrame({"a": [1]}), "table")
        self.dump("x", "text")


class Sum(TaskOnKart[int]):
    def requires(self):
        return {"table": Table(), "two": Two()}

    def run(self):
        self.dump(int(self.load("table")["a"].sum()))


class Inside(Table):
    assets = ("inside",)
    inline = True


class Around(TaskOnKart[int]):
    def requires(self):
        return Inside()

    def run(self):
        self.dump(len(self.load()))


def events(since=0):
    """The events of assets, by name: their extras, the oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = select(AssetModel.name, AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        found = [(name, extra) for name, extra in session.execute(rows.order_by(AssetEvent.id))]
    return found[since:]


def stable(result):
    return {name: result[name] for name in STABLE}


# XComs.


def test_whoever_names_an_inner_task_gets_the_same_cold_and_warm(run_dag):
    class Asking(BaseOperator):
        template_fields = ("text",)
        prefix = "g"

        def __init__(self, text="", **kwargs):
            super().__init__(**kwargs)
            self.text = text

        def execute(self, context):
            ti = context["ti"]
            return {
                "template": self.text,
                "own": ti.xcom_pull(task_ids="g.two"),
                "computed": kart_result(ti, f"{self.prefix}.sum"),
            }

    @task
    def direct(result, ti=None):
        return {"direct": result, "listed": list(ti.xcom_pull(task_ids=["g.table", "g.two"]))}

    with DAG("telling_xcom", schedule=None) as dag:
        group = KartTaskGroup("g", Sum())
        group >> Asking(task_id="asking", text="{{ ti.xcom_pull(task_ids='g.table').unique_id }}")
        group >> direct(dag.get_task("g.two").output)
    told = []
    for _ in ("cold", "warm"):
        run = run_dag(dag)
        assert run.state == "success"
        asked, given = run.xcom("asking"), run.xcom("direct")
        told.append(
            [asked["template"], stable(asked["own"]), stable(asked["computed"]), stable(given["direct"])]
            + [stable(one) for one in given["listed"]]
        )
    cold, warm = told
    assert cold == warm
    assert run.states["g.table"] == run.states["g.sum"] == "skipped"
    assert cold[0] == Table().unique_id
    (artifact,) = cold[4]["artifacts"]
    assert artifact["rows"] == 3
    assert artifact["uri"].endswith(f"{Table().unique_id}.parquet")
    assert artifact["sidecar"] == f"{artifact['uri']}.kart.json"
    assert [one["rows"] for one in cold[1]["artifacts"]] == [1, None]
    Table().output().remove()  # a task that others name is needed, also where all downstream of it is there
    run = run_dag(dag)
    assert (run.states["g.table"], run.states["g.sum"]) == ("success", "skipped")
    assert Table().complete()
    assert (
        run.xcom("g.report", "report")["why"]["g.table"] == "no artifact"
    )  # also where the report did not wait for the task


def test_a_task_that_pushes_no_xcom_has_none_in_a_warm_run_either(run_dag):
    @task
    def asking(ti=None):
        return str(ti.xcom_pull(task_ids="g.two"))

    with DAG("telling_no_xcom", schedule=None):
        group = KartTaskGroup("g", Two(), operator_kwargs={"do_xcom_push": False})
        asked = asking()
        group >> asked
    assert [run_dag(group.dag).xcom("asking") for _ in range(2)] == ["None", "None"]


def test_names_in_pulls_are_found_and_other_words_are_not():
    def pulls(ti):
        def inner():
            return ti.xcom_pull(task_ids=("a", "b"))

        return inner

    def talks(ti):
        ti.xcom_push("c", "c")

    class Own(BaseOperator):
        template_fields = ("sql",)

        def __init__(self, sql=None, **kwargs):
            super().__init__(**kwargs)
            self.sql = sql

        def execute(self, context):
            return context["ti"].xcom_pull("d")

    with DAG("telling_names", schedule=None) as dag:
        task(task_id="one")(pulls)(None)
        task(task_id="two")(talks)(None)
        Own(task_id="own", sql={"x": ["{{ ti.xcom_pull(task_ids=['e']) }}", "'f'", "{{ ti.xcom_pull(\"g\", key='h') }}"]})
        Own.partial(task_id="mapped").expand(sql=["{{ ti.xcom_pull('i') }}"])
        Own.partial(task_id="partial", sql="{{ ti.xcom_pull('j') }}").expand(params=[{}])
    assert pulled_by(dag.tasks, set("abcdefghijk")) - {"h"} == set("abdegj")


def test_the_results_of_many_tasks_are_one_xcom():
    from airflow_kart.artifacts.state import Artifact
    from airflow_kart.operators.xcom import result_of
    from airflow_kart.runtime.outcome import Outcome
    from airflow_kart.runtime.packed import packed
    from airflow_kart.runtime.plan import PlannedTask

    results = {}
    for number in range(1000):
        one = Table(day=dt.date(1990, 1, 1) + dt.timedelta(days=number))
        artifact = Artifact(f"s3://shop/ws/table_{one.unique_id}.parquet", 1000 + number, one.unique_id * 2, number)
        planned: Any = one
        found = PlannedTask(Outcome.CACHED, "made 2024-05-06 by shop r", number / 7, artifacts=(artifact,))
        results[f"table__{number}"] = result_of(planned, found)
    text = packed(results)
    assert unpacked(text) == results
    assert len(text) < 100_000


# Assets.


def test_an_artifact_that_changes_is_an_event_and_a_cached_one_is_none(run_dag, workspace):
    dag = KartDag("telling_assets", Sum(), schedule=None)
    assert dag.get_task("table").outlets == [AssetAlias("airflow_kart")]
    assert dag.get_task("sum").outlets == dag.get_task("plan").outlets == []
    before = len(events())
    run_dag(dag)
    found = dict(events(before))
    assert set(found) == {"shop/table/2024-05", "s3://shop/table", "shop/6"}
    target = Table().output()
    record = target.sidecar().artifact
    assert found["s3://shop/table"] == {
        "uri": target.uri,
        "bytes": record.bytes,
        "sha256": record.sha256,
        "rows": 3,
        "unique_id": Table().unique_id,
        "partition_key": None,
    }
    before = len(events())
    run_dag(dag)
    Sum().output().remove()
    run_dag(dag)
    assert events(before) == []
    assert run_dag(dag, run_conf={"kart_rerun": ["Table"]}).state == "success"
    assert len(events(before)) == 3


@pytest.mark.parametrize("options", [{}, {"plan": False}], ids=str)
def test_a_class_may_announce_cached_artifacts_too(run_dag, monkeypatch, options):
    monkeypatch.setattr(Table, "assets_when_cached", True)
    monkeypatch.setattr(Table, "assets", ("always",))
    name = "_".join(options) or "planned"
    dag = KartDag(f"telling_always_{name}", Table(), schedule=None, **options)
    for turn in ("cold", "warm"):
        before = len(events())
        run = run_dag(dag)
        assert run.state == "success"
        assert [asset for asset, _ in events(before)] == ["always"], turn
    assert run.states["table"] == ("success" if options else "skipped")


def test_assets_of_inline_tasks_come_from_the_operator_that_makes_them(run_dag, monkeypatch):
    dag = KartDag("telling_inline", Around(), schedule=None)
    before = len(events())
    run_dag(dag)
    assert [asset for asset, _ in events(before)] == ["inside"]
    run_dag(dag)
    assert len(events(before)) == 1
    monkeypatch.setattr(Inside, "assets_when_cached", True)
    Around().output().remove()  # so that the plan looks at the inline task, which is there
    run_dag(KartDag("telling_inline", Around(), schedule=None))
    assert len(events(before)) == 2


def test_a_rule_names_the_assets_of_all_other_classes(run_dag, monkeypatch):
    monkeypatch.setenv("AIRFLOW__KART__ASSETS", "kart://{dag_id}/{class_name}")
    before = len(events())
    run_dag(KartDag("telling_rule", Sum(), schedule=None, operator_kwargs={"outlets": [Asset("given")]}))
    named = {asset for asset, _ in events(before)}
    assert named >= {"kart://telling_rule/Two", "kart://telling_rule/Sum", "s3://shop/table", "given"}
    assert "kart://telling_rule/Table" not in named
    monkeypatch.setenv("AIRFLOW__KART__ASSETS", "kart://{day}")
    build(Two())
    run = run_dag(KartDag("telling_rule", Sum(), schedule=None), run_conf={"kart_rerun": ["Two"]})
    assert run.states["two"] == "failed"


def test_an_operator_by_itself_and_its_mapped_copies_announce(run_dag):
    with DAG("telling_mapped", schedule=None) as dag:
        KartOperator(task_id="one", task=Table())
        KartOperator.partial(task_id="many", task=Table()).expand(bind=[{"day": f"2024-07-0{day}"} for day in (1, 2)])
    before = len(events())
    run = run_dag(dag)
    assert run.state == "success"
    assert [asset for asset, _ in events(before)].count("s3://shop/table") == 3
    assert all(Table(day=dt.date(2024, 7, day)).complete() for day in (1, 2))
    before = len(events())
    assert run_dag(dag).state == "success"
    assert events(before) == []


@pytest.mark.parametrize("assets", ["table", ("{nothing}",), ("{secret}",), (3,), ("{day",), ("",)], ids=str)
def test_assets_that_no_run_could_name_are_errors_of_the_class(assets):
    with pytest.raises(ParameterError, match=r"Wrong.assets is .*; give "):
        type(
            "Wrong",
            (Table,),
            {"assets": assets, "secret": Parameter(default="x", visibility=ParameterVisibility.PRIVATE)},
        )


# Metrics.


@pytest.fixture
def statsd(monkeypatch):
    """A StatsD server on loopback, and Airflow's client in this process set to it; returns what arrived."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(0.2)
    from airflow.providers.common.compat.sdk import Stats

    options = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(server.getsockname()[1])}
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)

    def initialize():
        if Stats.__module__ == "airflow.stats":  # Airflow 3.1 reads its options when it makes the class
            if (sender := getattr(getattr(Stats, "instance", None), "statsd", None)) is not None:
                sender.close()
            kind: Any = type(Stats)
            del kind.factory
            kind.__init__(Stats)
            setattr(Stats, "instance", None)
            return
        home = "airflow.sdk" if importlib.util.find_spec("airflow.sdk.observability") else "airflow"
        metrics = importlib.import_module(f"{home}.observability.metrics.stats_utils")
        try:
            Stats.initialize(factory=metrics.get_stats_factory(), export_legacy_names=True)
        except TypeError:  # Airflow 3.2
            Stats.initialize(factory=metrics.get_stats_factory(Stats))  # type: ignore[call-arg]

    initialize()

    def arrived():
        found = []
        try:
            while True:
                found.append(server.recv(65536).decode())
        except TimeoutError:
            return sorted(line for text in found for line in text.splitlines() if ".kart." in line)

    yield arrived
    for name in options:
        monkeypatch.delenv(f"AIRFLOW__METRICS__{name}")
    initialize()
    server.close()


def test_metrics_arrive_at_a_statsd_server(run_dag, statsd):
    dag = KartDag("telling_metrics", Sum(), schedule=None)
    run_dag(dag)
    assert statsd() == ["airflow.kart.misses.telling_metrics:3|c", "airflow.kart.misses:3|c"]
    run_dag(dag)
    size = Sum().output().sidecar().artifact.bytes
    assert [line for line in statsd() if "telling_metrics" not in line] == [
        f"airflow.kart.bytes_saved:{size}|c",
        "airflow.kart.hits:1|c",
    ]
    run_dag(KartDag("telling_metrics_2", Sum(), schedule=None, plan=False))
    assert "airflow.kart.reuses.telling_metrics_2:3|c" in statsd()
    with DAG("telling_metrics_3", schedule=None) as single:
        KartOperator(task_id="sum", task=Sum())
    run_dag(single)
    assert {"airflow.kart.hits:1|c", "airflow.kart.reuses.telling_metrics_3:1|c"} < set(statsd())


def test_a_wait_arrives_at_a_statsd_server(run_dag, statsd, monkeypatch):
    monkeypatch.setenv("AIRFLOW__KART__LOCK_TIMEOUT", "1")
    lease = locks_for(Workspace.current()).acquire(Two().unique_id, Holder("another run"))
    assert not isinstance(lease, Taken)
    run = run_dag(KartDag("telling_waits", Two(), schedule=None))
    lease.release()
    assert run.state == "failed"
    assert statsd() == ["airflow.kart.waits.telling_waits:1|c", "airflow.kart.waits:1|c"]


# The report.


def test_the_report_says_who_made_a_task_that_was_to_run(run_dag, monkeypatch):
    from airflow_kart.operators.task import KartOperator

    execute = KartOperator.execute

    def late(self, context):
        if self.task_id == "model":
            build(Model(window=Window(day=DAY)))  # another run, meanwhile
        return execute(self, context)

    monkeypatch.setattr(KartOperator, "execute", late)
    run = run_dag(KartDag("telling_meanwhile", Judged(day=DAY), schedule=None))
    ran()
    assert run.outcomes()["cached"] == ["model"]
    why = run.xcom("report", "report")["why"]
    assert why["model"].startswith("made 20")
    assert why["judged"] == "no artifact"


def test_the_report_says_what_somebody_marked_as_success(run_dag):
    run = run_dag(KartDag("telling_marked", Two(), schedule=None), mark_success_pattern="two")
    assert run.states["two"] == "success"
    assert run.xcom("report", "report")["skipped"] == ["two"]
    why = run.xcom("report", "report")["why"]["two"]
    assert why == "it was marked as success, and its artifact is not there: no artifact"


def test_the_report_says_where_a_worker_with_another_workspace_put_it(run_dag, tmp_path, monkeypatch):
    from airflow_kart.operators.task import KartOperator

    monkeypatch.setattr(KartOperator, "run_workspace", lambda self: Workspace(str(tmp_path / "elsewhere")))
    run = run_dag(KartDag("telling_elsewhere", Two(), schedule=None))
    why = run.xcom("report", "report")["why"]["two"]
    assert run.outcomes()["ran"] == ["two"]
    assert why.startswith(f"no artifact; {socket.gethostname()} has it at {tmp_path / 'elsewhere' / 'two'}")
    assert why.endswith("and here no artifact")


def test_what_is_read_from_another_workspace_is_named_where_it_is(run_dag, tmp_path, capfd):
    with Workspace(str(tmp_path / "production")):
        build(Two())
        there = Two().output()["table"].uri

    def dag(**options):
        where = Workspace(str(tmp_path / "own"), read_from=(str(tmp_path / "production"),))
        return KartDag("telling_read_from", Two(), schedule=None, workspace=where, **options)

    assert run_dag(dag()).xcom("plan", "plan")["two"]["uris"][0] == there
    run = run_dag(dag(plan=False, on_cached="success"))
    assert run.xcom("two")["artifacts"][0]["uri"] == there
    assert f"in {tmp_path / 'production'}" in run.xcom("report", "report")["why"]["two"]
    assert f"its artifact is {there}" in "".join(capfd.readouterr())


# Graphs inside other shapes.


def test_a_mapped_task_group_holds_no_compiled_graph_and_says_so():
    with DAG("telling_mapped_group", schedule=None), pytest.raises(BindingError, match="a mapped task group cannot hold"):

        @task_group
        def mapped(number):
            KartTaskGroup("inner", Two())

        mapped.expand(number=[1, 2])


def test_an_operator_in_a_mapped_task_group_and_groups_in_a_loop_and_under_a_branch(run_dag):
    @task.branch
    def choose():
        return "g2.plan"

    with DAG("telling_shapes", schedule=None) as dag:

        @task_group
        def mapped(day):
            KartOperator(task_id="table", task=Table(), bind={"day": "{{ ti.xcom_pull(task_ids='days')[ti.map_index] }}"})

        @task
        def days():
            return ["2024-08-01", "2024-08-02"]

        mapped.expand(day=days())
        chosen = choose()
        for month in (1, 2):
            chosen >> KartTaskGroup(f"g{month}", Table(day=dt.date(2024, month, 1)))
    run = run_dag(dag)
    assert run.state == "success"
    assert all(Table(day=dt.date(2024, 8, day)).complete() for day in (1, 2))
    assert run.states["g1.table"] == run.states["g1.report"] == "skipped"
    assert run.states["g2.table"] == run.states["g2.report"] == "success"
