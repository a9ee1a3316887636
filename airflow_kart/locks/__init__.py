"""Who may produce an artifact: one at a time, wherever they run."""

from __future__ import annotations

from airflow_kart.locks.base import Holder, Lease, Locks, Taken
from airflow_kart.locks.hold import Hold
from airflow_kart.locks.resolve import locks_for
from airflow_kart.locks.watch import LockWatch

__all__ = ["Hold", "Holder", "Lease", "LockWatch", "Locks", "Taken", "locks_for"]
