"""The choice of a store for a uri."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Callable
from urllib.parse import quote

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError, TargetPathError
from airflow_kart.storage.base import HIDDEN, Store
from airflow_kart.storage.local import LocalStore, is_file_uri
from airflow_kart.storage.memory import MemoryStore
from airflow_kart.storage.object_path import ObjectPathStore, is_known_scheme

StoreFactory = Callable[[], Store]
"""A class, or a function without arguments, that makes the store of a scheme."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")  # control characters, line ends, lone surrogates
_BUILT_IN = frozenset({"file", "gcs", "gs", "memory", "s3", "s3a"})
_REGISTERED: dict[str, StoreFactory] = {}


def register_store(scheme: str, factory: StoreFactory, *, replace: bool = False) -> None:
    """Let a store keep the uris of a scheme, in this process.

    Args:
        scheme: the part of the uris before ``://``.
        factory: makes the :class:`Store`, at first use.
        replace: whether a registered scheme may get another store.

    Raises:
        ConfigurationError: the scheme is malformed, belongs to a store of this package, or has a store already.
    """
    key = scheme.lower()
    if not _SCHEME.fullmatch(f"{scheme}://") or key in _BUILT_IN:
        raise ConfigurationError(f"{scheme!r} cannot have a store of its own; take another scheme, such as 'webdav'")
    if key in _REGISTERED and not replace:
        raise ConfigurationError(f"{scheme} has a store already; pass replace=True to give it another")
    _REGISTERED[key] = factory


def store_for(uri: str, *, aws_conn_id: str | None = None, gcp_conn_id: str | None = None) -> Store:
    """Return the store that keeps a uri. A process has one store for each scheme and connection.

    Args:
        uri: a path, or a uri. The part before an ``@``, as in ``s3://conn@bucket/prefix``, is a connection's id too.
        aws_conn_id: id of the Airflow connection for S3; by default as ``[kart] aws_conn_id`` says.
        gcp_conn_id: id of the Airflow connection for Google Cloud Storage; by default as ``[kart] gcp_conn_id`` says.

    Raises:
        ConfigurationError: no store keeps uris of that scheme, or the uri has control characters.
    """
    require_printable(uri, "the uri")
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else "file"
    in_uri = uri.partition("://")[2].partition("/")[0].rpartition("@")[0]
    if scheme in ("s3", "s3a"):
        from airflow_kart.storage.buckets.s3 import S3Store

        return _one(S3Store, in_uri or aws_conn_id or settings.kart_option("aws_conn_id"))
    if scheme in ("gs", "gcs"):
        from airflow_kart.storage.buckets.gcs import GCSStore

        return _one(GCSStore, in_uri or gcp_conn_id or settings.kart_option("gcp_conn_id"))
    if scheme == "memory":
        memory = _one(MemoryStore)
        memory.check_writable(uri)  # a uri without a name is better refused here than by the first artifact
        return memory
    if scheme == "file":
        return _one(LocalStore)
    if scheme in _REGISTERED:
        return _one(_REGISTERED[scheme])
    if not is_known_scheme(scheme):
        raise ConfigurationError(
            f"no store keeps {scheme}:// uris ({uri}); give a path, an s3:// or gs:// uri, or one of a file system that "
            "Airflow knows as workspace_directory, or add a store with airflow_kart.storage.register_store",
            uri=uri,
        )
    return _one(ObjectPathStore)


@functools.lru_cache(maxsize=128)
def _one(make: Callable[..., Store], *arguments: str) -> Store:
    """Return the one store of a class or function, and of a connection."""
    return make(*arguments)


def join_uri(directory: str, relative_path: str) -> str:
    """Return the uri of a path below a directory.

    Raises:
        TargetPathError: the path is absolute, empty, a uri, leaves the directory, lies in a hidden folder, or has
            characters that no name should have.
    """
    path = relative_path.replace(os.sep, "/")
    normal = posixpath.normpath(path)
    parts = normal.split("/")
    if not path or path.endswith("/") or posixpath.isabs(path) or parts[0] in ("..", ".") or "\0" in path:
        raise TargetPathError(
            f"{relative_path!r} is not a file below the workspace; give make_target a relative path such as 'models/train.pkl'"
        )
    if _SCHEME.match(path) or settings.ONE_SLASH.match(path):
        raise TargetPathError(
            f"{relative_path!r} is a uri, and a task's targets lie below its workspace; give make_target a relative path such "
            "as 'models/train.pkl', or make the task an ExternalTask if others write this artifact"
        )
    if set(HIDDEN).intersection(parts):
        raise TargetPathError(
            f"{relative_path!r} is in a hidden folder of the workspace ({', '.join(HIDDEN)}); give make_target another path"
        )
    if _UNFIT.search(path):
        raise TargetPathError(
            f"{relative_path!r} has control characters or half characters in its name; give make_target printable ones"
        )
    if is_file_uri(directory):
        normal = quote(normal)  # a percent sign in a name is not an escape
    return f"{directory.rstrip('/')}/{normal}"


def require_printable(uri: str, what: str) -> None:
    """Refuse control characters and lone surrogates: no sidecar and no log can show such a uri.

    Raises:
        ConfigurationError: the uri has such characters.
    """
    if _UNFIT.search(uri):
        raise ConfigurationError(
            f"{what} {uri!r} has control characters or half characters in its name; choose printable ones", uri=uri
        )
