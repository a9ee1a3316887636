"""Airflow triggers: what deferred operators wait for."""

from __future__ import annotations
