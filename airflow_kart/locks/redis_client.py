"""The client of a Redis server that an Airflow connection names, and the meaning of its errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_kart.connections import require_connection
from airflow_kart.exceptions import ConfigurationError, LockError

_LONGEST_ANSWER = 5.0
_SHORTEST_ANSWER = 1.0
_RETRIES = 2
_TLS_EXTRAS = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_keyfile", "ssl_certfile", "ssl_check_hostname")
_FALSE = ("", "false", "no", "0", "off", "none")


@dataclass(frozen=True, eq=False)
class RedisClient:
    """A client and its connection, as messages name the two."""

    redis: Any
    """A ``redis.Redis``. Threads may share it."""
    who: str
    """For messages: host, port and connection."""
    password: str | None

    @contextlib.contextmanager
    def refusals(self, action: str, key: str) -> Iterator[None]:
        """Raise a LockError for each failure of the server, or of the network, inside the block."""
        import redis.exceptions as redis_errors

        try:
            yield
        except (redis_errors.RedisError, OSError) as error:
            text = f"{type(error).__name__}: {error}"
            told = bool(self.password) and str(self.password) in text
            if isinstance(error, redis_errors.AuthenticationError):
                advice = "correct login and password of the connection"
            elif isinstance(error, redis_errors.NoPermissionError):
                advice = "give the user the commands GET, SET, PEXPIRE, DEL, EVALSHA and SCRIPT LOAD on the keys kart:*"
            elif isinstance(error, (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)):
                advice = "check that the server runs, and that the connection names the right one"
            else:
                advice = "read the log of the server"
            words = text.replace(str(self.password), "***") if told else text
            # The cause would be logged too.
            raise LockError(f"could not {action} the lock {key}: {words} ({self.who}); {advice}") from (
                None if told else error
            )


def new_client(conn_id: str, time_to_live: float) -> RedisClient:
    """Return a new client.

    Args:
        conn_id: the id of the connection.
        time_to_live: of the locks, in seconds; the client waits for an answer for a quarter of that at most.

    Raises:
        ConfigurationError: the connection or the package redis is missing, or the connection is wrong.
    """
    try:
        import redis
        import redis.exceptions as redis_errors
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise ConfigurationError(f"locks in Redis need its client ({error}): pip install 'airflow-kart[redis]'") from error
    connection = require_connection(conn_id, "redis_conn_id where it is set (in the DAG or section [kart])")
    host, port, extra = connection.host or "localhost", int(connection.port or 6379), connection.extra_dejson
    seconds = max(_SHORTEST_ANSWER, min(_LONGEST_ANSWER, time_to_live / 4))
    client = redis.Redis(
        host=host,
        port=port,
        db=_database(extra, conn_id),
        username=connection.login or None,
        password=connection.password or None,
        protocol=2,  # which all servers speak
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), _RETRIES),
        retry_on_error=[redis_errors.ConnectionError, redis_errors.TimeoutError],
        **_tls(extra),
    )
    return RedisClient(client, f"Redis at {host}:{port}, connection {conn_id}", connection.password or None)


def _database(extra: Any, conn_id: str) -> int:
    found = str(extra.get("db") or 0)
    if not found.isdecimal():
        raise ConfigurationError(
            f"the connection {conn_id!r} has db {found!r} in its extra; set db to the number of a database"
        )
    return int(found)


def _tls(extra: Any) -> dict[str, Any]:
    """Return the TLS options in the extra of a connection, by the names that Airflow's Redis provider knows."""
    if not _is_true(extra.get("ssl")):
        return {}
    given = {name: extra[name] for name in _TLS_EXTRAS if extra.get(name) not in (None, "")}
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = _is_true(given["ssl_check_hostname"])
    return {"ssl": True, **given}


def _is_true(value: Any) -> bool:
    return str(value or "").strip().lower() not in _FALSE
