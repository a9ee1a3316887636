"""Commands of the shell, with one implementation for ``airflow kart`` and ``airflow-kart``.

Arguments and printing live here. The answers come from the districts below: no command computes its own.
"""
