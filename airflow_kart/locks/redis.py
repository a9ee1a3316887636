"""Locks in Redis, by redis-py's own recipe: a key that expires unless its holder renews the key."""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import TYPE_CHECKING

from airflow_kart.connections import PerProcess
from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks.base import Holder, Lease, Taken, checked_name
from airflow_kart.locks.redis_client import RedisClient, new_client

if TYPE_CHECKING:
    from redis.lock import Lock

log = logging.getLogger(__name__)


class RedisLocks:
    """Locks in a Redis server, which measures the time and frees the locks of dead holders.

    Args:
        conn_id: id of the Airflow connection.
        prefix: precedes the lock's name in the key.
        time_to_live: seconds without a renewal after which the server frees a lock.
    """

    kind = "redis"

    def __init__(self, conn_id: str, prefix: str, time_to_live: float) -> None:
        self.time_to_live = time_to_live
        self._prefix = prefix
        self._clients: PerProcess[RedisClient] = PerProcess(lambda: new_client(conn_id, time_to_live))

    def acquire(self, name: str, holder: Holder, dead: Taken | None = None) -> Lease | Taken:  # noqa: ARG002 - the protocol's
        """Acquire a free lock; the server itself frees the locks of dead holders."""
        from redis.lock import Lock

        key, client = self._prefix + checked_name(name), self._clients.get()
        words = holder.to_json(lease=uuid.uuid4().hex)
        lock = Lock(client.redis, key, timeout=self.time_to_live, blocking=False, thread_local=False)
        with client.refusals("take", key):
            while not lock.acquire(token=words):
                found = client.redis.get(key)
                if found == words.encode():
                    lock.local.token = found  # the answer to the request that took it was lost
                    break
                if found is not None:
                    return Taken(Holder.from_json(found))
        return _RedisLease(client, lock, holder, words, self.time_to_live)

    def look(self, name: str) -> Taken | None:
        """Return the holder of a lock."""
        key, client = self._prefix + checked_name(name), self._clients.get()
        with client.refusals("look up", key):
            found = client.redis.get(key)
        return None if found is None else Taken(Holder.from_json(found))


class _RedisLease:
    """A key whose value describes this holder."""

    def __init__(self, client: RedisClient, lock: Lock, holder: Holder, words: str, time_to_live: float) -> None:
        self.holder = holder
        self.time_to_live = time_to_live
        self._client = client
        self._lock = lock
        self._words = words

    def renew(self) -> None:
        """Extend the life of the key; set the key again where a restarted server has forgotten it."""
        from redis.exceptions import LockNotOwnedError

        key = str(self._lock.name)
        with self._client.refusals("renew", key):
            for _ in range(2):
                with contextlib.suppress(LockNotOwnedError):
                    self._lock.reacquire()
                    return
                if self._lock.acquire(token=self._words):
                    log.warning("the lock %s was gone from Redis; this run has acquired it again", key)
                    return
                found = self._client.redis.get(key)
                if found is not None and found != self._words.encode():
                    raise LockLostError(
                        f"the lock {key} is held by {Holder.from_json(found) or 'another run'} now", task=self.holder.task
                    )
        raise LockError(f"could not renew the lock {key}: it changed at every try; try again", task=self.holder.task)

    def release(self) -> None:
        """Remove the key, unless another holder has set it meanwhile."""
        from redis.exceptions import LockError as NotOwnedError

        with self._client.refusals("release", str(self._lock.name)), contextlib.suppress(NotOwnedError):
            self._lock.release()
