"""The choice of locks for a workspace."""

from __future__ import annotations

import functools
import logging

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.locks.base import Locks
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LONGEST_LIFE, LeaseLocks
from airflow_kart.locks.none import NoLocks
from airflow_kart.storage import KeepsFiles, Store
from airflow_kart.storage.workspace import Workspace

LOCK_KINDS = ("auto", "file", "lease", "redis", "none")
_ONE_SCHEME = {"s3a": "s3", "gcs": "gs"}
_SHORTEST_LIFE = 5

log = logging.getLogger(__name__)


def locks_for(workspace: Workspace) -> Locks:
    """Return the locks of a workspace. Equal workspaces share locks that have open connections.

    A task's lock has the unique id of the task as its name.

    Raises:
        ConfigurationError: ``lock`` names no kind of locks, or one that the workspace cannot have.
    """
    asked = (workspace.lock or settings.kart_option("lock")).strip().lower()
    if asked not in LOCK_KINDS:
        raise ConfigurationError(f"lock is {asked!r}; set it to {', '.join(LOCK_KINDS[:-1])} or {LOCK_KINDS[-1]}")
    conn_id = (workspace.redis_conn_id or settings.kart_option("redis_conn_id")).strip()
    stays = settings.kart_int("lock_time_to_live", least=_SHORTEST_LIFE)
    if stays > LONGEST_LIFE:
        raise ConfigurationError(f"[kart] lock_time_to_live is {stays} s; set it to {LONGEST_LIFE} s or less")
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
                f"{'lease, redis or none' if store.conditional else 'redis or none'}",
                uri=workspace.directory,
            )
        return FileLocks(store.path(workspace.directory))
    if kind == "lease":
        if not store.conditional:
            raise ConfigurationError(
                f"lock is 'lease', and the file system of {workspace.directory} has no conditional writes; set it to redis or none",
                uri=workspace.directory,
            )
        return LeaseLocks(store, workspace.directory, stays)
    if asked == "auto" and not store.conditional:
        _warn_of_none(workspace.directory)
    return NoLocks()


def _chosen(store: Store, conn_id: str) -> str:
    """Return the kind of locks that ``auto`` means for a store."""
    if not store.shared:
        return "none"
    if conn_id:
        return "redis"
    if isinstance(store, KeepsFiles):
        return "file"
    return "lease" if store.conditional else "none"


def _one_spelling(directory: str, store: Store) -> str:
    """Return the one spelling of a workspace's directory for the names of keys."""
    if isinstance(store, KeepsFiles):
        return store.path(directory)
    scheme, _, rest = directory.partition("://")
    bucket, slash, path = rest.partition("/")
    scheme = scheme.lower()
    return f"{_ONE_SCHEME.get(scheme, scheme)}://{bucket.rpartition('@')[2]}{slash}{path}".rstrip("/")


@functools.lru_cache(maxsize=128)
def _redis_locks(conn_id: str, prefix: str, time_to_live: float) -> Locks:
    from airflow_kart.locks.redis import RedisLocks

    return RedisLocks(conn_id, prefix, time_to_live)


@functools.lru_cache(maxsize=128)
def _warn_of_none(directory: str) -> None:
    """Log once per workspace that its runs take no locks."""
    log.warning(
        "%s has no locks, as its file system has no conditional writes: two runs may do the same work at once; set [kart] "
        "redis_conn_id to keep locks in Redis, or [kart] lock to none to accept this",
        directory,
    )
