"""The pages in a real Chromium: as tabs of Airflow's own UI, by keyboard alone, in both themes, for nobody, and of evil texts."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import quote

import pytest
from harness.airflow_server import DagRun
from harness.browser import chromium, grave_findings, opened
from playwright.sync_api import FrameLocator, Page, expect

CONF = {"window_days": 3, "trees": 20}
EVIL = "\"'><script>evil=1</script><img src=//evil.example onerror=evil=1>"
FLIGHTS = "flight_delays"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def session(airflow, browser):
    """Somebody who may see everything, and whose browser has Airflow's scripts already."""
    with opened(browser, airflow.address, airflow.token, viewport={"width": 1400, "height": 900}) as found:
        yield found.context


@pytest.fixture
def page(session):
    with contextlib.closing(session.new_page()) as found:
        yield found


@pytest.fixture(scope="module")
def started(airflow):
    """Runs of evil texts, of a task that lasts until somebody opens its gate, and of a day of flights."""
    (airflow.home / "gates").mkdir(exist_ok=True)
    airflow.wait_for_dags(FLIGHTS, "hostile", "single_file")
    return {
        "hostile": airflow.trigger("hostile", {"text": EVIL}),
        "single_file": airflow.trigger("single_file", {"gate": "page"}),
        FLIGHTS: airflow.trigger(FLIGHTS, CONF, "2013-03-07"),
    }


@pytest.fixture(scope="module")
def waiting(airflow, session, started):
    """The tab of a run that waits for another one's task, until somebody opens the gate."""
    airflow.wait((airflow.home / "single_flight_ledger").exists, 120, "a run to hold the lock")
    run_id = airflow.trigger("single_file", {"gate": "page"})
    airflow.wait(lambda: airflow.state("single_file", run_id, "gated") == "deferred", 120, "a run to wait")
    with contextlib.closing(session.new_page()) as page:
        page.goto(f"/dags/single_file/runs/{quote(run_id, safe='')}")
        frame = open_tab(page)
        expect(frame.get_by_role("heading", level=1)).to_contain_text("1 waiting; ")
        frame.locator("body").evaluate("() => { window.isTheSame = true; }")
        yield frame
        open_gate(airflow)


@pytest.fixture(scope="module")
def runs(airflow, started):
    """The runs of flights: of a day, of the next day, and of that again; what earlier tests have made is reused. And of evil."""
    return {
        "day": airflow.finished(FLIGHTS, started[FLIGHTS]),
        "next": airflow.run(FLIGHTS, CONF, "2013-03-08"),
        "again": airflow.run(FLIGHTS, CONF, start="2013-03-08"),
        "hostile": airflow.finished("hostile", started["hostile"]),
    }


def status(page: Page, view: str) -> int:
    answer = page.goto(view)
    assert answer is not None
    return answer.status


def open_gate(airflow):
    (airflow.home / "gates" / "page").touch()


def airflows(run: DagRun, *more: str) -> str:
    """Return the address of a run in Airflow's own UI."""
    return "/".join(["", "dags", run.dag_id, "runs", quote(run.run_id, safe=""), *more])


def open_tab(page: Page) -> FrameLocator:
    """Open the tab of a page of Airflow's own UI, beside which the navigation has a link of the same name."""
    page.locator("a[href*='/plugin/kart_']").click()
    return page.frame_locator("iframe")


def ours(run: DagRun, *more: str) -> str:
    return f"/kart{airflows(run, *more)}"


def test_a_waiting_task_names_the_run_that_it_waits_for(airflow, started, waiting):
    told = "waits for single_file, manual run of [^,]+, on .+ since .+ UTC"
    expect(waiting.locator(".note.warn")).to_have_text(re.compile(f"1 task waits: gated {told}"))
    row = waiting.locator("tr", has=waiting.get_by_role("link", name="gated"))
    expect(row.locator(".out")).to_have_text("waiting")
    expect(row).to_contain_text(re.compile(told))
    holder = f"/kart/dags/single_file/runs/{quote(started['single_file'], safe=':')}/tasks/gated"
    expect(row.get_by_role("link", name="manual run of")).to_have_attribute("href", holder)
    open_gate(airflow)  # the last test looks at what the page shows by then


def test_a_cold_run_and_a_warm_one(page, runs):
    page.goto(ours(runs["day"]))
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"\d+ ran, .*; [\d.]+ s computed, "))
    page.goto(ours(runs["again"]))
    expect(page.get_by_role("heading", level=1)).to_have_text(
        re.compile("1 cached, 27 not needed; 0 s computed, [\\d.]+ s saved")
    )


def test_a_run_tells_what_ran_and_why_in_its_tab(page, runs):
    page.goto(airflows(runs["next"]))
    frame = open_tab(page)
    expect(frame.get_by_role("heading", level=1)).to_contain_text("7 ran, 3 cached, 18 not needed; ")
    row = frame.locator("tr", has=frame.get_by_role("link", name="features__actual"))
    assert "day: 2013-03-07 → 2013-03-08" in row.inner_text()
    frame.locator("a.chip", has_text="Cached").click()
    expect(frame.get_by_role("status")).to_have_text("3 of 28 tasks")
    frame.get_by_role("link", name="features__0").last.click()
    expect(frame.get_by_role("heading", level=1)).to_have_text("Cached: not run, since its artifact was there")


def test_a_pink_task_says_who_made_its_artifact_and_leads_there(page, runs):
    page.goto(airflows(runs["again"], "tasks", "delay_report"))
    frame = open_tab(page)
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
    expect(frame.get_by_role("heading", name="1 artifact", exact=True)).to_be_visible()
    frame.locator(".hits a.strong").click()  # the second
    expect(frame.get_by_role("button", name="Copy").first).to_be_visible()
    words = frame.locator("main").inner_text()
    assert all(text in words for text in ("DelayReport", uri, "2013-03-08"))


def test_the_days_of_a_dag(page, runs):
    page.goto(f"/dags/{FLIGHTS}")
    frame = open_tab(page)
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


def test_a_failed_run_says_first_what_failed(page, runs):
    page.goto(ours(runs["hostile"]))
    expect(page.get_by_role("heading", level=1)).to_contain_text("2 failed, 1 ran")
    note = page.locator(".note.bad")
    expect(note).to_contain_text("2 tasks failed, or could not run: cursed its run failed at try 1")
    expect(note).to_contain_text("doomed it needs cursed, which failed")
    note.get_by_role("link", name="cursed").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Failed after ")


def test_a_workspace_in_a_bucket(page, runs):
    page.goto(ours(runs["hostile"], "tasks", "hostile"))
    expect(page.locator("main")).to_contain_text("s3://kart/hostile/")
    expect(page.get_by_role("region", name="Preview", exact=True)).to_be_visible()


def test_a_hostile_artifact_is_text(airflow, browser, runs):
    """Whatever asked for something elsewhere, or was refused by the page's policy, fails the end of ``opened``."""
    with opened(browser, airflow.address, airflow.token) as page:
        _look_at_hostile(page, runs["hostile"])


def _look_at_hostile(page, run):
    main, text = page.locator("main"), page.locator("pre")

    def shows(*places, text=EVIL):
        for place in places:
            expect(place.first).to_contain_text(text)
        assert page.evaluate("window.evil") is None

    page.goto(ours(run))
    shows(page.locator(".graph svg"), page.locator("td .tag"), text="<script>evil=1<")
    page.locator("#filter").fill(EVIL)
    expect(page.get_by_role("status")).to_have_text("0 of 3 tasks")
    for view in (f"{ours(run)}?q={quote(EVIL)}", f"{ours(run)}/compare?other={quote(EVIL)}", "/kart/dags/hostile"):
        page.goto(view)
        shows(main, text="")
    page.goto(f"/kart/?q={quote(EVIL)}")
    shows(page.get_by_role("heading", name="No artifact matches"))
    page.goto("/kart/?q=dag:hostile")
    shows(page.locator(".hits"))
    page.goto(ours(run, "tasks", "cursed"))
    shows(page.get_by_role("heading", level=1), text="Failed after ")
    page.goto(ours(run, "tasks", "hostile", "why"))
    shows(main)
    page.goto(ours(run, "tasks", "hostile"))
    shows(page.locator(".peek thead"), page.locator(".peek td"), page.get_by_role("row", name="text"))
    expect(text.filter(has_text="in the log")).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d "))  # lines, no list
    shows(text.filter(has_text="in the log"), text.filter(has_text='"airflow"'))
    page.get_by_role("link", name="page_").click()
    shows(text, text=f"<body onload=evil=1>{EVIL}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download text").click()
    assert EVIL in download.value.path().read_text()
    page.get_by_role("link", name="drawing_").click()
    shows(text, text='onload="evil=1"')
    shows(text, text="script>evil=1<")


def test_a_user_without_the_permission_and_nobody(airflow, browser, runs):
    theirs, artifact = runs["next"], runs["next"].xcom("delay_report")["unique_id"]
    own = ours(runs["hostile"], "tasks", "hostile")
    with opened(browser, airflow.address) as page:
        for view in (own, ours(theirs), f"/kart/artifacts/{artifact}", "/kart/", f"/kart/dags/{FLIGHTS}"):
            assert status(page, view) == 401
            expect(page.get_by_role("heading", level=1)).to_have_text("Nobody is signed in")
        page.goto(own)
        page.get_by_role("link", name="Sign in to Airflow").click()
        page.get_by_label("Username").fill("only-hostile")
        page.get_by_label("Password").fill(airflow.password_of("only-hostile"))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("region", name="Preview", exact=True)).to_be_visible()  # of the page that was asked for
        expect(page.get_by_role("link", name="Run again")).to_have_count(0)
        for view in (ours(theirs), ours(theirs, "tasks", "delay_report"), f"{ours(theirs)}/why", f"/kart/dags/{FLIGHTS}"):
            assert status(page, view) == 403
            expect(page.get_by_role("heading", level=1)).to_have_text("You may not see this")
            expect(page.locator("main")).to_contain_text("Your account in Airflow lacks the permission for this page")
        assert status(page, f"/kart/artifacts/{artifact}") == 404
        expect(page.locator("main")).to_contain_text("No artifact that you may see has the unique id")
        for words in (artifact, "DelayReport", f"dag:{FLIGHTS}"):
            page.goto(f"/kart/?q={words}")
            expect(page.get_by_role("heading", name="No artifact matches")).to_be_visible()
        page.goto("/kart/")
        expect(page.get_by_role("heading", name="3 artifacts", exact=True)).to_be_visible()
        expect(page.locator("main")).not_to_contain_text(FLIGHTS)


def test_the_page_of_a_waiting_run_looks_again_until_the_end(airflow, waiting):
    open_gate(airflow)
    expect(waiting.get_by_role("heading", level=1)).to_contain_text("1 cached; ", timeout=60_000)
    expect(waiting.locator(".note.warn")).to_have_count(0)
    expect(waiting.locator("main[data-live]")).to_have_count(0, timeout=60_000)  # the report has ended too
    assert waiting.locator("body").evaluate("() => window.isTheSame"), "nobody has loaded the page anew"
