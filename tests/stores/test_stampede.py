"""Sixteen processes want the same two hundred tasks, while some are killed, some are stopped, and services fail.

In buckets there are fewer of both, since a server on loopback shares the processors with all who ask.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import gcs_server, s3_server
from harness.bucket_kind import Kind
from harness.http_proxy import Rule, started
from harness.redis_server import RedisServer
from harness.stampede import Plan, stampede

STORM = (
    Rule("answer", share=0.02, status=503),
    Rule("reset_before", share=0.02),
    Rule("reset_after", share=0.02),
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


def check(name: str, counts: dict[str, Any], capsys: pytest.CaptureFixture[str], tasks: int = 100, kills: int = 10) -> None:
    losers = counts.get("adopted", 0) + counts.get("LockLostError", 0)
    told = {"runs": counts["run"], "takeovers": counts.get("took over", 0), "fenced losers": losers}
    with capsys.disabled():
        print(f"\nstampede, {name}: {json.dumps({**told, **counts})}")
    assert counts["there"] == tasks
    assert counts["missing"] == 0
    assert counts["published twice"] == []
    assert counts["kills"] == kills
    assert counts["stops"] == 4


@pytest.mark.parametrize("lock", ["file", "lease"])
def test_in_a_directory(lock: str, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = stampede(Plan(str(tmp_path / "ws"), str(log)), AIRFLOW__KART__LOCK=lock)
    check(f"{lock} locks in a directory", counts, capsys)
    if lock == "file":
        assert counts["locks left"] == 0
    else:
        assert counts["locks left"] <= counts["kills"]  # of processes killed after they published; nobody asks for these
        assert counts.get("took over", 0) > 0


def test_with_redis_that_forgets(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = RedisServer(tmp_path)
    ended = threading.Event()
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        while not ended.wait(4):
            server.stop()
            ended.wait(0.5)
            server.start()
            restarts += 1

    with server:
        thread = threading.Thread(target=restart)
        thread.start()
        try:
            counts = stampede(
                Plan(str(tmp_path / "ws"), str(log)),
                AIRFLOW__KART__REDIS_CONN_ID="kart_redis",
                AIRFLOW_CONN_KART_REDIS=json.dumps({"conn_type": "redis", "host": "127.0.0.1", "port": server.port}),
            )
        finally:
            ended.set()
            thread.join(60)
    check(f"Redis, restarted {restarts} times", counts, capsys)
    assert restarts > 0


def test_in_a_bucket_in_a_storm(kind: Kind, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(kind.address, *STORM) as proxy:
        if kind.name == "s3":
            environment = {"AIRFLOW_CONN_AWS_DEFAULT": s3_server.s3_connection(proxy)}
        else:
            environment = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": gcs_server.gcs_connection(), "STORAGE_EMULATOR_HOST": proxy}
        plan = Plan(f"{kind.base}/ws", str(log), tasks=60, processes=8, kills=10, stopped_for=10.0)
        counts = stampede(plan, **environment)
    check(f"leases in {kind.name}", counts, capsys, tasks=60, kills=10)
    assert counts["locks left"] <= counts["kills"]  # as in a directory
