"""From a graph of tasks to an Airflow DAG, when the DAG file is parsed. Nothing here looks at artifacts or runs tasks."""

from __future__ import annotations
