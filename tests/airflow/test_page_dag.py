"""The page of a DAG, and the graph of a run on the run's page."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import Request
from harness.pages import Pages, text_of

from airflow_kart import DateParameter, KartDag, TaskOnKart, Workspace
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import Row
from airflow_kart.audit.catalogue.rows import Place
from airflow_kart.plugin.dag import Line, Run, day_of, plot_of
from airflow_kart.plugin.page import page as page_of
from airflow_kart.plugin.words import seconds_text

DAY = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"


class ChartRaw(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        self.dump(1)


class ChartFeatures(TaskOnKart[int]):
    """Features of a day and of the two days before."""

    day: dt.date = DateParameter()

    def requires(self) -> ChartRaw:
        return ChartRaw(day=self.day)

    def run(self) -> None:
        self.dump(2)


class ChartModel(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def requires(self) -> list[ChartFeatures]:
        return [ChartFeatures(day=self.day - dt.timedelta(days)) for days in range(3)]

    def run(self) -> None:
        time.sleep(0.02)
        self.dump(3)


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        yield Pages(patch)


def keep(name: str, page: str) -> None:
    """Leave a page to look at where somebody has asked for that."""
    if folder := os.environ.get("KART_TEST_PAGES"):
        Path(folder, name).write_text(page)


def cell(page: str, title: str) -> str | None:
    found = re.search(rf'<(?:a href="([^"]*)"|span) title="{re.escape(title)}', page)
    return found and (found[1] or "")


def test_days_by_tasks_and_what_reuse_has_saved(pages, run_dag):
    dag = KartDag("page_dag", ChartModel, schedule=None, bind={"day": DAY})
    reader = pages.of("only-page_dag")
    runs = [run_dag(dag, logical_date=dt.datetime(2024, 1, day, tzinfo=dt.timezone.utc)) for day in (10, 11, 15, 16)]
    answer = reader.get("/kart/dags/page_dag")
    page, text = answer.text, text_of(answer.text)
    keep("dag_real.html", page)
    assert answer.status_code == 200
    assert text.startswith("page_dag · Kart To the content 4 of the last 7 days are complete; ")
    assert re.search(r"Latest run: manual run of [\d: -]+ for 2024-01-16, 3 ran, 2 cached, 2 not needed\.", text)
    assert re.findall(r'<th scope="row"><a [^>]*title="(\w+)"><bdi>', page) == ["ChartRaw", "ChartFeatures", "ChartModel"]
    assert re.fullmatch(r"/kart/artifacts/[0-9a-f]{32}", cell(page, "ChartModel 2024-01-16: ran in the latest run") or "")
    assert re.fullmatch(r"/kart/artifacts/[0-9a-f]{32}", cell(page, "ChartFeatures 2024-01-08: there, ") or "")
    assert cell(page, "ChartModel 2024-01-12: missing") == ""
    assert cell(page, "ChartModel 2024-01-08") is None, "never asked for"
    assert cell(page, "ChartFeatures 2024-01-12: missing") == ""
    assert re.search(r'<svg class="plot"[^>]* aria-label="Added up over the runs: [\d.]+ s computed, [\d.]+ s saved"', page)
    assert "saved in the last 4 runs" in text
    assert ["".join(found) for found in re.findall(r'text-anchor="middle">([\d-]+)<', page)] == [
        "01-16",
        "01-15",
        "01-11",
        "01-10",
    ]
    assert all(f"/kart/dags/page_dag/runs/{run.dag_run.run_id.replace('+', '%2B')}" in page for run in runs)
    shown = reader.get(f"/kart/dags/page_dag/runs/{runs[-1].dag_run.run_id}").text
    keep("run_real.html", shown)
    assert 'aria-label="ChartFeatures, 3 tasks, day 01-14 … 01-16: 1 ran, 2 cached"' in shown
    assert '<path class="wire hot" d="M' in shown
    assert "Each task" in text_of(shown)
    each = reader.get(f"/kart/dags/page_dag/runs/{runs[-1].dag_run.run_id}?each=1&zoom=150").text
    assert each.count('<rect class="box"') == 7
    assert "By class" in text_of(each)


def test_who_may_see_the_page_of_a_dag(pages):
    assert pages.of(None).get("/kart/dags/page_dag").status_code == 401
    assert pages.of("only-another").get("/kart/dags/page_dag").status_code == 403


def line(days, code="new", **more):
    """Return the artifacts of a class on these days, each with the fingerprint that its day has in ``more``."""
    found = Line("Daily", "/kart/?q=class%3ADaily")
    for number, day in enumerate(days):
        fingerprint = more.get(f"d{day.replace('-', '')}", code)
        row = Row(
            f"{number}.json", "1", "m.Daily", f"{number:032x}", f"2024-02-01T00:00:{number:02}", 10, fingerprint=fingerprint
        )
        found.days[day] = [Record(Workspace("/nowhere"), Place("/nowhere", ""), row)]
    return found


@pytest.mark.parametrize(
    ("days", "missing"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-04"], {"2024-01-03"}),
        (["2024-01-01", "2024-01-08", "2024-01-22"], {"2024-01-15"}),
        (["2024-01-01", "2024-01-05"], set()),
        (["2024-01-01", "2024-01-02", "2024-06-01"], set()),
        ([], set()),
        (["2024-01-01 05", "2024-01-01 07"], set()),
        ([f"2024-01-{day:02}" for day in range(1, 31) if day % 7 not in (6, 0) and day != 10], {"2024-01-10"}),
    ],
)
def test_missing_days_lie_between_others_at_their_usual_distance(days, missing):
    """A week's distance is usual for weekly artifacts, and nothing is missing on days off, or within long gaps."""
    assert line(days).missing == missing


def test_artifacts_of_other_code_than_the_newest_are_older():
    found = line(["2024-01-01", "2024-01-02", "2024-01-03"], d20240101="old")
    assert [record.unique_id for record in found.older] == [f"{0:032x}"]
    assert found.cell("2024-01-01", None)[:2] == ("stale", "Daily 2024-01-01: there, made by older code, 10 B")
    assert found.cell("2024-01-02", None) == ("there", "Daily 2024-01-02: there, 10 B", f"/kart/artifacts/{1:032x}")
    assert found.cell("2024-01-09", None) == ("", "", "")
    found.days["2024-01-03"] *= 2
    found = replace(found, days={**found.days, "2024-01-05 07": found.days["2024-01-01"] + found.days["2024-01-02"]})
    assert found.cell("2024-01-05 07", None)[2] == "/kart/?q=class%3ADaily+2024-01-05T07", "several tasks: a search"


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2024-02-29", "2024-02-29"),
        ("2024-02-29T00:00:00+00:00", "2024-02-29"),
        ("2024-02-29T07:30:00", "2024-02-29 07"),
        ("2024-02-30", "2024-01-16"),
        ("0000-99-99", "2024-01-16"),
        ("spring", "2024-01-16"),
    ],
)
def test_an_artifact_is_of_the_day_of_its_values_or_else_of_its_run(value, day):
    row = Row(
        "a.json", "1", "m.Daily", "0", "2024-02-01", 10, dag_id="dag", run_id="run", parameters={"depth": 3, "when": value}
    )
    runs = {"run": Run("run", "2024-01-16", "")}
    record = Record(Workspace("/nowhere"), Place("/nowhere", ""), row)
    assert day_of(record, "dag", runs) == day
    assert day_of(record, "another", runs) == (day if day != "2024-01-16" else "")


def test_hostile_names_stay_texts():
    evil = '"><script>alert(1)</script>\u202e'
    found = line(["2024-01-01", "2024-01-02"], d20240101="old")
    found = replace(found, name=evil, href="/kart/?q=x")
    latest = Run(evil, "2024-01-02", "/kart/x", Counter(ran=1), 1.0, 2.0)
    answer = page_of(
        Request({"type": "http", "root_path": "/kart"}), "dag.html", title=evil, crumbs=[], summary="1 artifact", latest=latest, lines=[found], trouble=evil, workspaces=[evil],
        days=[("2024-01-01", "Jan", "01"), ("2024-01-02", "Jan", "02")], cells=[[found.cell(day, latest) for day in found.days]],
        earlier="", later=False, plot=plot_of([latest, latest]), runs=[latest, latest], search="/kart/",
    )  # fmt: skip
    page = bytes(answer.body).decode()
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert page.count("&lt;script&gt;") > 5


def test_the_plot_adds_up():
    runs = [Run(str(number), f"2024-01-{number + 1:02}", "", Counter(), 10.0, 5.0) for number in range(25)]
    assert [plot_of(few) for few in (runs[:1], [replace(run, computed=0.0, saved=0.0) for run in runs])] == [None, None]
    found = plot_of(runs)
    assert found is not None
    assert found["low"][-1][2] == "4 min 10 s"
    assert found["high"][-1] == (1.0, 1.0, "6 min 15 s")
    assert [text for _, _, text in found["ticks"]] == ["0 s", "2 min 0 s", "4 min 0 s", "6 min 0 s"]
    assert [text for _, _, text in found["runs"]][:2] == ["01-25", "01-22"]


def test_a_workspace_that_nobody_can_read(pages, run_dag, workspace):
    dag = KartDag("page_dag_lost", ChartRaw, schedule=None, bind={"day": DAY})
    run_dag(dag, logical_date=dt.datetime(2024, 1, 10, tzinfo=dt.timezone.utc))
    shutil.rmtree(workspace)
    workspace.write_text("not a folder")
    answer = pages.of("ann").get("/kart/dags/page_dag_lost")
    text = text_of(answer.text)
    assert answer.status_code == 200
    assert "The workspace cannot be read from the API server" in text
    assert "Latest run: manual run of" in text
    assert "Traceback" not in answer.text


def test_no_report_breaks_the_page():
    run = Run("run", "2024-01-16", "")
    for told in (None, [1], {"ran": "x", "cached": float("nan"), "seconds_run": {}, "seconds_saved": True, 5: 6}):
        run.add(told)
    assert (run.said, run.computed, run.saved) == ("", 0.0, 0.0)


def test_savings_of_a_workspace_that_only_reads_and_of_a_failed_run(pages, run_dag, tmp_path, workspace):
    class ChartFails(ChartModel):
        """Has what the other has upstream, and fails itself."""

        def run(self) -> None:
            raise RuntimeError("asked to fail")

    made = run_dag(KartDag("page_dag_made", ChartModel(day=dt.date(2024, 1, 1)), schedule=None))
    over = Workspace(str(tmp_path / "over"), read_from=(str(workspace),))
    run_dag(KartDag("page_dag_over", ChartModel(day=dt.date(2024, 1, 1)), schedule=None, workspace=over))
    assert not (tmp_path / "over").exists(), "all is there in the workspace that it reads"
    seconds = sum(one.seconds for one in Workspace(str(workspace)).artifacts("ChartModel"))
    assert seconds > 0.01 and made.state == "success"
    text = text_of(pages.of("ann").get("/kart/dags/page_dag_over").text)
    assert f"; {seconds_text(seconds)} saved in the last run" in text and "1 cached, 6 not needed" in text
    run_dag(KartDag("page_dag_fails", ChartFails(day=dt.date(2024, 1, 1)), schedule=None))
    text = text_of(pages.of("ann").get("/kart/dags/page_dag_fails").text)
    assert "saved in the last run" in text and "1 failed" in text
