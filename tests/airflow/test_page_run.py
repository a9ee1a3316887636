"""The pages of DAG runs and task instances: what they say, of runs that are real."""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from airflow.sdk import DAG
from airflow.sdk import task as airflow_task
from harness.pages import Pages, text_of

from airflow_kart import (
    DateParameter,
    IntParameter,
    KartDag,
    KartOperator,
    KartTaskGroup,
    StrParameter,
    TaskOnKart,
    Workspace,
    build,
)
from airflow_kart.locks import Holder, locks_for
from airflow_kart.parameters.base import ParameterVisibility
from airflow_kart.plugin import actions
from airflow_kart.plugin.access import Reader
from airflow_kart.plugin.words import run_words

DAY = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202e{{ 7*7 }}"
SECRET = "a secret of the model"


class PageRaw(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        self.dump(1)


class PageFeatures(TaskOnKart[int]):
    day: dt.date = DateParameter()

    def requires(self) -> Any:
        return PageRaw(day=self.day)

    def run(self) -> None:
        self.dump(2)


class PageModel(TaskOnKart[int]):
    day: dt.date = DateParameter()
    depth: int = IntParameter(default=3)
    token: str = StrParameter(default=SECRET, visibility=ParameterVisibility.PRIVATE, significant=False)

    def requires(self) -> Any:
        return PageFeatures(day=self.day)

    def run(self) -> None:
        if self.depth == 13:
            raise RuntimeError("unlucky")
        self.task_log["rows"] = 5
        self.dump(self.depth)


class PageEvil(TaskOnKart[Any]):
    text: str = StrParameter()

    def run(self) -> None:
        import pandas as pd

        self.task_log[EVIL] = EVIL
        self.dump(pd.DataFrame({EVIL: [EVIL]}))

    def output(self) -> Any:
        return self.make_target("evil.parquet")


@pytest.fixture(scope="module")
def pages():
    with pytest.MonkeyPatch.context() as patch:
        yield Pages(patch)


def at(year: int, month: int, day: int, hour: int = 0) -> dt.datetime:
    return dt.datetime(year, month, day, hour, tzinfo=dt.timezone.utc)


def model_dag(dag_id: str, **more: Any) -> KartDag:
    return KartDag(dag_id, PageModel, schedule=None, bind={"day": DAY}, **more)


def href(run: Any, *more: str) -> str:
    return f"/kart/dags/{run.dag_run.dag_id}/runs/{run.dag_run.run_id}{''.join(more)}"


def test_three_runs_answer_what_ran_what_was_reused_and_why(pages, run_dag, workspace, monkeypatch):
    dag = model_dag("page_run")
    first = run_dag(dag, logical_date=at(2024, 1, 1))
    second = run_dag(dag, logical_date=at(2024, 1, 2))
    third = run_dag(dag, logical_date=at(2024, 1, 2, 6))
    reader = pages.of("ann")

    def read(*address: Any) -> str:
        answer = reader.get(href(*address))
        assert answer.status_code == 200, answer.text
        assert SECRET not in answer.text
        return text_of(answer.text)

    text = read(first)
    assert "3 ran; " in text and "page_model day=2024-01-01 ran there is no earlier artifact" in text
    text = read(second)
    assert "day 2024-01-01 → 2024-01-02 all other values are the same" in text
    assert "page_raw day=2024-01-02 ran day: 2024-01-01 → 2024-01-02" in text
    page = reader.get(href(third)).text
    text = text_of(page)
    assert "1 cached, 2 not needed; 0 s computed, " in text
    assert "only page_features reads it, and that is not needed" in text
    assert href(second).replace("+", "%2B") in page, "the run that made the artifact is a link"
    assert "page_raw" not in read(third, "?outcome=cached").partition("Task Which one")[2]
    assert "1 of 3 tasks" in read(third, "?q=page_raw")
    assert "No task fits" in read(third, "?q=nothing-like-that")
    text = read(third, f"/compare?other={first.dag_run.run_id}".replace("+", "%2B"))
    assert "3 tasks differ, 0 are the same" in text and "day 2024-01-01 → 2024-01-02" in text

    text = read(second, "/tasks/page_model")
    assert "day: 2024-01-01 → 2024-01-02 No artifact was there for these values. The whole chain of causes" in text
    assert "depth 3 same" in text and "token private" in text
    assert '"rows": 5' in text
    assert "this one" in text and "day = 2024-01-01" in text.replace("day=2024", "day = 2024")
    text = read(third, "/tasks/page_model?map_index={MAP_INDEX}")
    assert "Cached: not run, since its artifact was there" in text
    assert "made it on 20" in text and "as page_model, in" in text and "Airflow shows such a task as skipped" in text
    assert "“skipped” in Airflow: cached and not needed" in read(third)
    assert "Not needed in this run only page_features reads it" in read(third, "/tasks/page_raw")
    text = read(second, "/tasks/page_model/why")
    assert "page_model ran: day: 2024-01-01 → 2024-01-02" in text
    assert "in PageModel, PageFeatures, PageRaw" in text
    assert " page_raw ran: there is no earlier artifact of PageRaw " in read(first, "/tasks/page_raw/why")
    text = read(second, "/why")
    assert "3 tasks ran: day: 2024-01-01 → 2024-01-02" in text and "because of 1" in text
    assert "plan plans the run" in text_of(reader.get(href(second, "/tasks/plan")).text)
    asked = run_dag(dag, logical_date=at(2024, 1, 2, 7), run_conf={"kart_rerun": ["PageModel"]})
    text = read(asked, "/tasks/page_model")
    assert "asked to run again" in text and "No artifact was there" not in text

    workspace.rename(workspace.with_name("elsewhere"))
    assert "The workspace cannot be read from the API server." in read(third, "/tasks/page_model")
    assert "1 cached, 2 not needed" in read(third), "the page of a run reads no workspace"
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", str(workspace.with_name("elsewhere")))
    text = read(second, "/tasks/page_model")
    assert " s Another run has replaced the artifact since. Why it ran: day: 2024-01-01 → 2024-01-02. The whole" in text
    assert "token private" in text, "an artifact is found where the workspace is now"
    assert "cannot be read" not in read(third, "/tasks/page_model/why")


def test_a_failed_task_is_named_first_and_so_is_what_waits_for_it(pages, run_dag):
    dag = KartDag("page_failed", PageModel(day=dt.date(2024, 1, 1), depth=13), schedule=None)
    run = run_dag(dag)
    reader = pages.of("ann")
    text = text_of(reader.get(href(run)).text)
    assert "1 failed, 2 ran; " in text
    assert "1 task failed, or could not run: page_model its run failed at try 1; the log says why" in text
    page = reader.get(href(run, "/tasks/page_model")).text
    assert "Failed after" in text_of(page)
    assert f'href="/dags/page_failed/runs/{run.dag_run.run_id.replace("+", "%2B")}/tasks/page_model" data-airflow' in page


def test_failed_tasks_that_make_no_artifact_are_named(pages, run_dag):
    with DAG("page_download", schedule=None) as classic:

        @airflow_task
        def download() -> None:
            raise ValueError("no network")

        download() >> KartTaskGroup("one", PageModel(day=dt.date(2024, 1, 1)))
    unplanned = KartDag("page_no_plan", PageModel, schedule=None, bind={"day": "{{ dag_run.conf['day'] }}"})
    for dag, conf, name, prefix in ((classic, {}, "download", "one."), (unplanned, {"day": "no day"}, "plan", "")):
        run = run_dag(dag, run_conf=conf)
        page = pages.of("ann").get(href(run)).text
        assert f"1 task that makes no artifact failed: {name} ; the log says why" in text_of(page).replace(
            f"{name};", f"{name} ;"
        )
        assert f"{prefix}page_raw it needs {name} , which failed" in text_of(page)
        assert f'href="{href(run, "/tasks/", name).removeprefix("/kart").replace("+", "%2B")}" data-airflow' in page


def test_a_run_that_goes_on_says_whom_a_task_waits_for_and_can_be_acted_upon(pages, run_dag, workspace):
    run = run_dag(model_dag("page_live"), logical_date=at(2024, 1, 1))
    unique_id = PageModel(day=dt.date(2024, 1, 1)).unique_id
    _set_back(run, page_features="running", page_model="deferred")
    holder = Holder(
        "PageModel(...)", {"dag_id": "page_live", "run_id": "scheduled__2024-01-05T00:00:00+00:00", "task_id": "m"}
    )
    lease: Any = locks_for(Workspace(str(workspace))).acquire(unique_id, holder)
    try:
        answer = pages.of("ann").get(href(run))
        other = pages.of("only-other")
    finally:
        lease.release()
    text = text_of(answer.text)
    assert "1 waiting, 1 running, 1 ran; " in text
    assert "page_model waits for page_live, run of 2024-01-05 , on" in text
    assert 'data-live="5"' in answer.text and '<noscript><meta http-equiv="refresh"' in answer.text
    assert other.get(href(run)).status_code == 403
    task = pages.of("ann").get(href(run, "/tasks/page_features"))
    assert "Runs now" in text_of(task.text) and 'data-live="5"' in task.text
    _check_actions(pages, run)


def _check_actions(pages: Any, run: Any) -> None:
    """Check that actions go through Airflow's own API and permissions."""
    _set_back(run, page_features="success", page_model="success")
    reader, writer = pages.of("ann"), pages.of("cy", role="user")
    address = href(run, "/tasks/page_features")
    assert "Run again" not in reader.get(address).text
    page = writer.get(address).text
    assert "Run page_features and 1 task downstream again? page_model runs too." in text_of(page)
    assert reader.post(f"{address}/again", follow_redirects=False).status_code == 403
    assert pages.of(None).post(f"{address}/again").status_code == 401
    assert writer.post(f"{address}/again", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert writer.post(f"{address}/again", headers={"Origin": "https://evil.example"}).status_code == 403
    assert _states(run)["page_model"] == "success"
    answer = writer.post(
        f"{address}/again?downstream=true", headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False
    )
    assert answer.status_code == 303 and answer.headers["location"] == href(run).replace("+", "%2B")
    states = _states(run)
    assert (states["page_raw"], states["page_features"], states["page_model"]) == ("success", None, None)
    assert "1 ran, 2 to run; " in text_of(reader.get(href(run)).text)
    again = reader.get(address)
    assert "Has to run" in text_of(again.text) and "data-live" in again.text

    assert reader.post(href(run, "/trigger"), follow_redirects=False).status_code == 403
    assert writer.post("/kart/dags/page_live/runs/none/trigger", follow_redirects=False).status_code == 404
    answer = writer.post(href(run, "/trigger"), follow_redirects=False)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith("/kart/dags/page_live/runs/manual__")
    assert writer.get(answer.headers["location"]).status_code == 200


def test_a_cached_task_is_made_again_in_the_run_that_made_it(pages, run_dag, monkeypatch):
    dag = model_dag("page_origin")
    first, second = (run_dag(dag, logical_date=at(2024, 6, 2, hour)) for hour in (0, 1))
    reader, writer = pages.of("ann"), pages.of("root", role="admin")
    address = href(second, "/tasks/page_model")
    assert "Make it again" not in reader.get(address).text + writer.get(href(first, "/tasks/page_model")).text
    page = writer.get(address).text
    assert f"Make it again in the {run_words(first.dag_run.run_id)}?" in text_of(page)
    (action,) = re.findall(r'id="origin" method="post" action="([^"]+)"', page)
    assert action == html.escape(href(first, "/tasks/page_model/again").replace("+", "%2B"))
    assert reader.post(action, follow_redirects=False).status_code == 403
    answer = writer.post(action, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == href(first).replace("+", "%2B")
    assert "page_model" in text_of(writer.get(href(first)).text).partition("To run 1")[2]
    assert "Cached: not run" in text_of(writer.get(address).text)
    for state in ("running", "queued", "scheduled", "restarting"):
        _set_back(first, page_model=state)
        assert "Make it again" not in writer.get(address).text
        answer = writer.post(action, follow_redirects=False)
        assert answer.status_code == 409 and "page_model is being made in this run already" in text_of(answer.text)
        assert _states(first)["page_model"] == state
    _set_back(first, page_model="success")
    assert "Make it again" in writer.get(address).text
    for missing in ("/tasks/nothing/again", "/tasks/page_model/again?map_index=7"):
        answer = writer.post(href(first, missing), follow_redirects=False)
        assert answer.status_code == 404 and "no task instance of" in text_of(answer.text), answer.text
    monkeypatch.setenv("AIRFLOW__KART__CLEAR", "look")
    assert "Make it again" not in writer.get(address).text


def test_actions_ask_the_database_in_a_thread(pages, run_dag, monkeypatch):
    run = run_dag(model_dag("page_threads"), logical_date=at(2024, 1, 1))
    seen = []

    def spy(ask: Any) -> Any:
        def spied(*asked: Any) -> Any:
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            seen.append(ask)
            return ask(*asked)

        return spied

    for owner, name in ((actions, "conf_of"), (actions, "states_of"), (Reader, "may")):
        monkeypatch.setattr(owner, name, spy(getattr(owner, name)))
    for action in ("/tasks/page_model/again", "/trigger"):
        assert pages.of("root", role="admin").post(href(run, action), follow_redirects=False).status_code == 303
    assert len(set(seen)) == 3


def _set_back(run: Any, **states: str) -> None:
    """Put a finished run back to where it was when some tasks were under way, as Airflow's database had it."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, update

    own = (run.dag_run.dag_id, run.dag_run.run_id)
    with create_session() as session:
        session.execute(update(DagRun).where(DagRun.dag_id == own[0], DagRun.run_id == own[1]).values(state="running"))
        session.execute(
            delete(XComModel).where(XComModel.dag_id == own[0], XComModel.run_id == own[1], XComModel.key == "report")
        )
        for task_id, state in states.items():
            of_task = (TaskInstance.dag_id == own[0], TaskInstance.run_id == own[1], TaskInstance.task_id == task_id)
            session.execute(update(TaskInstance).where(*of_task).values(state=state, end_date=None))


def test_mapped_tasks_and_graphs_without_a_plan_have_pages(pages, run_dag, tmp_path):
    with DAG("page_mapped", schedule=None) as mapped:
        task = PageRaw(day=dt.date(2024, 1, 1))
        values = [{"day": "2024-01-01"}, {"day": "2024-01-02"}]
        raw = KartOperator.partial(task_id="raw", task=task, workspace=str(tmp_path)).expand(bind=values)
        raw >> KartOperator(task_id="features", task=PageFeatures(day=dt.date(2024, 1, 1)), workspace=str(tmp_path))
    reader, run = pages.of("ann"), run_dag(mapped)
    text = text_of(reader.get(href(run)).text).replace("[0] 0 ran", "[0] ran")  # Airflow 3.1 gives it no name
    assert "raw [0] ran no artifact" in text
    assert "day 2024-01-02" in text_of(reader.get(href(run, "/tasks/raw?map_index=1")).text)
    assert reader.get(href(run, "/tasks/raw?map_index=7")).status_code == 404
    text = text_of(reader.get(href(run, "/tasks/raw")).text)
    assert "Ran 2 task instances: 2 ran. " in text and "Instances 2 raw [0]" in text
    assert "to run" not in text and "is not there now" not in text
    assert "Upstream 1 raw ran" in text_of(reader.get(href(run, "/tasks/features")).text)
    dag = model_dag("page_unplanned", plan=False, on_cached="success", workspace=f"{tmp_path}/{{{{ dag_run.run_type }}}}")
    first = run_dag(dag, logical_date=at(2024, 1, 1))
    second = run_dag(dag, logical_date=at(2024, 1, 1, 6))
    page = reader.get(href(second)).text
    assert "3 cached; 0 s computed, " in text_of(page) and href(first).replace("+", "%2B") in page
    assert "Cached: not run" in text_of(page := reader.get(href(second, "/tasks/page_model")).text)
    assert "depth 3" in text_of(page), "the workspace that the template became is known"
    assert "as skipped" not in text_of(page) and "“skipped” in Airflow" not in text_of(reader.get(href(second)).text)


def test_nobody_gets_a_page_without_a_token_or_the_permission_for_the_dag(pages, run_dag, workspace):
    shared = {"workspace": str(workspace)}
    first = run_dag(model_dag("page_mine", **shared), logical_date=at(2024, 1, 1))
    reused = run_dag(model_dag("page_theirs", **shared), logical_date=at(2024, 1, 1))
    addresses = [href(first, more) for more in ("", "/why", "/compare", "/tasks/page_model", "/tasks/page_model/why")]
    for address in addresses:
        assert pages.of(None).get(address).status_code == 401
        assert pages.of("only-page_theirs").get(address).status_code == 403
        assert pages.of("bo", role="").get(address).status_code in (401, 403)
    page = pages.of(None).get(addresses[0] + "?q=a&outcome=ran").text
    (login,) = re.findall(r'<a class="btn main" href="([^"]+)">Sign in to Airflow', page)
    assert parse_qs(urlsplit(html.unescape(login)).query)["next"] == [quote(addresses[0]) + "?q=a&outcome=ran"]
    page = pages.of(None).get("/kart/dags/x/runs/a%23b%3Fc%20d").text
    (login,) = re.findall(r'<a class="btn main" href="([^"]+)">Sign in to Airflow', page)
    assert parse_qs(urlsplit(html.unescape(login)).query)["next"] == ["/kart/dags/x/runs/a%23b%3Fc%20d"]
    assert "?next=" not in pages.of(None).post(f"{addresses[3]}/again").text, "nobody can come back to an action"
    for path in ("/kart/docs", "/kart/openapi.json", "/kart/redoc", "/kart/static/../app.py", "/kart/static/%2e%2e/app.py"):
        assert pages.of("ann").get(path).status_code == 404
    mine, theirs = pages.of("only-page_mine"), pages.of("only-page_theirs")
    assert mine.get(addresses[0]).status_code == 200
    page = theirs.get(href(reused, "/tasks/page_model")).text
    assert "or belongs to a DAG that you may not read" in page and "Parameters" not in page
    assert "Parameters" in pages.of("ann").get(href(reused, "/tasks/page_model")).text
    assert pages.of("ann").get("/kart/dags/page_mine/runs/no-such-run").status_code == 404
    own = workspace.with_name("own")
    overlay = run_dag(
        model_dag("page_overlay", workspace=Workspace(own, read_from=(workspace,))), logical_date=at(2024, 1, 1)
    )
    page = text_of(pages.of("ann").get(href(overlay, "/tasks/page_model")).text)
    assert "Parameters" in page and "cannot be read from the API server" not in page
    page = text_of(pages.of("ann").get("/kart/dags/page_overlay").text)
    assert f"3 artifacts, 15 B in {workspace}" in page and f"B in {own}" not in page and "0 runs" not in page
    other_day = run_dag(model_dag("page_theirs", **shared), logical_date=at(2024, 1, 2))
    for more in ("/tasks/page_model/why", "/why"):
        told = "day: 2024-01-01 → 2024-01-02" in text_of(pages.of("ann").get(href(other_day, more)).text)
        page = theirs.get(href(other_day, more)).text
        assert told and "there is no earlier artifact of PageModel" in text_of(page) and "2024-01-01 →" not in text_of(page)


class Marks(HTMLParser):
    """Collects what could run a script."""

    KNOWN = frozenset(
        [
            "html",
            "head",
            "meta",
            "title",
            "link",
            "script",
            "noscript",
            "body",
            "svg",
            "symbol",
            "circle",
            "path",
            "rect",
            "text",
            "img",
            "br",
            "pattern",
            "use",
            "g",
            "text",
            "abbr",
            "br",
            "line",
            "a",
            "main",
            "nav",
            "bdi",
            "span",
            "div",
            "h1",
            "h2",
            "h3",
            "p",
            "b",
            "s",
            "strong",
            "code",
            "section",
            "form",
            "label",
            "input",
            "table",
            "colgroup",
            "col",
            "thead",
            "tr",
            "th",
            "tbody",
            "td",
            "dl",
            "dt",
            "dd",
            "ul",
            "ol",
            "li",
            "details",
            "summary",
            "pre",
            "wbr",
            "button",
            "select",
            "option",
        ]
    )

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.KNOWN or any(name.startswith("on") or name == "style" for name in given):
            self.bad.append(f"{tag} {given}")
        if tag == "script" and not (given.get("src") or "").startswith("/kart/static/"):
            self.bad.append(f"script {given}")
        if "href" in given and not (given["href"] or "").startswith(("/", "#", "?")):
            self.bad.append(f"{tag} {given}")


def test_everything_of_an_artifact_is_text(pages, run_dag):
    dag = KartDag("page_evil", PageEvil, schedule=None, bind={"text": "{{ dag_run.conf['text'] }}"})
    first = run_dag(dag, run_conf={"text": EVIL})
    second = run_dag(dag, run_conf={"text": EVIL + "2"})
    reader = pages.of("ann")
    for run in (first, second):
        pages_of_run = ("", "/why", "/compare", "/tasks/page_evil", "/tasks/page_evil/why", f"?q={EVIL}", "?outcome=<b>")
        for address in (*(href(run, more.replace("{", "%7B")) for more in pages_of_run), "/kart/dags/page_evil"):
            answer = reader.get(address)
            assert answer.status_code == 200, (address, answer.text)
            marks = Marks()
            marks.feed(answer.text)
            assert not marks.bad
            assert "\u202e" not in answer.text.replace("&#8238;", "")
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
    text = text_of(reader.get(href(second, "/tasks/page_evil")).text)
    assert "<script>alert(1)</script>" in text and "{{ 7*7 }}" in text


def _states(run: Any) -> dict[str, str | None]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    own = (TaskInstance.dag_id == run.dag_run.dag_id, TaskInstance.run_id == run.dag_run.run_id)
    with create_session() as session:
        return {
            row.task_id: row.state for row in session.execute(select(TaskInstance.task_id, TaskInstance.state).where(*own))
        }


class PageTwice(TaskOnKart[int]):
    """Is made again by an equal run that ends before the report looks."""

    def requires(self) -> Any:
        return PageRaw(day=dt.date(2024, 5, 1))

    def run(self) -> None:
        build(self.requires(), rerun=["PageRaw"])
        self.dump(1)


def test_report_run_and_task_agree_on_what_ran_although_an_equal_run_made_it_again(pages, run_dag):
    run = run_dag(KartDag("page_twice", PageTwice(), schedule=None))
    assert run.outcomes()["ran"] == ["page_raw", "page_twice"]
    reader = pages.of("ann")
    text = text_of(reader.get(href(run)).text)
    assert "2 ran; " in text and "cached" not in text.partition("Tasks 2 of 2")[0]
    text = text_of(reader.get(href(run, "/tasks/page_raw")).text)
    assert "Ran in" in text and "Another run has replaced the artifact since." in text
