"""Checks of the tables that a task dumps to a target or loads from one."""

from __future__ import annotations

from airflow_kart.artifacts.checks.checks import Checks
from airflow_kart.artifacts.checks.schema import Schema, require_schema, schema_in

__all__ = ["Checks", "Schema", "require_schema", "schema_in"]
