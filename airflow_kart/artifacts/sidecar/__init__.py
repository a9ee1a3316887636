"""The JSON document beside every artifact: the record of the artifact and of the run that made the artifact."""

from __future__ import annotations

from airflow_kart.artifacts.sidecar.code import MadeWith
from airflow_kart.artifacts.sidecar.document import (
    SIDECAR_SUFFIX,
    ArtifactRecord,
    Publications,
    Sidecar,
    read_sidecar,
    sidecar_uri,
    upstream_code,
    write_sidecar,
)
from airflow_kart.artifacts.sidecar.environment import environment
from airflow_kart.artifacts.sidecar.source import source_of

__all__ = [
    "SIDECAR_SUFFIX",
    "ArtifactRecord",
    "MadeWith",
    "Publications",
    "Sidecar",
    "environment",
    "read_sidecar",
    "sidecar_uri",
    "source_of",
    "upstream_code",
    "write_sidecar",
]
