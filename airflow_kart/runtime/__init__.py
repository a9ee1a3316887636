"""Deciding and running, without Airflow: the plan of a run, and the one way to run one task.

Lives here: everything that ``build()`` needs. May not: anything that knows a DAG, an operator or a command.
"""

from __future__ import annotations
