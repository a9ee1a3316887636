"""The system's Chromium, without a window, as a person would use it; and what axe-core finds on a page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright

__all__ = ["chromium", "grave_findings", "opened"]

_GRAVE = ("serious", "critical")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start a Chromium for the block."""
    path = shutil.which("chromium")
    assert path is not None, ".ci/system_packages installs Chromium"
    # The sandbox needs rights that root in a container has not; everything that is opened is on loopback.
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    expect.set_options(timeout=20_000)  # on a busy machine Airflow's own scripts take longer than the default
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, address: str, token: str | None = None, **options: Any) -> Iterator[Page]:
    """Give an empty page in a session of its own.

    The block's end fails after errors of scripts, dialogs, requests to elsewhere, and requests that a page's policy has refused.

    Args:
        browser: the Chromium.
        address: of the Airflow.
        token: of a user who has signed in; nobody is signed in without.
        options: of the session, such as ``color_scheme`` or ``viewport``.
    """
    wrong: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def hear(said: ConsoleMessage) -> None:
        if "Content Security Policy" in said.text:
            wrong.append(said.text)

    def follow(request: Request) -> None:
        if not request.url.startswith((address, "data:", f"blob:{address}")):
            wrong.append(request.url)

    with contextlib.closing(browser.new_context(base_url=address, **options)) as context:
        if token is not None:
            context.add_cookies([{"name": "_token", "value": token, "url": address}])
        context.on("weberror", lambda found: wrong.append(f"script: {found.error}"))
        context.on("dialog", dismiss)
        context.on("console", hear)
        context.on("request", follow)
        yield context.new_page()
    assert not wrong, wrong


def grave_findings(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core on a page, in words."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} {[node['target'] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in _GRAVE
    ]
