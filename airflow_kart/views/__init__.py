"""Views of a task's graph, with the state of each task and the reason: as text, as a table, as a diagram.

Views change nothing, and never show private parameters.
"""

from __future__ import annotations

from airflow_kart.views.diagram import graphviz, mermaid
from airflow_kart.views.drawing import tree
from airflow_kart.views.listing import table

__all__ = ["graphviz", "mermaid", "table", "tree"]
