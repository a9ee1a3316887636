"""The page of a DAG, and the graph of a run on the run's page."""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path

import pytest
from harness.pages import Pages, text_of

from airflow_kart import DateParameter, KartDag, TaskOnKart

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
    assert re.search(r'<svg class="plot"[^>]* aria-label="[^"]* computed"', page)
    assert "saved in the last 4 runs" in text
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
