"""One digest of a class's code: ``code_version = "auto"``."""

from __future__ import annotations

from airflow_kart.identity.code.closure import AUTO, changed_parts, code_version_of, fingerprint, fingerprint_parts

__all__ = ["AUTO", "changed_parts", "code_version_of", "fingerprint", "fingerprint_parts"]
