"""Changed lines of code on the pages, from the git repository of the DAG's file."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from harness.pages import Pages, text_of
from harness.repositories import git, repository

from airflow_kart.artifacts.sidecar.repository import git_state
from airflow_kart.plugin.access import Reader

SOURCE = """
from __future__ import annotations
from airflow_kart import *

def doubled(value):
    return value * 2

class CodeMade(TaskOnKart[int]):
    code_version = "auto"
    def run(self):
        self.dump(doubled(1))

class CodeOld(TaskOnKart[int]):
    def run(self):
        self.dump(doubled(2))

class CodeTop(TaskOnKart[int]):
    def requires(self):
        return [CodeMade(), CodeOld()]
    def run(self):
        self.dump(sum(self.load()))

dag = KartDag("page_code", CodeTop(), schedule=None)
"""
EDITED = SOURCE.replace("return value * 2", 'return 2 * value  # <script>alert("&")</script>')
GONE, NEW = "-    return value * 2", '+    return 2 * value  # <script>alert("&")</script>'


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        yield Pages(patch)


@pytest.fixture
def run_code(run_dag, load_module):
    """Run the DAG with some code, committed before."""

    def run(source: str) -> Any:
        git_state.cache_clear()  # as in another process
        return run_dag(load_module(source).dag)

    return run


def marked(page: str, tag: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(rf"<{tag}>(.*?)</{tag}>", page)]


def test_changed_lines_are_on_the_pages_of_tasks_and_causes(pages, run_code, tmp_path, monkeypatch):
    ran = tmp_path / "a program of the repository ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{ran}'\ncat\n")
    program.chmod(0o755)
    repository(tmp_path, None, SOURCE)
    run_code(SOURCE)
    (tmp_path / "pipeline.py").write_text(EDITED)
    git(tmp_path, "commit", "-qam", "Edit")
    warm = run_code(EDITED)
    (tmp_path / ".gitattributes").write_text("*.py diff=evil filter=evil\n")
    for name in ("core.fsmonitor", "diff.external", *(f"{one}.evil.{two}" for one, two in (
        ("diff", "command"), ("diff", "textconv"), ("filter", "clean"), ("filter", "smudge"), ("filter", "process")))):  # fmt: skip
        git(tmp_path, "config", name, str(program))
    here = f"/kart/dags/page_code/runs/{warm.dag_run.run_id}"
    reader = pages.of("ann")
    ids = re.findall(r"/kart/artifacts/([0-9a-f]{32})", reader.get(f"{here}/tasks/code_made").text)
    routes = [
        "/tasks/code_made",  # ran, since its code counts in its id
        "/tasks/code_made/why",
        "/why",
        "/tasks/code_old",  # cached, and of older code
        "/tasks/code_old/why",
    ]
    for address in [*(here + one for one in routes), f"/kart/artifacts/{ids[0]}"]:
        page = reader.get(address).text
        assert (marked(page, "del"), marked(page, "ins")) == ([GONE], [NEW]), address
        assert "its code has changed: doubled (1 of " in text_of(page), address
        assert "<script>alert" not in page
    assert "Cached: not run" in text_of(reader.get(f"{here}/tasks/code_old").text)
    assert not ran.exists()

    may = Reader.may
    monkeypatch.setattr(Reader, "may", lambda self, one, entity=None, method="GET": str(entity) != "DagAccessEntity.CODE" and may(self, one, entity, method))  # fmt: skip
    for route in routes:
        page = reader.get(here + route).text
        assert "doubled (1 of " in text_of(page) and not marked(page, "del"), route


@pytest.mark.parametrize("where", ["uncommitted", "no checkout", "elsewhere"])
def test_without_an_honest_source_the_names_are_told(pages, run_code, tmp_path, where):
    repository(tmp_path, None, SOURCE)
    run_code(SOURCE)
    (tmp_path / "pipeline.py").write_text(EDITED)
    if where != "uncommitted":
        git(tmp_path, "commit", "-qam", "Edit")
    warm = run_code(EDITED)
    if where == "no checkout":
        (tmp_path / ".git").rename(tmp_path / "gone")
    if where == "elsewhere":  # the sidecars' folder is not the one that Airflow knows
        from airflow.models.dag import DagModel
        from airflow.utils.session import create_session
        from sqlalchemy import update

        with create_session() as session:
            session.execute(update(DagModel).where(DagModel.dag_id == "page_code").values(fileloc="/opt/dags/pipeline.py"))
    for task in ("code_made", "code_old"):
        for route in ("", "/why"):
            page = pages.of("ann").get(f"/kart/dags/page_code/runs/{warm.dag_run.run_id}/tasks/{task}{route}").text
            assert "its code has changed: doubled (1 of " in text_of(page)
            assert not marked(page, "del") and not marked(page, "ins")
