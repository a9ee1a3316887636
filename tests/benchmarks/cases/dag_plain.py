"""A DAG file: the DAG of ``dag_kart.py`` of plain operators, with its params."""

from __future__ import annotations

from airflow.sdk import Param
from plain_layers import make_dag

dag = make_dag(
    params={
        "depth": Param(6, type="integer", description="Depth of the trees"),
        "label": Param("daily", type="string", description="Name of the run"),
        "kart_rerun": Param([], type="array", items={"type": "string"}, description="What to run again"),
    }
)
