"""Airflow operators: one task, the plan before them, the report after them."""

from __future__ import annotations
