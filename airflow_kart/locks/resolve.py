"""Which locks a workspace has."""

from __future__ import annotations

import functools
import logging

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.locks.base import Locks
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.locks.none import NoLocks
from airflow_kart.locks.redis import RedisLocks
from airflow_kart.storage import KeepsFiles, Store
from airflow_kart.storage.workspace import Workspace

__all__ = ["locks_for"]

_WORDS = ("auto", "file", "lease", "redis", "none")
_ONE_SCHEME = {"s3a": "s3", "gcs": "gs"}
_SHORTEST_LIFE = 5

log = logging.getLogger(__name__)


def locks_for(workspace: Workspace) -> Locks:
    """Return what keeps the locks of a workspace. What has open connections is one and the same for equal workspaces.

    The lock of an artifact has the unique id of its task for a name.

    Raises:
        ConfigurationError: the locks that are asked for do not exist, or not for such a workspace.
    """
    asked = (workspace.lock or settings.kart_option("lock")).strip().lower()
    if asked not in _WORDS:
        raise ConfigurationError(f"lock is {asked!r}; set it to {', '.join(_WORDS[:-1])} or {_WORDS[-1]}")
    conn_id = (workspace.redis_conn_id or settings.kart_option("redis_conn_id")).strip()
    stays = settings.kart_int("lock_time_to_live", least=_SHORTEST_LIFE)
    store = workspace.store
    kind = _chosen(store, conn_id) if asked == "auto" else asked
    if kind == "redis":
        if not conn_id:
            raise ConfigurationError(
                "lock is 'redis', and redis_conn_id is not set; set it to the id of an Airflow connection, in the DAG or in "
                "section [kart]"
            )
        return _redis_locks(conn_id, f"kart:{_one_spelling(workspace.directory, store)}:", stays)
    if kind == "file":
        if not isinstance(store, KeepsFiles):
            raise ConfigurationError(
                f"lock is 'file', and {workspace.directory} is no directory; set it to "
                f"{'lease, redis or none' if store.conditional else 'redis or none'}"
            )
        return FileLocks(store.path(workspace.directory))
    if kind == "lease":
        if not store.conditional:
            raise ConfigurationError(
                f"lock is 'lease', and the file system of {workspace.directory} has no conditional writes; set it to redis or none"
            )
        return LeaseLocks(store, workspace.directory, stays)
    if asked == "auto" and not store.conditional:
        _warn_of_none(workspace.directory)
    return NoLocks()


def _chosen(store: Store, conn_id: str) -> str:
    """Return the kind of locks that ``auto`` stands for."""
    if not store.shared:
        return "none"
    if conn_id:
        return "redis"
    if isinstance(store, KeepsFiles):
        return "file"
    return "lease" if store.conditional else "none"


def _one_spelling(directory: str, store: Store) -> str:
    """Return a workspace's directory as it is written in names of keys: whichever way it is written elsewhere."""
    if isinstance(store, KeepsFiles):
        return store.path(directory)
    scheme, _, rest = directory.partition("://")
    bucket, slash, path = rest.partition("/")
    scheme = scheme.lower()
    return f"{_ONE_SCHEME.get(scheme, scheme)}://{bucket.rpartition('@')[2]}{slash}{path}".rstrip("/")


@functools.lru_cache(maxsize=128)
def _redis_locks(conn_id: str, prefix: str, time_to_live: float) -> RedisLocks:
    return RedisLocks(conn_id, prefix, time_to_live)


@functools.lru_cache(maxsize=128)
def _warn_of_none(directory: str) -> None:
    """Say once that there are no locks."""
    log.warning(
        "%s has no locks, as its file system has no conditional writes: two runs may do the same work at once; set [kart] "
        "redis_conn_id to have locks in Redis, or [kart] lock to none to leave it at that",
        directory,
    )
