"""One digest of a class's code: ``code_version = "auto"``."""

from __future__ import annotations

from airflow_kart.identity.code.closure import fingerprint, fingerprint_parts

__all__ = ["fingerprint", "fingerprint_parts"]
