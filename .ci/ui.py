"""Take the pictures of ``docs/ui.md`` from the flagship example, in a real Airflow and a real browser, light and dark.

With ``--serve``, the Airflow stays up after the runs, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE / "tests"))

from harness.airflow_server import AirflowServer  # noqa: E402
from harness.browser import chromium, opened  # noqa: E402
from harness.flagship import flagship  # noqa: E402
from harness.postgres import postgres  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

PICTURES = HERE / "docs" / "ui"
THEMES = ("light", "dark")
WIDTH, HEIGHT, TALLEST = 1040, 780, 1600
COLOURS = 128
CONF = {"window_days": 3, "trees": 20}
RUNS = {"cold": {"day": "2013-03-01"}, "warm": {"start": "2013-03-01"}, "next": {"day": "2013-03-02"}}
"""One after the other. Airflow has one run for each logical date; a run without has the day that it may not start before."""


def main() -> None:
    """Make the runs, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="keep the Airflow up in place of taking pictures")
    serve = parser.parse_args().serve
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="kart-ui-") as home, postgres() as database:
        server = AirflowServer(Path(home, "airflow"), database, triggerer=serve)
        (server.dags / "flight_delays.py").write_text(flagship())
        try:
            server.start()
            server.wait_for_dags("flight_delays")
            runs = {name: server.run("flight_delays", CONF, **when).run_id for name, when in RUNS.items()}
            if serve:
                print(f"{server.address}  admin {server.password_of('admin')}  {json.dumps(runs)}", flush=True)
                while True:
                    time.sleep(60)
            take(server, runs)
        finally:
            server.stop()


def views(runs: dict[str, str]) -> dict[str, str]:
    """Return the paths of the pictures by name."""
    dag = "/kart/dags/flight_delays"
    cold, warm, following = (f"{dag}/runs/{urllib.parse.quote(runs[name], safe='')}" for name in RUNS)
    return {
        "run_cold": cold,
        "run_cached": warm,
        "run": following,
        "task": f"{following}/tasks/delay_model",
        "cached": f"{following}/tasks/features__1",
        "why": f"{following}/tasks/delay_model/why",
        "dag": dag,
        "search": "/kart/?q=Features",
    }


def take(server: AirflowServer, runs: dict[str, str]) -> None:
    """Take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with chromium() as browser:
        for theme in THEMES:
            for name, path in views(runs).items():
                picture(browser, server, path, PICTURES / f"{name}_{theme}.png", theme)


def picture(browser: Browser, server: AirflowServer, path: str, file: Path, theme: str) -> None:
    """Take one picture, of few colours, so that the repository stays small."""
    with opened(
        browser, server.address, server.token, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme
    ) as page:
        show(page, path)
        page.screenshot(path=str(file), full_page=True)
    with Image.open(file) as image:
        cut = image.crop((0, 0, WIDTH, min(image.height, TALLEST)))
        cut.convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(f"{os.path.relpath(file)}  {file.stat().st_size / 1000:.0f} kB", flush=True)


def show(page: Page, path: str) -> None:
    """Open a page, and wait until it is whole."""
    answer = page.goto(path)
    if answer is None or not answer.ok:
        sys.exit(f"{path} answered {answer and answer.status}")
    page.wait_for_load_state("networkidle")


if __name__ == "__main__":
    main()
