"""The kart page: what the audit answers, shown inside Airflow."""
