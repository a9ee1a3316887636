"""How a private value appears in a sidecar: as a digest that only the holder of a key can compare."""

from __future__ import annotations

import hashlib
import hmac

from airflow_kart import settings


def private_digest(text: str) -> str | None:
    """Return the HMAC-SHA256 (RFC 2104) of a text under ``[kart] private_digest_key``, or ``None`` without a key."""
    key = settings.kart_option("private_digest_key")
    return hmac.new(key.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest() if key else None
