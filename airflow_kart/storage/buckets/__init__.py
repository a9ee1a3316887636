"""Stores in buckets: S3 and Google Cloud Storage, through Airflow's hooks."""

from __future__ import annotations
