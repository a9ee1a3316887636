"""The DAG of ``dag_kart.py``, with the same task ids and edges, of plain operators."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

from airflow.sdk import DAG, BaseOperator

LAYERS, WIDTH = 10, int(sys.argv[2])


def make_dag(**dag_kwargs: Any) -> DAG:
    """Make the DAG; its operators are made after its params are known, as in any DAG file."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    with DAG("layers", schedule="@daily", start_date=start, **dag_kwargs) as dag:
        plan, root, report = (BaseOperator(task_id=task_id) for task_id in ("plan", "root", "report"))
        below = [BaseOperator(task_id=f"node__0_{place}") for place in range(WIDTH)]
        plan.set_downstream(below)
        for layer in range(1, LAYERS):
            nodes = [BaseOperator(task_id=f"node__{layer}_{place}") for place in range(WIDTH)]
            for place, node in enumerate(nodes):
                node.set_upstream([below[place], below[(place + 1) % WIDTH]])
            below = nodes
        root.set_upstream(below)
        report.set_upstream(root)
    return dag
