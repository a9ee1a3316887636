"""A DAG file: the DAG of ``dag_kart.py`` of plain operators, without any params."""

from __future__ import annotations

from plain_layers import make_dag

dag = make_dag()
