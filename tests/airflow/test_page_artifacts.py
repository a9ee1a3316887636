"""The search, the page of an artifact, its preview and its download."""

from __future__ import annotations

import datetime as dt
import os
import re
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from harness.pages import Pages, text_of

from airflow_kart import DateParameter, DictParameter, KartDag, StrParameter, TaskOnKart, Workspace
from airflow_kart.audit.garbage import Conditions, Garbage
from airflow_kart.exceptions import StorageError
from airflow_kart.parameters import ParameterVisibility
from airflow_kart.plugin import access
from airflow_kart.storage import LocalStore

DAY = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
HOSTILE = "<script>alert(1)</script>"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)


class FoundNumbers(TaskOnKart[pd.DataFrame]):
    day: dt.date = DateParameter()
    word: str = StrParameter(default="plain")
    options: Mapping[str, Any] = DictParameter(default={"unique": 1})
    token: str = StrParameter(default="hunter2hunter2", visibility=ParameterVisibility.PRIVATE, significant=False)

    def output(self) -> Any:
        return self.make_target("found/numbers.parquet")

    def run(self) -> None:
        columns = {"number": [1, 2, 3], HOSTILE: [HOSTILE, "b", None]}
        self.dump(pd.DataFrame(columns if self.day.day < 3 else {**columns, "late": [True, False, True]}))


class FoundReport(TaskOnKart[Any]):
    day: dt.date = DateParameter()
    word: str = StrParameter(default="plain")

    def requires(self) -> Any:
        return FoundNumbers(day=self.day, word=self.word)

    def output(self) -> Any:
        return {
            "html": self.make_target("found/report.txt"),
            "image": self.make_target("found/report.png"),
            "any": self.make_target("found/any.pkl"),
        }

    def run(self) -> None:
        self.dump(f"<html>{HOSTILE}", "html")
        self.dump(PNG, "image")
        self.dump(object, "any")


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        yield Pages(patch)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Return a folder for the workspaces of this file."""
    return tmp_path_factory.mktemp("ground")


@pytest.fixture
def made(run_dag, ground):
    """Return artifacts by class and day: of a DAG that ran on two days, and of one with a workspace of its own."""
    shared, own = Workspace(str(ground / "shared")), Workspace(str(ground / "own"))
    if not ground.joinpath("shared").exists():
        dag = KartDag("found_shared", FoundReport, schedule=None, workspace=shared, bind={"day": DAY, "word": HOSTILE})
        for day in (1, 3):
            run_dag(dag, logical_date=dt.datetime(2024, 1, day, tzinfo=dt.timezone.utc))
        other = KartDag("found_other", FoundNumbers, schedule=None, workspace=own, bind={"day": DAY, "word": "secret"})
        run_dag(other, logical_date=dt.datetime(2024, 2, 1, tzinfo=dt.timezone.utc))
    found = sorted([*shared.artifacts(), *own.artifacts()], key=lambda one: one.uri)
    return {f"{one.task_class.rpartition('.')[2]} {one.parameters['day']}": one for one in found}


def hits(page: str) -> list[str]:
    return re.findall(r'<li class="stack">.*?/artifacts/([0-9a-f]{32})', page, flags=re.DOTALL)


def test_the_search_finds_by_class_value_id_uri_and_time(pages, made):
    reader = pages.of("ann")
    ids = {name: one.unique_id for name, one in made.items()}
    numbers, report = ids["FoundNumbers 2024-01-01"], ids["FoundReport 2024-01-01"]
    text = reader.get("/kart/").text
    assert set(ids.values()) <= set(hits(text))  # and those of other files' DAGs
    today = dt.datetime.now(dt.timezone.utc).date()
    for words, expected in {
        "FoundNumbers": {ids[name] for name in ids if "Numbers" in name},
        "foundreport 2024-01-01": {report},
        "FoundNumbers(day=2024-01-01)": {numbers},
        "class:FoundNumbers day=2024-01-01": {numbers},
        "class:found_numbers word=secret": {ids["FoundNumbers 2024-02-01"]},
        numbers: {numbers},
        numbers[:10]: {numbers},
        made["FoundNumbers 2024-01-01"].uri: {numbers},
        "dag:found_other": {ids["FoundNumbers 2024-02-01"]},
        f"since:{today + dt.timedelta(days=1)}": set(),
        f"made:{today} until:{today + dt.timedelta(days=1)}": set(ids.values()),
        f"sha:{made['FoundNumbers 2024-01-01'].row.sha256[:12]}": {numbers, ids["FoundNumbers 2024-02-01"]},
        "word=*script*": {one.unique_id for one in made.values() if one.dag_id == "found_shared"},
        'depth="no such"': set(),
        "hunter2hunter2": set(),
        "class: = :x \" '": set(),
    }.items():
        assert set(hits(reader.get("/kart/", params={"q": words}).text)) & set(ids.values()) == expected, words
    text = reader.get("/kart/", params={"q": "FoundNumbers day=2024-01-02"}).text
    assert "No artifact matches “FoundNumbers day=2024-01-02”" in text_of(text)
    assert "3 artifacts would fit with another day: 2024-" in text_of(text)
    for href in re.findall(r'<a href="(\?q=[^"]+)"', text):
        assert hits(reader.get("/kart/" + href.replace("&amp;", "&")).text), href


def test_the_page_of_an_artifact_shows_its_preview_and_what_changed(pages, made):
    reader = pages.of("ann")
    one = made["FoundNumbers 2024-01-03"]
    page = reader.get(f"/kart/artifacts/{one.unique_id}")
    text = text_of(page.text)
    assert page.status_code == 200 and one.uri in text
    assert "of found_shared, as found_numbers" in text
    assert "3 rows; statistics of all rows" in text and "mean 2" in text and "1 missing" in text
    assert "1 change since the version of" in text and "late none → bool" in text
    assert "token private" in text and "hunter2" not in page.text
    assert "Upstream 0 none here" in text and "Downstream 1 FoundReport(" in text
    assert HOSTILE not in page.text and HOSTILE in text
    before = re.search(r"/kart/artifacts/([0-9a-f]{32})\">version of", page.text)
    assert before is not None and before[1] == made["FoundNumbers 2024-01-01"].unique_id
    assert "Columns:" not in reader.get(f"/kart/artifacts/{before[1]}").text


def test_outputs_are_shown_by_what_they_are_and_downloaded_as_files(pages, made):
    reader = pages.of("ann")
    here = f"/kart/artifacts/{made['FoundReport 2024-01-01'].unique_id}"
    names = sorted(set(re.findall(r'href="/kart/artifacts/[0-9a-f]+\?file=([^"]+)"', reader.get(here).text)))
    assert len(names) == 3
    texts = [reader.get(here, params={"file": name}).text for name in names]
    assert not any(HOSTILE in page for page in texts)
    for page in texts:  # a history is of one output
        size = re.search(r"Size ([\d.]+ k?B)", text_of(page))
        assert size is not None and re.search(rf"this one [\d.]+ s {re.escape(size[1])} ", text_of(page)), text_of(page)
    assert sum("Text of the artifact" in page for page in texts) == 1
    assert sum("/image?file=" in page for page in texts) == 1
    assert sum("Pickles are never opened" in page for page in texts) == 1
    answers = [reader.get(f"{here}/download", params={"file": name}) for name in names]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 415]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if answer.status_code == 200:
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment; ")
            assert answer.content in (f"<html>{HOSTILE}".encode(), PNG)
    images = [reader.get(f"{here}/image", params={"file": name}) for name in names]
    assert sorted(answer.status_code for answer in images) == [200, 415, 415]
    assert {answer.headers["Content-Type"] for answer in images if answer.status_code == 200} == {"image/png"}


def test_a_user_sees_only_artifacts_of_dags_that_the_user_may_read(pages, made):
    numbers, secret = made["FoundNumbers 2024-01-01"], made["FoundNumbers 2024-02-01"]
    routes = ["", "/download", "/image"]
    for route in ["/kart/", *(f"/kart/artifacts/{numbers.unique_id}{route}" for route in routes)]:
        assert pages.of(None).get(route).status_code == 401
    only = pages.of("only-found_other")
    assert set(hits(only.get("/kart/").text)) == {secret.unique_id}
    for route in routes:
        answer = only.get(f"/kart/artifacts/{numbers.unique_id}{route}")
        assert answer.status_code == 404 and numbers.uri not in answer.text
    assert only.get(f"/kart/artifacts/{secret.unique_id}").status_code == 200
    text = pages.of("only-nothing").get("/kart/").text
    assert not hits(text) and "No DAG that you may read keeps artifacts yet" in text_of(text)


def test_artifacts_of_others_in_a_shared_workspace_stay_hidden(pages, run_dag, made, ground):
    dag = KartDag("found_theirs", FoundNumbers, schedule=None, workspace=str(ground / "own"), bind={"day": DAY})
    run_dag(dag, logical_date=dt.datetime(2024, 2, 9, tzinfo=dt.timezone.utc))
    theirs = Workspace(str(ground / "own")).artifacts(dag_id="found_theirs").latest()
    only = pages.of("only-found_other")
    text = only.get("/kart/").text
    assert hits(text) == [made["FoundNumbers 2024-02-01"].unique_id] and "found_theirs" not in text
    page = only.get(f"/kart/artifacts/{theirs.unique_id}")
    assert page.status_code == 404 and "2024-02-09" not in page.text
    assert theirs.unique_id in hits(pages.of("ann").get("/kart/").text)


def test_what_changed_on_the_disk_is_not_served(pages, made, ground):
    reader = pages.of("ann")
    one, other = made["FoundNumbers 2024-01-01"], made["FoundNumbers 2024-01-03"]
    here, there = (f"/kart/artifacts/{record.unique_id}" for record in (one, other))
    Path(one.uri).write_bytes(b"other")
    assert reader.get(f"{here}/download").status_code == 409
    assert "not there in the size" in text_of(reader.get(here).text)
    os.replace(other.uri, ground / "outside.parquet")
    os.symlink(ground / "outside.parquet", other.uri)
    for route in ("", "/download", "/image"):
        assert reader.get(f"{there}{route}").status_code == 404
    assert reader.get(f"/kart/artifacts/{'0' * 32}").status_code == 404
    assert reader.get("/kart/artifacts/..%2f..%2fetc").status_code in (404, 422)


def test_a_workspace_that_does_not_answer_leaves_the_others_searchable(pages, made, ground, store_dag):
    broken = Workspace("s3://no-such-bucket/flights", aws_conn_id="no_such_connection")
    store_dag(KartDag("found_broken", FoundNumbers, schedule=None, workspace=broken, bind={"day": DAY}))
    store_dag(KartDag("found_unseen", FoundNumbers, schedule=None, workspace=str(ground / "unseen"), bind={"day": DAY}))
    reader = pages.of("ann")
    page = reader.get("/kart/").text
    assert "The API server cannot read s3://no-such-bucket/flights" in text_of(page) and "could be read" in text_of(page)
    assert "The API server does not see" in text_of(page) and str(ground / "unseen") in text_of(page)
    assert "What the store said" in page and "Traceback" not in page and len(hits(page)) >= 9
    assert reader.get(f"/kart/artifacts/{made['FoundNumbers 2024-02-01'].unique_id}").status_code == 200
    answer = reader.get(f"/kart/artifacts/{'0' * 32}")
    assert answer.status_code == 502 and "did not answer" in answer.text and "Traceback" not in answer.text
    text = text_of(pages.of("only-found_unseen").get("/kart/").text)
    assert "There is no artifact yet" in text and "The API server does not see" in text


def test_a_bucket_that_does_not_answer_is_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(access, "_PATIENCE", 0.2)
    bucket, ended = Workspace("s3://nowhere/w"), threading.Event()
    with pytest.raises(StorageError, match="did not answer within"):
        access.answer_of(bucket, lambda: ended.wait(30))
    monkeypatch.setattr(access, "_PATIENCE", 20)
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(access.answer_of, bucket, lambda: ended.wait(30)) for _ in range(12)]
        refused = list(islice(as_completed(asked, 10), 11))  # one more may hang, the others hear it at once
        assert all(isinstance(one.exception(), StorageError) for one in refused)
        assert access.answer_of(Workspace("s3://elsewhere/w"), lambda: 3) == 3, "a bucket that hangs takes no other along"
        ended.set()
    assert access.answer_of(bucket, lambda: 3) == access.answer_of(Workspace(str(tmp_path)), lambda: 3) == 3
    with pytest.raises(StorageError, match="refused"):
        access.answer_of(bucket, partial(_refuse, "refused"))


def _refuse(words: str) -> None:
    raise StorageError(words)


def test_a_pin_is_set_by_who_may_edit_the_dag_and_kept_by_garbage_collection(pages, made, ground, monkeypatch):
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    one = made["FoundNumbers 2024-02-01"]
    here = f"/kart/artifacts/{one.unique_id}"
    viewer, editor = pages.of("ann"), pages.of(HOSTILE, role="user")
    assert "#pin" not in viewer.get(here).text and "#pin" in editor.get(here).text
    for client, status in ((viewer, 403), (pages.of("only-found_other"), 403), (pages.of(None), 401)):
        assert client.post(f"{here}/pin").status_code == status
    assert editor.post(f"{here}/pin", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert editor.get(f"{here}/pin").status_code == 405 and one.pinned is None
    answer = editor.post(f"{here}/pin")
    assert answer.url.path == here and f"Pinned by {HOSTILE}, 20" in text_of(answer.text) and HOSTILE not in answer.text
    run = one.sidecar.content["airflow"]
    task = viewer.get(f"/kart/dags/found_other/runs/{run['run_id']}/tasks/{run['task_id']}")
    assert all("Pinned by" in text_of(page.text) for page in (viewer.get(here), task))
    ws = Workspace(str(ground / "own"))
    garbage = Garbage(ws, Conditions(only=["*"], grace=dt.timedelta()))
    assert {piece.stays for piece in garbage.pieces if piece.unique_id == one.unique_id} == {"pinned"}

    monkeypatch.setattr(LocalStore, "upload", _refused)
    answer = editor.post(f"{here}/pin")
    assert answer.status_code == 409 and "could not write the pin: could not write " in text_of(answer.text)
    monkeypatch.undo()
    assert "Pin…" in text_of(editor.post(f"{here}/pin?take_away=true").text) and one.pinned is None
    with create_session() as session:
        found = session.scalars(select(Log).where(Log.event.like("kart.%")).order_by(Log.id)).all()
        assert [(each.event, each.owner, each.dag_id) for each in found] == [
            ("kart.pin", HOSTILE, "found_other"),
            ("kart.unpin", HOSTILE, "found_other"),
        ]


def _refused(_: LocalStore, uri: str, **more: object) -> Any:
    raise StorageError(f"could not write {uri}: a read-only file system", uri=uri)
