"""Airflow triggers, which wait for deferred operators.

Airflow's database holds the addresses and arguments of these classes, so both keep their names. A trigger looks and
reports; the operator decides.
"""

from __future__ import annotations
