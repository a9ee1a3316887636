"""Who may produce an artifact: one at a time, wherever they run."""

from __future__ import annotations

from airflow_kart.locks.base import Holder, Lease, Locks, Taken
from airflow_kart.locks.file import FileLocks
from airflow_kart.locks.lease import LeaseLocks
from airflow_kart.locks.none import NoLocks
from airflow_kart.locks.watch import Watch

__all__ = ["FileLocks", "Holder", "Lease", "LeaseLocks", "Locks", "NoLocks", "Taken", "Watch"]
