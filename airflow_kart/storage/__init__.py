"""Where bytes live: one small protocol, and the stores that keep it."""

from __future__ import annotations

from airflow_kart.storage.base import ANY, Expected, Found, ObjectStat, Store, Upload
from airflow_kart.storage.local import LocalStore
from airflow_kart.storage.memory import MemoryStore, is_memory_uri
from airflow_kart.storage.resolve import join_uri, store_for

__all__ = [
    "ANY",
    "Expected",
    "Found",
    "LocalStore",
    "MemoryStore",
    "ObjectStat",
    "Store",
    "Upload",
    "is_memory_uri",
    "join_uri",
    "store_for",
]
