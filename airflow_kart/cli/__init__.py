"""Commands of the shell, with one implementation for ``airflow kart`` and ``airflow-kart``."""
