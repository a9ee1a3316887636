"""What a target asks of the tables that are dumped to it and loaded from it."""

from __future__ import annotations

from airflow_kart.artifacts.checks.checks import Checks
from airflow_kart.artifacts.checks.schema import require_schema, schema_in

__all__ = ["Checks", "require_schema", "schema_in"]
