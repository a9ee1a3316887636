"""A task's graph to look at, with what is complete, what is missing and why: as text, as a table, as a diagram.

Looking never changes anything. Private parameters are never shown.
"""

from __future__ import annotations

from airflow_kart.views.diagram import graphviz, mermaid
from airflow_kart.views.drawing import tree
from airflow_kart.views.listing import table

__all__ = ["graphviz", "mermaid", "table", "tree"]
