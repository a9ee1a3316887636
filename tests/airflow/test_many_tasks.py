"""What operators do not do, so that a DAG of many tasks stays quick: resolve siblings, write long XComs, read what is known."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter
from typing import Any

import pytest
from airflow.serialization import serialized_objects
from harness.stand_ins import Ti, context

from airflow_kart import DateParameter, IntParameter, KartDag, Target, TaskOnKart, build
from airflow_kart.operators import report
from airflow_kart.runtime.packed import packed, unpacked

DAY = dt.date(2024, 5, 6)
LAYERS, WIDTH = 4, 30
KNOWN: dict[str, Any] = vars(serialized_objects)
serialization = KNOWN.get("DagSerialization") or KNOWN["SerializedDAG"]  # the older name is that of Airflow 3.1
ASKED: Counter[str] = Counter()


class Cell(TaskOnKart[int]):
    day: dt.date = DateParameter()
    layer: int = IntParameter()
    place: int = IntParameter()

    def requires(self) -> Any:
        ASKED[f"cell__{self.layer}_{self.place}"] += 1
        places = (self.place, (self.place + 1) % WIDTH) if self.layer else ()
        return [Cell(day=self.day, layer=self.layer - 1, place=place) for place in places]

    def run(self) -> None:
        self.dump(self.place)


class Sheet(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def requires(self) -> Any:
        ASKED["sheet"] += 1
        return [Cell(day=self.day, layer=LAYERS - 1, place=place) for place in range(WIDTH)]

    def run(self) -> None:
        self.dump(sum(self.load()))


class Always(TaskOnKart[int]):
    rerun = True

    def run(self) -> None:
        self.dump(1)


class After(TaskOnKart[int]):
    reuse_equal_inputs = False

    def requires(self) -> Any:
        return {"inner": Always()}

    def run(self) -> None:
        self.dump(2)


class Pushing(Ti):
    """A task instance that keeps what is pushed."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, **pushed: Any) -> None:
        self.pushed[pushed["key"]] = pushed["value"]


def sheet(dag_id: str, **options: Any) -> KartDag:
    return KartDag(dag_id, Sheet(day=DAY), schedule=None, **options)


def operator_of(dag: KartDag, task_id: str) -> Any:
    return dag.get_task(task_id)


@pytest.mark.parametrize(("layer", "place"), [(0, 3), (1, 7), (2, WIDTH - 1), (3, 0)])
def test_an_operator_asks_only_the_tasks_on_its_way(layer: int, place: int) -> None:
    dag = sheet("many_on_its_way", plan=False)
    later = DAY + dt.timedelta(days=layer + 1)  # not the day that the DAG was compiled with
    build(Sheet(day=later))
    ASKED.clear()
    own = f"cell__{layer}_{place}"
    with pytest.raises(Exception, match="the artifact is there"):
        operator_of(dag, own).execute(context(day=later.isoformat()))
    upstream = {f"cell__{below}_{(place + step) % WIDTH}" for below in range(layer) for step in range(layer - below + 1)}
    others = ASKED.keys() - upstream - {own, "sheet"}
    assert ASKED["sheet"] == ASKED[own] == 1
    # One way leads to the task, and one to each of its two inputs that another task asks for first.
    assert len(others) <= 3 * (LAYERS - layer)
    assert all(int(other.split("_")[2]) >= layer for other in others)
    assert sum(ASKED.values()) <= len(upstream) + len(others) + 2


def test_an_operator_finds_the_same_task_as_the_whole_graph_does() -> None:
    dag = sheet("many_same", plan=False)
    later = {"day": (DAY + dt.timedelta(days=9)).isoformat()}
    whole = dag.blueprint.for_run({}, later).tasks
    assert len(whole) == LAYERS * WIDTH + 1
    one_by_one = dag.blueprint.for_run({}, later)
    for task_id in random.Random(1).sample(sorted(whole), len(whole)):
        found = one_by_one.task(task_id)
        assert found is not None
        assert (found, found.unique_id) == (whole[task_id], whole[task_id].unique_id)
        assert one_by_one.makers(task_id, found) is not None


def test_a_worker_makes_the_same_dag_without_the_outputs_of_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[Cell] = []

    def output(cell: Cell) -> Target:
        outputs.append(cell)
        return cell.make_target()

    monkeypatch.setattr(Cell, "output", output)
    parsed = sheet("many_parsed")
    assert len(outputs) == LAYERS * WIDTH
    outputs.clear()
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "many_parsed")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "cell__0_3")
    in_a_worker = sheet("many_parsed")
    assert outputs == []
    assert serialization.to_dict(in_a_worker) == serialization.to_dict(parsed)


def test_a_task_whose_class_always_runs_makes_its_consumers_operator_run() -> None:
    dag = KartDag("many_always", After(), schedule=None, plan=False)
    build(After())
    assert operator_of(dag, "after").execute(context())["reason"] == "something it needs runs again"


def test_the_plan_of_many_tasks_is_short_and_readable() -> None:
    global WIDTH
    before, WIDTH = WIDTH, 400
    try:
        dag, ti = sheet("many_short"), Pushing()
        operator_of(dag, "plan").execute({**context(), "ti": ti})
    finally:
        WIDTH = before
    tasks = len(dag.tasks) - 2
    assert tasks == LAYERS * 400 + 1
    assert isinstance(ti.pushed["plan"], str)
    assert len(json.dumps(ti.pushed["plan"])) <= 20 * tasks
    rows = unpacked(ti.pushed["plan"])
    assert rows.keys() == dag.blueprint.nodes.keys()
    assert {(row["outcome"], row["reason"]) for row in rows.values()} == {("run", "no artifact")}


def test_what_is_short_is_pushed_as_it_is() -> None:
    rows = {"a": {"outcome": "run", "uris": ["/ws/a_é.pkl"]}}
    assert packed(rows) is rows
    assert unpacked(rows) is rows
    assert unpacked(None) is None


@pytest.mark.parametrize("tasks", [1000, 10_000])
def test_ten_thousand_rows_that_all_differ_fit_into_200_kb(tasks: int) -> None:
    draw = random.Random(tasks)
    rows = {
        f"features__store_{draw.randrange(10**6)}_{number}": {
            "outcome": "cached",
            "reason": f"made 2024-05-06 {number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d} UTC by dag manual__{number}",
            "seconds": round(draw.expovariate(1 / 60), 3),
        }
        for number in range(tasks)
    }
    written = packed(rows)
    assert isinstance(written, str)
    assert len(written) <= 20 * tasks
    assert unpacked(written) == rows


def test_the_report_reads_only_what_the_plan_does_not_know(run_dag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def look_at(nodes: list[Any], **options: Any) -> list[Any]:
        read.extend(type(node.task).__name__ for node in nodes)
        return known(nodes, **options)

    known = vars(report)["look_at"]
    monkeypatch.setattr(report, "look_at", look_at)
    dag = KartDag("many_read", [Sheet(day=DAY), After()], schedule=None)
    build(Sheet(day=DAY))
    build(After())
    run = run_dag(dag)
    assert run.state == "success"
    assert sorted(read) == ["After", "Always"]  # which always run
    found = run.xcom("report", "report")
    assert sorted(found["ran"]) == ["after", "always"]
    assert found["cached"] == ["sheet"]
    assert len(found["not_needed"]) == LAYERS * WIDTH
    assert found["seconds_saved"] == pytest.approx(Sheet(day=DAY).output().sidecar().seconds, abs=0.002)


class FeatureOfOneOfManyShopsUnderANameOfPeopleWhoLikeToSayEverythingThatAReaderMightEverWantToKnowAndAlsoWhatNobodyWantsToKnowAsItIsInTheDocumentation(
    TaskOnKart[int]
):
    shop: int = IntParameter()

    def run(self) -> None:
        self.dump(self.shop)


Long = FeatureOfOneOfManyShopsUnderANameOfPeopleWhoLikeToSayEverythingThatAReaderMightEverWantToKnowAndAlsoWhatNobodyWantsToKnowAsItIsInTheDocumentation


class AllShops(TaskOnKart[int]):
    def requires(self) -> Any:
        return [Long(shop=shop) for shop in range(390)]

    def run(self) -> None:
        self.dump(sum(self.load()))


def test_the_ids_of_many_tasks_are_longer_than_the_longest_address(run_dag: Any) -> None:
    dag = KartDag("many_long", AllShops(), schedule=None)
    assert sum(len(task_id) for task_id in dag.task_ids) > 65_536  # the most that Airflow's own client takes
    build(AllShops())
    run = run_dag(dag, run_conf={"kart_rerun": ["all_shops"]})
    assert run.state == "success"
    found = unpacked(run.xcom("report", "report"))
    assert (found["ran"], len(found["cached"])) == (["all_shops"], 390)
