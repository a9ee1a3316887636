"""From a graph of tasks to an Airflow DAG."""

from __future__ import annotations
