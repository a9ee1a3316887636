"""The metadata of an object in a bucket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

UPLOAD_KEY = "kart-upload"
"""The name under which an object carries the token of its upload; a writer recognises its own object by the token."""

_NOT_IN_A_KEY = re.compile(r"[^a-z0-9-]+")
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def fitted(metadata: Mapping[str, str], token: str, limit: int) -> dict[str, str]:
    """Return metadata as services accept them, cut to a limit: metadata are a convenience, never a reason to fail.

    Names become lower case, with hyphens. Values keep printable ASCII; other characters, and percent signs, become
    percent-encoded. The end is cut off where names and values exceed the limit.

    Args:
        metadata: names and texts.
        token: the token of the upload, which always fits.
        limit: bytes of all names and values together.
    """
    found = {UPLOAD_KEY: token}
    left = limit - len(UPLOAD_KEY) - len(token)
    for name, text in metadata.items():
        key = _NOT_IN_A_KEY.sub("-", name.lower()).strip("-")
        value = quote(text.encode("utf-8", "replace"), safe=_PRINTABLE).strip()
        if not key or key in found or left <= len(key):
            continue
        value = _cut(value, left - len(key))
        found[key] = value
        left -= len(key) + len(value)
    return found


def _cut(value: str, length: int) -> str:
    """Return the beginning of a percent-encoded text, without half an escape at its end."""
    if len(value) <= length:
        return value
    return re.sub(r"%[0-9A-F]?$", "", value[:length]).rstrip()
