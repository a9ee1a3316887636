"""Stores: the bytes of objects, by uri, behind one small protocol.

Directories, buckets, memory and other file systems live here, and the workspace that chooses among them. Stores know no
format, no sidecar and no task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kart.idioms.late import late
from airflow_kart.storage.base import (
    ANY,
    CATALOGUE,
    HIDDEN,
    INDEX,
    LOCKS,
    PINS,
    RUNS,
    UPLOADS,
    CopiesFast,
    Expected,
    KeepsFiles,
    KeepsUploads,
    Lookup,
    ObjectContent,
    ObjectStat,
    Removable,
    Store,
    UnfinishedUpload,
    Upload,
    keeps_files,
)
from airflow_kart.storage.local import LocalStore
from airflow_kart.storage.memory import MemoryStore
from airflow_kart.storage.object_path import ObjectPathStore
from airflow_kart.storage.resolve import join_uri, register_store, store_for
from airflow_kart.storage.snapshot import Snapshot

if TYPE_CHECKING:
    from airflow_kart.storage.buckets.gcs import GCSStore
    from airflow_kart.storage.buckets.s3 import S3Store
    from airflow_kart.storage.buckets.store import BucketStore

__all__ = [
    "ANY",
    "CATALOGUE",
    "HIDDEN",
    "INDEX",
    "LOCKS",
    "PINS",
    "RUNS",
    "UPLOADS",
    "BucketStore",
    "CopiesFast",
    "Expected",
    "GCSStore",
    "KeepsFiles",
    "KeepsUploads",
    "LocalStore",
    "Lookup",
    "MemoryStore",
    "ObjectContent",
    "ObjectPathStore",
    "ObjectStat",
    "Removable",
    "S3Store",
    "Snapshot",
    "Store",
    "UnfinishedUpload",
    "Upload",
    "join_uri",
    "keeps_files",
    "register_store",
    "store_for",
]

# The module of each store in buckets, imported at first use: a fifth of the time that the package takes to import.
_HOMES = {"BucketStore": ".buckets.store", "GCSStore": ".buckets.gcs", "S3Store": ".buckets.s3"}

if not TYPE_CHECKING:
    __getattr__, __dir__ = late(__name__, _HOMES, __all__)
