"""What there is to do from a command line: one implementation, for ``airflow kart`` and for ``airflow-kart``."""
