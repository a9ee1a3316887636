"""Inline tasks, wrappers, external tasks and dynamic requirements in DAG runs."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness.pipeline import RAN, Noted, Raw, ran
from harness.stand_ins import context

from airflow_kart import (
    DateParameter,
    ExternalTask,
    IntParameter,
    KartDag,
    KartOperator,
    Target,
    TaskOnKart,
    WrapperTask,
    build,
    run_date,
)

DAY = dt.date(2024, 5, 6)


@pytest.fixture(autouse=True)
def _nothing_noted():
    ran()


class Tiny(Noted):
    inline: ClassVar[bool] = True
    day: dt.date = DateParameter()
    number: int = IntParameter(default=0)

    def requires(self):
        return {"raw": Raw(day=self.day)} if self.number == 0 else {"before": Tiny(day=self.day, number=self.number - 1)}


class Tidy(Noted):
    """Needs many tiny tasks, the first of which needs raw data."""

    day: dt.date = DateParameter()
    count: int = IntParameter(default=3)

    def requires(self):
        return [Tiny(day=self.day, number=number) for number in range(self.count)]


class Both(Noted):
    day: dt.date = DateParameter()

    def requires(self):
        return {"tidy": Tidy(day=self.day), "tiny": Tiny(day=self.day, number=1)}


class TestInline:
    def test_have_no_operator_but_artifacts_of_their_own(self, run_dag, workspace):
        dag = KartDag("inline_cold", Both(day=DAY), schedule=None)
        assert set(dag.task_ids) == {"plan", "raw", "tidy", "both", "report"}
        assert dag.task_dict["both"].upstream_task_ids == {"tidy", "raw"}
        assert dag.task_dict["tidy"].upstream_task_ids == {"raw"}
        run = run_dag(dag)
        assert run.outcomes()["ran"] == ["both", "raw", "tidy"]
        assert ran() == ["Both", "Raw", "Tidy", "Tiny", "Tiny", "Tiny"]
        assert run.xcom("tidy")["made_upstream"] == 3
        assert run.xcom("both")["made_upstream"] == 0
        assert len(list(workspace.rglob("Tiny_*.pkl.kart.json"))) == 3
        run_dag(dag)
        assert ran() == []

    def test_that_are_cached_are_not_made_again(self, run_dag):
        build(Tiny(day=DAY, number=1))
        ran()
        run_dag(KartDag("inline_warm", Both(day=DAY), schedule=None))
        assert ran() == ["Both", "Tidy", "Tiny"]

    def test_can_be_named_to_run_again_by_class(self, run_dag):
        dag = KartDag("inline_rerun", Both(day=DAY), schedule=None)
        run_dag(dag)
        ran()
        run = run_dag(dag, run_conf={"kart_rerun": ["Tin*+"]})
        assert ran() == ["Both", "Tidy", "Tiny", "Tiny", "Tiny"]
        assert run.outcomes()["cached"] == ["raw"]

    def test_an_unknown_name_lists_them(self, run_dag):
        run = run_dag(KartDag("inline_unknown", Both(day=DAY), schedule=None), run_conf={"kart_rerun": ["nope"]})
        assert run.states["plan"] == "failed"

    def test_a_run_finds_what_is_behind_them(self, run_dag):
        dag = KartDag("inline_bound", Both, bind={"day": run_date()}, schedule=None)
        run = run_dag(dag, logical_date=dt.datetime(2024, 7, 1, tzinfo=dt.timezone.utc))
        assert run.outcomes()["ran"] == ["both", "raw", "tidy"]
        assert Raw(day=dt.date(2024, 7, 1)).complete()
        assert not Raw(day=DAY).complete()

    def test_an_inline_root_has_an_operator(self, run_dag):
        dag = KartDag("inline_root", Tiny(day=DAY, number=2), schedule=None)
        assert set(dag.task_ids) == {"plan", "raw", "tiny", "report"}
        run_dag(dag)
        assert ran() == ["Raw", "Tiny", "Tiny", "Tiny"]

    def test_a_failure_inside_is_the_operators(self, run_dag):
        class Broken(TaskOnKart[int]):
            inline: ClassVar[bool] = True

            def run(self):
                raise ValueError("broken")

        class Above(Noted):
            def requires(self):
                return {"tiny": Tiny(day=DAY), "broken": Broken()}

        run = run_dag(KartDag("inline_broken", Above(), schedule=None))
        assert run.states["above"] == "failed"
        assert run.states["raw"] == "success"
        assert Tiny(day=DAY).complete()

    def test_many_shared_by_many_paths_compile_quickly(self):
        class Layered(Noted):
            inline: ClassVar[bool] = True
            level: int = IntParameter()
            number: int = IntParameter()

            def requires(self):
                if self.level == 0:
                    return Raw(day=DAY)
                return [Layered(level=self.level - 1, number=number) for number in range(5)]

        started = time.perf_counter()
        dag = KartDag("inline_layers", Layered(level=30, number=0), schedule=None)
        assert time.perf_counter() - started < 5
        assert set(dag.task_ids) == {"plan", "raw", "layered", "report"}


class Group(WrapperTask):
    def requires(self):
        return [Raw(day=DAY), Raw(day=DAY + dt.timedelta(days=1))]


class Behind(Noted):
    def requires(self):
        return {"group": Group()}


class TestWrappers:
    def test_end_after_what_they_group(self, run_dag):
        dag = KartDag("wrapper", Behind(), schedule=None)
        assert dag.task_dict["behind"].upstream_task_ids == {"group"}
        run = run_dag(dag)
        assert run.state == "success"
        assert ran() == ["Behind", "Raw", "Raw"]
        warm = run_dag(dag)
        assert warm.outcomes()["cached"] == ["behind"]

    def test_as_a_root(self, run_dag):
        dag = KartDag("wrapper_root", Group(), schedule=None)
        assert run_dag(dag).state == "success"
        assert ran() == ["Raw", "Raw"]
        warm = run_dag(dag)
        assert set(warm.states.values()) == {"success", "skipped"}
        assert warm.outcomes()["cached"] == ["group", "raw__2024-05-06", "raw__2024-05-07"]
        assert ran() == []

    def test_inline_ones_only_group(self, run_dag):
        class InlineGroup(Group):
            inline: ClassVar[bool] = True

        class Beyond(Noted):
            def requires(self):
                return InlineGroup()

        dag = KartDag("wrapper_inline", Beyond(), schedule=None)
        assert set(dag.task_ids) == {"plan", "raw__2024-05-06", "raw__2024-05-07", "beyond", "report"}
        assert run_dag(dag).state == "success"
        assert ran() == ["Beyond", "Raw", "Raw"]


class Delivered(ExternalTask[str]):
    poll_seconds: ClassVar[float] = 0.2

    def output(self) -> Target:
        return self.make_target("delivered.txt")


class Using(TaskOnKart[str]):
    def requires(self):
        return {"delivered": Delivered()}

    def run(self):
        RAN.append("Using")
        self.dump(self.load("delivered").upper())


def deliver(path: Path, seconds: float) -> threading.Thread:
    def write() -> None:
        time.sleep(seconds)
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "part").write_text("hello")
        (path.parent / "part").rename(path)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


class TestExternal:
    def test_its_operator_waits_until_it_is_there(self, run_dag, workspace):
        thread = deliver(workspace / "delivered.txt", 3)
        run = run_dag(KartDag("external_waits", Using(), schedule=None))
        thread.join()
        assert run.state == "success"
        assert ran() == ["Using"]
        assert build(Using()) == "HELLO"
        assert run.xcom("plan", "plan")["delivered"]["reason"] == "it is made elsewhere, and not there yet"

    def test_what_is_there_is_cached(self, run_dag, workspace):
        deliver(workspace / "delivered.txt", 0).join()
        run = run_dag(KartDag("external_there", Using(), schedule=None))
        assert run.outcomes() == {"ran": ["using"], "cached": ["delivered"], "not_needed": [], "failed": []}

    def test_a_single_operator_waits_for_what_is_below_it(self, run_dag, workspace):
        from airflow.sdk import DAG

        with DAG("external_single", schedule=None) as dag:
            KartOperator(task_id="using", task=Using())
        thread = deliver(workspace / "delivered.txt", 3)
        run = run_dag(dag)
        thread.join()
        assert run.states == {"using": "success"}
        assert ran() == ["Using"]

    def test_waiting_has_an_end_where_one_is_set(self, run_dag):
        class Late(ExternalTask[str]):
            poll_seconds: ClassVar[float] = 0.1
            timeout: ClassVar[dt.timedelta | None] = dt.timedelta(seconds=1)

            def output(self) -> Target:
                return self.make_target("late.txt")

        from airflow.providers.common.compat.sdk import TaskDeferred
        from airflow.sdk import DAG

        with DAG("external_late", schedule=None):
            operator = KartOperator(task_id="late", task=Late())
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context())
        trigger = deferred.value.trigger
        assert -10 < trigger.until - time.time() <= 1
        late = deferred.value.timeout - dt.timedelta(seconds=trigger.until - time.time())
        assert dt.timedelta(seconds=55) < late < dt.timedelta(seconds=70)  # where no triggerer runs
        path, arguments = deferred.value.trigger.serialize()
        assert path == "airflow_kart.triggers.external.ExternalArtifactTrigger"
        assert json.loads(json.dumps(arguments))["poll_seconds"] == 0.1


class Asking(TaskOnKart[int]):
    def run(self) -> Any:
        RAN.append("Asking")
        targets = yield [Raw(day=DAY), Raw(day=DAY + dt.timedelta(days=1))]
        self.dump(len([target.load() for target in targets]))


def test_dynamic_requirements_name_their_run(run_dag, workspace):
    run = run_dag(KartDag("dynamic", Asking(), schedule=None))
    assert run.state == "success"
    assert ran() == ["Asking", "Raw", "Raw"]
    for sidecar in workspace.rglob("*.kart.json"):
        assert json.loads(sidecar.read_text())["airflow"]["task_id"] == "asking"


class Always(Noted):
    rerun: ClassVar[bool] = True

    def run(self):
        super().run()
        self.dump(time.time_ns())  # what is downstream runs where bytes have changed


class AboveAlways(Noted):
    def requires(self):
        return {"always": Always(), "raw": Raw(day=DAY)}


@pytest.mark.parametrize("plan", [True, False], ids=["planned", "unplanned"])
def test_a_class_that_always_runs(run_dag, plan):
    dag = KartDag(f"always_{plan}", AboveAlways(), schedule=None, plan=plan)
    run_dag(dag)
    ran()
    run_dag(dag)
    assert ran() == ["AboveAlways", "Always"]


class AlwaysInline(Always):
    inline: ClassVar[bool] = True


class OneOfTwo(Noted):
    def requires(self):
        return AlwaysInline()


class OtherOfTwo(Noted):
    def requires(self):
        return {"one": OneOfTwo(), "inline": AlwaysInline()}


@pytest.mark.parametrize("plan", [True, False], ids=["planned", "unplanned"])
def test_an_inline_class_that_always_runs_does_so_once_for_all_its_consumers(run_dag, plan):
    dag = KartDag(f"always_inline_{plan}", OtherOfTwo(), schedule=None, plan=plan)
    run_dag(dag)
    assert ran() == ["AlwaysInline", "OneOfTwo", "OtherOfTwo"]
    run_dag(dag)
    assert ran() == ["AlwaysInline", "OneOfTwo", "OtherOfTwo"]


def test_a_class_that_always_runs_does_so_when_its_operator_is_tested_by_itself(tmp_path, monkeypatch):
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "by_itself.py").write_text(
        "from airflow_kart import KartDag, TaskOnKart, build\n"
        "class Daily(TaskOnKart[int]):\n"
        "    rerun = True\n"
        "    def run(self):\n"
        "        print('Daily ran')\n"
        "        self.dump(1)\n"
        "if __name__ == '__main__':\n"
        "    build(Daily())\n"
        "else:\n"
        "    dag = KartDag('by_itself', Daily(), schedule=None)\n"
    )
    script = [sys.executable, str(dags / "by_itself.py")]
    by_itself = [sys.executable, "-m", "airflow", "tasks", "test", "by_itself", "daily", "2024-05-06"]
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(dags))
    for command in (script, by_itself):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert "Daily ran" in done.stdout, done.stdout + done.stderr
