"""The pages in a real Chromium: as tabs of Airflow's own UI, by keyboard alone, in both themes, and for nobody."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from harness.airflow_server import DagRun
from harness.browser import chromium, grave_findings, opened
from playwright.sync_api import expect

CONF = {"window_days": 3, "trees": 20}
FLIGHTS = "flight_delays"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def runs(airflow):
    """A run of one day, of the next day, and of that day again; what earlier tests have made is reused."""
    airflow.wait_for_dags(FLIGHTS)
    return {
        "day": airflow.run(FLIGHTS, CONF, "2013-03-07"),
        "next": airflow.run(FLIGHTS, CONF, "2013-03-08"),
        "again": airflow.run(FLIGHTS, CONF, start="2013-03-08"),
    }


@pytest.fixture
def page(airflow, browser):
    with opened(browser, airflow.address, airflow.token, viewport={"width": 1400, "height": 900}) as found:
        yield found


def airflows(run: DagRun, *more: str) -> str:
    """Return the address of a run in Airflow's own UI."""
    return "/".join(["", "dags", run.dag_id, "runs", quote(run.run_id, safe=""), *more])


def ours(run: DagRun, *more: str) -> str:
    return f"/kart{airflows(run, *more)}"


def test_a_run_tells_what_ran_and_why_in_its_tab(page, runs):
    page.goto(airflows(runs["next"]))
    page.get_by_role("link", name="Kart", exact=True).last.click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("7 ran, 3 cached, 18 not needed; ")
    row = frame.locator("tr", has=frame.get_by_role("link", name="features__actual"))
    assert "day: 2013-03-07 → 2013-03-08" in row.inner_text()
    frame.locator("a.chip", has_text="Cached").click()
    expect(frame.get_by_role("status")).to_have_text("3 of 28 tasks")
    frame.get_by_role("link", name="features__0").last.click()
    expect(frame.get_by_role("heading", level=1)).to_have_text("Cached: not run, since its artifact was there")


def test_a_pink_task_says_who_made_its_artifact_and_leads_there(page, runs):
    page.goto(airflows(runs["again"], "tasks", "delay_report"))
    page.get_by_role("link", name="Kart", exact=True).last.click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_have_text("Cached: not run, since its artifact was there")
    expect(frame.locator(".note.first")).to_contain_text("made it on")
    frame.locator(".note.first a").first.click()
    expect(frame.get_by_role("heading", level=1)).to_contain_text("7 ran")


def test_two_clicks_from_a_uri_to_what_made_it(page, runs):
    uri = runs["next"].xcom("delay_report")["artifacts"][0]["uri"]
    page.goto("/")
    page.get_by_role("link", name="Kart", exact=True).click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("searchbox").fill(uri)
    frame.get_by_role("button", name="Search").click()  # the first
    expect(frame.get_by_role("heading", name="1 artifact")).to_be_visible()
    frame.locator(".hits a.strong").click()  # the second
    expect(frame.get_by_role("button", name="Copy").first).to_be_visible()
    words = frame.locator("main").inner_text()
    assert all(text in words for text in ("DelayReport", uri, "2013-03-08"))


def test_the_days_of_a_dag(page, runs):
    page.goto(f"/dags/{FLIGHTS}")
    page.get_by_role("link", name="Kart", exact=True).last.click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Artifacts by task and day")).to_be_visible()
    expect(frame.get_by_role("link", name="Features").first).to_be_visible()


def test_by_keyboard_alone(page, runs):
    page.goto(ours(runs["next"]))
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "filter":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.type("raw_weather__actual")
    expect(page.get_by_role("status")).to_have_text("1 of 28 tasks")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("raw_weather__actual"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/tasks/raw_weather__actual")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Ran in ")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_for_everybody(theme, airflow, browser, runs):
    dag, again = f"/kart/dags/{FLIGHTS}", ours(runs["again"])
    views = [dag, again, ours(runs["next"]), ours(runs["next"], "tasks", "delay_model"), ours(runs["next"], "why")]
    views += [ours(runs["next"], "tasks", "delay_model", "why"), f"{again}/tasks/delay_report", "/kart/", "/kart/?q=nowhere"]
    with opened(browser, airflow.address, airflow.token, color_scheme=theme) as page:
        found = {}
        for view in views:
            page.goto(view)
            found[view] = grave_findings(page)
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(ours(runs["next"]))
        found["narrow"] = grave_findings(page)
    assert {view: grave for view, grave in found.items() if grave} == {}


def test_a_failed_run_says_first_what_failed(page, airflow):
    airflow.wait_for_dags("hopeless")
    run = airflow.run("hopeless")
    page.goto(ours(run))
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 failed")
    expect(page.locator(".note.bad")).to_contain_text("hopeless")


def test_a_workspace_in_a_bucket(page, airflow):
    airflow.wait_for_dags("flight_delays_s3")
    run = airflow.run("flight_delays_s3", {"window_days": 1, "trees": 5}, "2013-03-06")
    page.goto(ours(run, "tasks", "raw_weather__actual"))
    expect(page.locator("main")).to_contain_text("s3://kart/flights/")
    expect(page.get_by_role("heading", name="Preview")).to_be_visible()
