"""Ports and services on this machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request

__all__ = ["free_port", "wait_for_answer"]


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_answer(url: str, server: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until a service that was started answers a request."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"nobody answered at {url} (exit code {server.returncode})")
        time.sleep(0.05)
