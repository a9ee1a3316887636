"""How many pages and downloads are served at once: real requests of several users, over real connections."""

from __future__ import annotations

import base64
import gc
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from fastapi.responses import HTMLResponse
from harness.loopback import free_port
from harness.pages import Pages, text_of

from airflow_kart import KartDag, StrParameter, TaskOnKart, Workspace
from airflow_kart.plugin import access, artifact, search, turns
from airflow_kart.plugin.access import Reader


class TurnText(TaskOnKart[str]):
    text: str = StrParameter(default="x")

    def output(self) -> Any:
        return self.make_target("turn.txt")

    def run(self) -> None:
        self.dump(self.text * 40_000_000)


@pytest.fixture(scope="module")
def server():
    """Return the pages, and the address of a server that has them."""
    with pytest.MonkeyPatch.context() as patch:
        pages, port = Pages(patch), free_port()
        served = uvicorn.Server(uvicorn.Config(pages.app, port=port, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=served.run)
        thread.start()
        while not served.started:
            time.sleep(0.05)
        yield pages, f"http://127.0.0.1:{port}"
        served.should_exit = True
        thread.join(10)


def test_pages_wait_in_line_and_the_api_of_airflow_goes_on(server, monkeypatch):
    pages, address = server
    go, began = threading.Event(), threading.Semaphore(0)
    records = access.records_in

    def slow(workspace: Workspace) -> Any:
        began.release()
        go.wait(30)
        return records(workspace)

    monkeypatch.setattr(search, "require_reachable", lambda _: None)
    monkeypatch.setattr(search, "records_in", slow)
    monkeypatch.setattr(turns.PAGES, "patience", 2)
    monkeypatch.setattr(Reader, "workspaces", lambda _: [Workspace("memory://turns")])

    sign_ins = {name: dict(pages.of(name).headers) for name in ("ann", "bob", "cid", "dora", "eve")}

    def get(name: str, path: str = "/kart/") -> httpx.Response:
        return httpx.get(address + path, headers=sign_ins[name], timeout=60)

    with ThreadPoolExecutor(100) as pool:
        of_ann = [pool.submit(get, "ann") for _ in range(60)]
        for _ in range(turns.PAGES.each):
            began.acquire()
        start = time.monotonic()
        assert get("eve", "/api/v2/dags").status_code == 200 and get("eve", "/kart/static/kart.css").status_code == 200
        assert time.monotonic() - start < 1.5
        refused = _ended(of_ann, 60 - turns.PAGES.each)
        assert {one.status_code for one in refused} == {429}
        assert (
            refused[0].headers["Retry-After"] == "2"
            and "default-src 'none'" in refused[0].headers["Content-Security-Policy"]
        )
        assert "You ask for too many pages at once" in text_of(refused[0].text)
        others = [pool.submit(get, name) for name in ("bob", "cid", "dora") for _ in range(3)]
        busy = _ended(others, 9 - (turns.PAGES.at_once - turns.PAGES.each))
        assert {one.status_code for one in busy} == {503}
        monkeypatch.setattr(turns.PAGES, "patience", 30)
        later = pool.submit(get, "eve")
        time.sleep(0.2)
        go.set()
        served = [one.result() for one in (*of_ann, *others, later)]
        assert sum(one.status_code == 200 for one in served) == turns.PAGES.at_once + 1
    assert get("ann").status_code == 200
    _all_given_back(turns.PAGES)


def _ended(asked: list[Any], number: int) -> list[httpx.Response]:
    """Wait until so many requests have ended; no more end in the next moment."""
    end = time.monotonic() + 20
    while sum(one.done() for one in asked) < number and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    found = [one.result() for one in asked if one.done()]
    assert len(found) == number
    return found


def test_nobody_counts_as_somebody_else(server, monkeypatch):
    pages, address = server
    monkeypatch.setattr(turns.PAGES, "patience", 0.2)
    go, began = threading.Event(), threading.Semaphore(0)

    def slow(_: Workspace) -> list[Any]:
        began.release()
        go.wait(30)
        return []

    monkeypatch.setattr(search, "require_reachable", lambda _: None)
    monkeypatch.setattr(search, "records_in", slow)
    monkeypatch.setattr(Reader, "workspaces", lambda _: [Workspace("memory://turns")])
    token = str(pages.of("ann").headers["Authorization"]).partition(" ")[2]

    def forged(name: str) -> str:
        return f"a.{base64.urlsafe_b64encode(json.dumps({'sub': name}).encode()).decode().rstrip('=')}.c"

    def get(headers: dict[str, str]) -> int:
        return httpx.get(f"{address}/kart/", headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(20) as pool:
        basic = [{"Authorization": f"Basic {forged(str(number))}", "Cookie": f"_token={token}"} for number in range(6)]
        of_ann = [pool.submit(get, headers) for headers in basic]
        for _ in range(turns.PAGES.each):
            began.acquire(timeout=20)
        assert not began.acquire(timeout=1), "all of these are one sign-in"
        assert get({"Authorization": f"Bearer {forged('ann')}"}) in {401, 403}, "an unsigned token counts for itself"
        go.set()
        assert sorted(one.result() for one in of_ann) == [200] * turns.PAGES.each + [429] * (6 - turns.PAGES.each)
    _all_given_back(turns.PAGES)


def test_slow_downloads_hold_neither_threads_nor_pages(server, run_dag, workspace, monkeypatch):
    pages, address = server
    monkeypatch.setattr(turns.DOWNLOADS, "patience", 0.2)
    run_dag(KartDag("turns", TurnText(), schedule=None))
    one = Workspace(str(workspace)).artifacts().latest()
    here, headers = f"{address}/kart/artifacts/{one.unique_id}", dict(pages.of("ann").headers)
    threads = threading.active_count()
    with httpx.Client(headers=headers, timeout=30) as client:
        opened = []
        for _ in range(turns.DOWNLOADS.each):
            answer = client.send(client.build_request("GET", f"{here}/download"), stream=True)
            assert answer.status_code == 200
            assert answer.headers["Content-Length"] == "40000000", "nothing on the way compresses"
            opened.append(answer)
        time.sleep(1)  # in which a compressed answer would have come to its end, unread
        assert client.get(f"{here}/download").status_code == 429
        assert client.get(f"{here}/image").status_code == 429, "an image may be as slow"
        assert client.get(here).status_code == 200
        assert client.get(f"{address}/kart/dags/turns/runs/none/tasks/download").status_code == 404, (
            "a page, whatever the name of a task is"
        )
        assert threading.active_count() < threads + 30
        assert len(opened[0].read()) == one.bytes == 40_000_000
        assert client.get(f"{here}/download").status_code == 200
        for answer in opened:
            answer.close()
    _all_given_back(turns.DOWNLOADS)  # also of a reader that went away


def test_a_slow_reader_of_a_page_holds_no_turn(server, run_dag, workspace, monkeypatch):
    pages, address = server
    run_dag(KartDag("turns_page", TurnText(text="z"), schedule=None))
    monkeypatch.setattr(artifact, "page", lambda *_, **__: HTMLResponse("x" * 40_000_000))
    here = f"/kart/artifacts/{Workspace(str(workspace)).artifacts().latest().unique_id}"
    asked = f"GET {here} HTTP/1.1\r\nHost: x\r\nAuthorization: {pages.of('ann').headers['Authorization']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(address).port)) as slow:
        slow.sendall(asked.encode())
        assert slow.recv(12) == b"HTTP/1.1 200"
        _all_given_back(turns.PAGES)


def test_a_download_of_a_file_that_becomes_shorter_breaks_and_closes_the_file(server, run_dag, workspace):
    pages, address = server
    run_dag(KartDag("turns_short", TurnText(text="y"), schedule=None))
    one = Workspace(str(workspace)).artifacts().latest()
    gc.disable()
    try:
        for broken in (True, False):
            with (
                httpx.Client(headers=dict(pages.of("ann").headers), timeout=30) as client,
                client.stream("GET", f"{address}/kart/artifacts/{one.unique_id}/download") as answer,
            ):
                rest = answer.iter_raw()
                next(rest)
                if not broken:
                    continue  # the reader goes away
                with open(one.uri, "r+b") as file:
                    file.truncate(1000)
                with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                    list(rest)
                with open(one.uri, "r+b") as file:
                    file.truncate(one.bytes)
        _all_given_back(turns.DOWNLOADS)
        names = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        assert os.path.realpath(one.uri) not in names
    finally:
        gc.enable()


def _all_given_back(of: turns.Turns) -> None:
    end = time.monotonic() + 20
    while of._held and time.monotonic() < end:
        time.sleep(0.05)
    assert not of._held
