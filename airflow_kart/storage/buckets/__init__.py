"""Stores in buckets: S3 and Google Cloud Storage, through Airflow's hooks.

Conditional requests, parts, ranges and retries live here. No other module knows a client of a service.
"""

from __future__ import annotations
