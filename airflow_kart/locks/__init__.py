"""Locks: one run at a time makes an artifact, on whatever host.

Locks live here: in files, in objects of stores, in Redis. Locks know no task and no artifact, only a name and a holder.
"""

from __future__ import annotations

from airflow_kart.locks.base import Holder, Lease, Locks, Taken
from airflow_kart.locks.hold import Hold
from airflow_kart.locks.lease import remove_forgotten
from airflow_kart.locks.resolve import LOCK_KINDS, locks_for
from airflow_kart.locks.watch import LockWatch

__all__ = ["LOCK_KINDS", "Hold", "Holder", "Lease", "LockWatch", "Locks", "Taken", "locks_for", "remove_forgotten"]
