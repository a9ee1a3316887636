"""The pages in Airflow's UI: what a run reused and made, why, from what, and a look inside.

The pages show what the audit and Airflow's database answer, and compute no answer of their own. No page imports a DAG file or
runs a task's code. Everything that a page shows of an artifact may be hostile: templates escape all values.
"""
