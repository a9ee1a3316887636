"""Airflow operators: one for each task, the plan before them, the report after them.

The meeting of a DAG run with the runner lives here: values, coordinates, deferral, skips. Deciding and running stay in
``runtime``, compiling in ``compiler``.
"""

from __future__ import annotations
