"""From a graph of tasks to an Airflow DAG.

Everything that happens when Airflow parses a DAG file lives here. Nothing here looks at artifacts or runs tasks.
"""

from __future__ import annotations
