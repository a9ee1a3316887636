"""What all locks promise, kept by a real Redis, plain and with password and TLS; and what only Redis does, with a password."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.lock_conformance import NAME, EveryLockThatExpires, seconds_of_a_lock, taken
from harness.lock_process import LockPlace, preload
from harness.lock_tcp_proxy import TcpProxy, tcp_proxy
from harness.redis_server import RedisServer, certificates

from airflow_kart.exceptions import ConfigurationError, LockError, LockLostError
from airflow_kart.locks import Hold, Holder, Taken
from airflow_kart.locks.redis import RedisLocks

TIME_TO_LIVE = 0.6
PASSWORD = "not-a-secret @:/%"

preload(
    "airflow.providers.common.compat.sdk",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.google.cloud.hooks.gcs",
)


@pytest.fixture(scope="module", params=["plain", "tls"])
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("redis")
    options: dict[str, Any] = {}
    if request.param == "tls":
        options = {"password": PASSWORD, "tls": certificates(directory / "certificates")}
    with RedisServer(directory, **options) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, password=PASSWORD) as server:
        yield server


def connected(monkeypatch: pytest.MonkeyPatch, value: str) -> tuple[str, str]:
    """Make a connection; return its id and the variable that has it."""
    conn_id = f"redis_{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)
    return conn_id, f"AIRFLOW_CONN_{conn_id.upper()}"


class TestRedisLocks(EveryLockThatExpires):
    @pytest.fixture
    def place(self, any_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> LockPlace:
        value = any_server.connection()
        conn_id, variable = connected(monkeypatch, value)
        arguments = (conn_id, f"kart:{conn_id}:", TIME_TO_LIVE)
        return LockPlace(RedisLocks, arguments, TIME_TO_LIVE, environment={variable: value})


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[TcpProxy]:
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def locks(server: RedisServer, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> RedisLocks:
    return RedisLocks(connected(monkeypatch, server.connection(proxy.port))[0], "kart:ws:", 60)


def test_a_lock_that_a_restarted_server_has_lost_is_taken_again(server: RedisServer, locks: RedisLocks) -> None:
    lease = taken(locks)
    server.stop()
    server.start()
    assert locks.look(NAME) is None
    lease.renew()
    assert isinstance(locks.acquire(NAME, Holder("Other")), Taken)
    lease.release()
    assert locks.look(NAME) is None


def test_a_lock_that_another_took_after_a_restart_is_lost(server: RedisServer, locks: RedisLocks) -> None:
    lease = taken(locks)
    server.stop()
    server.start()
    other = taken(locks, task="Other")
    with pytest.raises(LockLostError, match="is held by Other on "):
        lease.renew()
    lease.release()
    other.renew()


def test_a_restart_while_work_is_done_is_survived(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = RedisLocks(connected(monkeypatch, server.connection())[0], "kart:ws:", 4)
    with Hold(taken(locks)) as hold:
        server.stop()
        time.sleep(1.2)
        server.start()
        time.sleep(1.2)
        hold.check()
        assert isinstance(locks.acquire(NAME, Holder("Other")), Taken)
    assert locks.look(NAME) is None


@pytest.mark.parametrize(("word", "action"), [(b"NX", "acquire"), (b"EVALSHA", "renew"), (b"EVALSHA", "release")])
def test_a_lost_answer_is_no_loss(locks: RedisLocks, proxy: TcpProxy, word: bytes, action: str) -> None:
    taken(locks, "warm").release()  # whose scripts the server knows now
    if action == "acquire":
        proxy.lose_answer_to(word)
    lease = taken(locks)
    if action == "renew":
        proxy.lose_answer_to(word)
    lease.renew()
    if action == "release":
        proxy.lose_answer_to(word)
    lease.release()
    assert proxy.lost == 1
    assert locks.look(NAME) is None


def test_a_server_that_is_away_is_named_without_the_password(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    conn_id, _ = connected(monkeypatch, server.connection())
    locks = RedisLocks(conn_id, "kart:ws:", 4)
    server.stop()
    began = time.monotonic()
    with pytest.raises(LockError) as caught:
        locks.look(NAME)
    assert time.monotonic() - began < 10
    assert f"Redis at localhost:{server.port}, connection {conn_id}" in str(caught.value)
    assert "could not look up the lock kart:ws:" in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong-one"}, "correct login and password of the connection"),
        ({"login": "nobody"}, "correct login and password of the connection"),
        (
            {"extra": {"ssl": True, "ssl_cert_reqs": "none"}},
            "check that the server runs, and that the connection names the right one",
        ),
        ({"extra": {"db": 99}}, "DB index is out of range"),
    ],
)
def test_a_wrong_connection_is_named(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    conn_id, _ = connected(monkeypatch, server.connection(**changes))
    with pytest.raises(LockError, match=words) as caught:
        RedisLocks(conn_id, "kart:ws:", 4).acquire(NAME, Holder("Train"))
    for password in (PASSWORD, "wrong-one"):
        assert password not in str(caught.value)


def test_a_database_counts(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (
        RedisLocks(connected(monkeypatch, server.connection(extra={"db": number}))[0], "kart:ws:", 4) for number in ("0", 1)
    )
    taken(first)
    taken(second)


def test_a_connection_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no connection 'redis_nowhere'.*AIRFLOW_CONN_REDIS_NOWHERE"):
        RedisLocks("redis_nowhere", "kart:ws:", 4).look(NAME)


def test_a_database_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    conn_id, _ = connected(monkeypatch, '{"conn_type": "redis", "extra": {"db": "one"}}')
    with pytest.raises(ConfigurationError, match="has db 'one' in its extra; set db to the number of a database"):
        RedisLocks(conn_id, "kart:ws:", 4).look(NAME)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'airflow-kart\[redis\]'"):
        RedisLocks("redis_default", "kart:ws:", 4).look(NAME)


def test_taking_and_letting_go_takes_less_than_3_ms(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = RedisLocks(connected(monkeypatch, server.connection())[0], "kart:ws:", 60)
    assert seconds_of_a_lock(locks, 10) < 0.003
