"""The page of a DAG run."""

from __future__ import annotations

import datetime as dt

import pytest
from harness.pages import Pages, text_of

from airflow_kart import DateParameter, IntParameter, KartDag, TaskOnKart

DAY = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"


class PageRaw(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        self.dump(1)


class PageFeatures(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def requires(self) -> PageRaw:
        return PageRaw(day=self.day)

    def run(self) -> None:
        self.dump(2)


class PageModel(TaskOnKart[int]):
    day: dt.date = DateParameter()
    depth: int = IntParameter(default=3)

    def requires(self) -> PageFeatures:
        return PageFeatures(day=self.day)

    def run(self) -> None:
        self.dump(self.depth)


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        yield Pages(patch)


def model_dag(dag_id="page_run"):
    return KartDag(dag_id, PageModel, schedule=None, bind={"day": DAY})


def href(run, *more):
    return f"/kart/dags/{run.dag_run.dag_id}/runs/{run.dag_run.run_id}{''.join(more)}"


def test_a_cold_and_a_warm_run(pages, run_dag):
    dag = model_dag()
    cold = run_dag(dag, logical_date=dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc))
    reader = pages.of("ann")
    text = text_of(reader.get(href(cold)).text)
    assert "3 ran; " in text and "page_model day=2024-01-01 ran" in text
    warm = run_dag(dag, logical_date=dt.datetime(2024, 1, 1, 6, tzinfo=dt.timezone.utc))
    text = text_of(reader.get(href(warm)).text)
    assert "1 cached, 2 not needed; " in text
    assert "only page_features reads it, and that is not needed" in text
    assert "cached made 20" in text
    text = text_of(reader.get(href(warm, "/compare")).text)
    assert "3 tasks differ, 0 are the same" in text
