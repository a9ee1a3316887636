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

__all__ = [
    "SIDECAR_SUFFIX",
    "ArtifactRecord",
    "MadeWith",
    "Publications",
    "Sidecar",
    "read_sidecar",
    "sidecar_uri",
    "upstream_code",
    "write_sidecar",
]
