"""Where bytes live: one small protocol, and the stores that keep it."""

from __future__ import annotations

from airflow_kart.storage.base import (
    ANY,
    HIDDEN,
    LOCKS,
    UPLOADS,
    Expected,
    Found,
    Lookup,
    ObjectStat,
    Removable,
    Store,
    Upload,
)
from airflow_kart.storage.buckets.gcs import GCSStore
from airflow_kart.storage.buckets.s3 import S3Store
from airflow_kart.storage.buckets.store import AbandonedUpload, BucketStore
from airflow_kart.storage.local import LocalStore
from airflow_kart.storage.memory import MemoryStore, is_memory_uri
from airflow_kart.storage.object_path import ObjectPathStore
from airflow_kart.storage.resolve import join_uri, store_for
from airflow_kart.storage.snapshot import Snapshot

__all__ = [
    "ANY",
    "HIDDEN",
    "LOCKS",
    "UPLOADS",
    "AbandonedUpload",
    "BucketStore",
    "Expected",
    "Found",
    "GCSStore",
    "LocalStore",
    "Lookup",
    "MemoryStore",
    "ObjectPathStore",
    "ObjectStat",
    "Removable",
    "S3Store",
    "Snapshot",
    "Store",
    "Upload",
    "is_memory_uri",
    "join_uri",
    "store_for",
]
