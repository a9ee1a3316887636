"""The few words that an object in a bucket carries about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

__all__ = ["UPLOAD_KEY", "fitted"]

UPLOAD_KEY = "kart-upload"
"""Under this name an object carries the token of the upload that made it, by which a writer knows its own again."""

_NOT_IN_A_KEY = re.compile(r"[^a-z0-9-]+")
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def fitted(metadata: Mapping[str, str], token: str, limit: int) -> dict[str, str]:
    """Return metadata in the form that services take, cut to a limit: it is a convenience, never a reason to fail.

    Names are in lower case, with hyphens. What is not printable ASCII in a value is percent-encoded, and so are percent
    signs. What does not fit is cut, from the end.

    Args:
        metadata: names and texts.
        token: the token of the upload, which always fits.
        limit: how many bytes names and values may have together.
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
    """Return the beginning of a percent-encoded text, never with half an escape at its end."""
    if len(value) <= length:
        return value
    return re.sub(r"%[0-9A-F]?$", "", value[:length]).rstrip()
