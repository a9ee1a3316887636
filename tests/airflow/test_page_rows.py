"""The rows of a run's page, from what Airflow's database may hold: nothing of an XCom's form is sure."""

from __future__ import annotations

import base64
import bz2
import datetime as dt
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_kart.plugin.airflow_runs import Instance, KartRun
from airflow_kart.plugin.rows import row_of, rows_of, summary_of
from airflow_kart.plugin.structure import Structure
from airflow_kart.plugin.words import change_words, run_words

NOW = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)


def run_of(states: Mapping[str, str | None], downstream: dict[str, list[str]], **pushed: Any) -> KartRun:
    """Return a run of tasks in these states, with these XComs."""
    link = {"Kart artifact": "_link_KartArtifactLink"}
    tasks = [
        {"__var": {"task_id": one, "downstream_task_ids": downstream.get(one, []), "_operator_extra_links": link}}
        for one in states
    ]
    tasks.append({"__var": {"task_id": "plan", "task_type": "KartPlanOperator", "template_fields": ["bind", "workspace"]}})
    run = KartRun("d", "scheduled__2024-01-01T00:00:00+00:00", "success", NOW)
    run.structure = Structure.of({"dag": {"tasks": tasks}})
    run.instances = {(one, -1): Instance(one, -1, state, 1, NOW, NOW, None) for one, state in states.items()}
    for key, value in pushed.items():
        run.take(SimpleNamespace(task_id="a" if key == "return_value" else "plan", map_index=-1, key=key, value=value))
    return run


def words(run: KartRun) -> dict[str, tuple[str, str]]:
    return {
        row.task_id: (row.outcome, "".join(one if isinstance(one, str) else f"[{one.text}]" for one in row.why))
        for row in rows_of(run, "/kart")
    }


def test_reasons_name_tasks_and_runs_as_links():
    readers = ["r1", "r2", "r3", "r4", "r5"]
    made = "made 2024-01-01 00:00:00 UTC by {} scheduled__2023-12-31T00:00:00+00:00, reused from an equal run"
    plan = {
        "raw": {"outcome": "not_needed", "reason": "nothing that needs it runs", "older_code": True},
        "r1": {"outcome": "cached", "reason": made.format("d"), "seconds": 2.0, "bytes": 7, "older_code": True},
        **{one: {"outcome": "cached", "reason": made.format("other")} for one in readers[1:]},
        "bad": {"outcome": "run", "reason": "no artifact", "why": "depth: 3 -> 4"},
        "after": {"outcome": "run", "reason": "no artifact"},
    }
    states: dict[str, str | None] = {
        "raw": "skipped",
        **dict.fromkeys(readers, "skipped"),
        "bad": "failed",
        "after": "upstream_failed",
    }
    run = run_of(states, {"raw": readers, "bad": ["after"]}, plan=plan)
    found = words(run)
    assert found["raw"] == ("not_needed", "only [r1], [r2], [r3] and 2 more read it, and these are cached")
    assert found["r1"] == ("cached", "made 2024-01-01 00:00:00 UTC by [run of 2023-12-31], reused from an equal run")
    assert "by a run of a DAG that you may not read" in found["r2"][1]
    run.may = {"other"}.__contains__
    assert "by [other, run of 2023-12-31]" in words(run)["r2"][1]
    assert found["bad"] == ("failed", "its run failed at try 1; the log says why")
    assert found["after"] == ("failed", "it needs [bad], which failed")
    rows = rows_of(run, "/kart")
    assert [row.task_id for row in rows][:2] == ["bad", "after"], "what needs a person comes first"
    assert [row.task_id for row in rows if row.older_code] == ["r1"]
    assert summary_of(rows) == "2 failed, 5 cached, 1 not needed; 0 s computed, 2.0 s saved"


@pytest.mark.parametrize(
    "value",
    [
        *(None, 3, "no base64", "", [], ["a"], {"a": 3}, {"a": {"outcome": []}}, {"ran": "a"}, {"why": 3, "ran": [[]]}),
        {"a": {"label": 3, "uris": "x", "bytes": "y"}},
        {"a": {"outcome": "cached", "artifacts": 3, "seconds": "x", "unique_id": [], "reason": {}, "why": []}},
        '{"__classname__": "shop.Order", "__version__": 1, "__data__": {"a": 1}}',
        {"__classname__": "airflow_kart.Workspace", "__version__": 1, "__data__": "/"},
        "[" * 20_000 + "]" * 20_000,
        base64.b64encode(bz2.compress(b"[" * 20_000 + b"]" * 20_000)).decode(),
    ],
)
@pytest.mark.parametrize("key", ["plan", "report", "results", "changed_code", "return_value"])
def test_no_xcom_breaks_a_page(key, value):
    run = run_of({"a": "success"}, {}, **{key: value})
    assert [row.task_id for row in rows_of(run, "/kart")] == ["a"]
    summary_of(rows_of(run, "/kart"))


def test_an_xcom_that_unpacks_to_very_much_counts_as_none():
    bomb = base64.b64encode(bz2.compress(b" " * (20 << 20) + b"{}")).decode()
    assert run_of({"a": "success"}, {}, plan=bomb).plan == {}


def test_the_plan_of_a_task_that_makes_no_plans_counts_as_none():
    run = run_of({"a": "success"}, {})
    for task_id in ("plan", "other"):
        run.take(SimpleNamespace(task_id=task_id, map_index=-1, key="plan", value={task_id: {"outcome": "run"}}))
    assert run.plan.keys() == {"plan"}


def test_states_of_now_win_over_the_plan():
    plan = {one: {"outcome": "run", "reason": "no artifact"} for one in "abcde"}
    states = {"a": "running", "b": "deferred", "c": "up_for_retry", "d": None, "e": "success"}
    expected = {"a": "running", "b": "waiting", "c": "waiting", "d": "run", "e": "ran"}
    assert {one: outcome for one, (outcome, _) in words(run_of(states, {}, plan=plan)).items()} == expected


@pytest.mark.parametrize("before", ["ran", "cached", "reused", "failed", "skipped"])
@pytest.mark.parametrize("teller", ["report", "results"])
@pytest.mark.parametrize("planned", [{}, {"outcome": "run", "reason": "no artifact", "why": "depth: 3 -> 4"}])
def test_what_was_said_of_an_earlier_try_does_not_count_now(before, teller, planned):
    told = (
        {before: ["a"], "why": {"a": "of then"}} if teller == "report" else {"a": {"outcome": before, "reason": "of then"}}
    )
    for state in (None, "scheduled", "queued", "restarting"):
        outcome, why = words(run_of({"a": state}, {}, **{teller: told}, plan={"a": planned} if planned else {}))["a"]
        assert (outcome, why) == ("run", "depth: 3 → 4" if planned else "")
    assert words(run_of({"a": "running"}, {}, **{teller: told}))["a"][0] == "running"


def test_states_that_a_person_has_set_are_said_to_be_so():
    why = dict.fromkeys("abc", "of then")
    report = {"ran": ["b"], "failed": ["a"], "cached": ["c"], "why": why}
    plan = {one: {"outcome": "run", "reason": "no artifact"} for one in "abcd"}
    run = run_of({"a": "success", "d": "success", "b": "failed", "c": "failed"}, {}, plan=plan, report=report)
    run.instances = {**run.instances, ("d", -1): Instance("d", -1, "success", 0, None, NOW, None)}
    success, failed = "somebody marked it as success in Airflow", "somebody marked it as failed in Airflow"
    assert words(run) == {
        "a": ("skipped", success),
        "b": ("failed", failed),
        "c": ("failed", failed),
        "d": ("skipped", success),
    }
    assert words(run_of({"a": "removed"}, {}, plan=plan))["a"][0] == "skipped"


def test_a_report_does_not_know_what_ended_after_its_look():
    report = {"run": ["late"], "ran": ["a"], "why": {"late": "no artifact"}, "seconds": {"a": 3.0}}
    results = {"late": {"outcome": "ran", "reason": "no artifact", "seconds": 1.25, "artifacts": [{"uri": "u", "bytes": 7}]}}
    run = run_of({"a": "success", "late": "success", "report": "success"}, {}, results=results)
    after = NOW + dt.timedelta(seconds=1)
    run.instances = {**run.instances, ("late", -1): Instance("late", -1, "success", 1, NOW, after, None)}
    run.take(SimpleNamespace(task_id="report", map_index=-1, key="report", value=report))
    rows = {row.task_id: row for row in rows_of(run, "/kart")}
    assert (rows["late"].took, rows["late"].bytes, rows["a"].took) == (1.25, 7, 3.0)
    assert set(run.said) == {"a"}, "so that what the late one returned is read"


def test_mapped_task_instances_together_have_the_outcome_that_needs_a_person_first():
    run = run_of({"a": None, "after": "upstream_failed"}, {"a": ["after"]})
    states = ["success", "failed", "skipped"]
    mapped = {("a", number): Instance("a", number, state, 1, NOW, NOW, None) for number, state in enumerate(states)}
    run.instances = {**mapped, ("after", -1): run.instances["after", -1]}
    one = row_of(run, "/kart", "a")
    assert (one.outcome, one.why) == ("failed", ["3 task instances: 1 failed, 1 ran, 1 skipped"])
    assert words(run)["after"] == ("failed", "it needs [a], which failed")


@pytest.mark.parametrize(
    ("run_id", "expected"),
    [
        ("scheduled__2013-03-02T00:00:00+00:00", "run of 2013-03-02"),
        ("scheduled__2013-03-02T06:30:00+00:00", "run of 2013-03-02 06:30"),
        ("manual__2026-11-25T18:57:00.123456+00:00", "manual run of 2026-11-25 18:57"),
        ("my run\u202e", "run my run\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_runs_have_short_names(run_id, expected):
    assert run_words(run_id) == expected


def test_labels_are_compared_value_by_value():
    assert change_words("day=2, depth=3", "day=1, depth=3") == [("day", "1", "2")]
    assert change_words("depth=3", "day=1, depth=3") == [("day", "1", "\N{EM DASH}")]


def test_tasks_come_in_the_order_of_the_graph_whatever_the_order_of_the_plan():
    downstream = {"c": ["a"], "a": ["b"]}
    plan = {one: {"outcome": "cached", "reason": ""} for one in "abc"}
    run = run_of(dict.fromkeys("abc", "skipped"), downstream, plan=plan)
    assert [row.task_id for row in rows_of(run, "/kart")] == ["c", "a", "b"]
