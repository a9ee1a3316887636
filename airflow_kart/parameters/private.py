"""Private values in unique ids: as digests that only the holders of a key can compute."""

from __future__ import annotations

import hashlib
import hmac

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.encoding import tagged

_DOMAIN = b"airflow-kart/private/1"


def keyed(encoded: bytes, task: str, parameter: str) -> bytes:
    """Return the encoding of a private value in a unique id: an HMAC-SHA256 (RFC 2104) under ``[kart] private_digest_key``.

    Unique ids stand in file names. Without a key everybody who sees the names could try out all values of a PIN.

    Args:
        encoded: the canonical encoding of the value.
        task: the name of the task's class, for the error.
        parameter: the parameter's name, for the error.

    Raises:
        ConfigurationError: no key is configured.
    """
    key = settings.kart_option("private_digest_key")
    if not key:
        raise ConfigurationError(
            f"{task}.{parameter} is private and counts in the unique id, which file names show: whoever sees the names could "
            "guess the value. Set a key, [kart] private_digest_key in airflow.cfg or the environment variable "
            f"AIRFLOW__KART__PRIVATE_DIGEST_KEY, the same for all processes; or declare {parameter} with significant=False",
            task=task,
            parameter=parameter,
        )
    return tagged(b"P", hmac.digest(key.encode(), tagged(b"D", _DOMAIN) + encoded, hashlib.sha256))
