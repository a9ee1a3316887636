"""An HTTP proxy of the tests' own between a client and a service, which can be made to behave badly.

It runs in a process of its own. What it does with a request is decided by the first of its ``rules`` whose ``method``
(a regular expression) and ``path`` fit and whose dice say so.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.loopback import free_port

__all__ = ["Rule", "serve", "started"]

_NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
_CHUNK = 64 << 10


@dataclass(frozen=True)
class Rule:
    """What happens to some requests."""

    do: str
    """``reset_before`` it reaches the service, ``reset_after`` the service has answered, ``answer`` with ``status``,
    ``truncate`` the answer, ``drip`` it, or ``nothing`` but wait for ``seconds`` first."""
    method: str = ".*"
    path: str = ".*"
    share: float = 1.0
    """Of the requests that fit, how many, at random."""
    status: int = 503
    body: str = ""
    seconds: float = 0.0
    times: int = 1_000_000
    """How often at most."""


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, as the rules say."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: tuple[str, int]
    rules: list[Rule]
    used: dict[int, int]
    dice: random.Random

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Handle a request, where the client does not break off."""
        with contextlib.suppress(ConnectionError, TimeoutError, http.client.HTTPException):
            super().handle_one_request()
            return
        self.close_connection = True

    def pass_on(self) -> None:
        """Handle a request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rule = self._rule()
        if rule is not None and rule.seconds:
            time.sleep(rule.seconds)
        if rule is not None and rule.do == "reset_before":
            self._reset()
        elif rule is not None and rule.do == "answer":
            self.answer(rule.status, {}, rule.body.encode())
        else:
            status, headers, data = self.ask(body)
            if rule is not None and rule.do == "reset_after":
                self._reset()
            else:
                self.answer(status, headers, data, rule)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the service; return its answer."""
        return self.forward(self.command, self.path, dict(self.headers), body)

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Make a request of the service."""
        kept = {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
        connection = http.client.HTTPConnection(*self.service, timeout=120)
        try:
            connection.request(method, path, body or None, {**kept, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], data: bytes, rule: Rule | None = None) -> None:
        """Answer the client."""
        self.send_response_only(status)
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        for name, value in headers.items():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if rule is not None and rule.do == "truncate":
            self.wfile.write(data[: len(data) // 2])
            self._reset()
        elif rule is not None and rule.do == "drip":
            for byte in range(len(data)):
                self.wfile.write(data[byte : byte + 1])
                time.sleep(0.01)
        else:
            self.wfile.write(data)

    def _rule(self) -> Rule | None:
        for number, rule in enumerate(self.rules):
            fits = re.fullmatch(rule.method, self.command) and re.fullmatch(rule.path, self.path)
            if fits and self.used.get(number, 0) < rule.times and self.dice.random() < rule.share:
                self.used[number] = self.used.get(number, 0) + 1
                return rule
        return None

    def _reset(self) -> None:
        """Break the connection off, so that the client sees it."""
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients break off."""


def serve(handler: type[Handler], port: int, service: str, rules: list[Rule], seed: int = 0) -> None:
    """Serve for ever."""
    host, _, service_port = service.rpartition("//")[2].partition(":")
    handler.service, handler.rules, handler.used = (host, int(service_port)), rules, {}
    handler.dice = random.Random(seed)
    _Server(("127.0.0.1", port), handler).serve_forever()


@contextlib.contextmanager
def started(service: str, *rules: Rule, module: str = "harness.http_proxy", seed: int = 0) -> Iterator[str]:
    """Start a proxy before a service; give its address."""
    port = free_port()
    told = json.dumps({"port": port, "service": service, "rules": [asdict(rule) for rule in rules], "seed": seed})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    proxy = subprocess.Popen([sys.executable, "-m", module, told], env=environment)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if proxy.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the proxy did not start")
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        proxy.kill()
        proxy.wait(30)


def told_to(handler: type[Handler]) -> None:
    """Serve as the command line says."""
    told = json.loads(sys.argv[1])
    serve(handler, told["port"], told["service"], [Rule(**rule) for rule in told["rules"]], told["seed"])


if __name__ == "__main__":
    told_to(Handler)
