"""Airflow triggers, which wait for deferred operators. Airflow's database holds their addresses and arguments."""

from __future__ import annotations
