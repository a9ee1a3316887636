"""Who may produce an artifact: one at a time, wherever they run."""

from __future__ import annotations

from airflow_kart.locks.base import Holder, Lease, Locks, Taken

__all__ = ["Holder", "Lease", "Locks", "Taken"]
