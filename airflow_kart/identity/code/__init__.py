"""What a class's code is, in one digest: ``code_version = "auto"``."""

from __future__ import annotations

from airflow_kart.identity.code.closure import fingerprint, fingerprint_parts

__all__ = ["fingerprint", "fingerprint_parts"]
