"""The code that made an artifact: the fingerprints of the task's class and of all classes upstream."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class MadeWith(NamedTuple):
    """The fingerprints in one sidecar. Equal ones are one object: thousands of artifacts are made with the same code."""

    fingerprint: str | None
    """Of the task's class; ``None`` where unknown."""
    upstream: tuple[tuple[str, tuple[str, ...]], ...]
    """By logical class name, of all that the artifact was made from; several where artifacts of several versions went in."""

    @classmethod
    def of(cls, source: Mapping[str, object], upstream: Mapping[str, Iterable[str]]) -> MadeWith:
        """Return the fingerprints of a sidecar's parts."""
        return _made_with(source.get("fingerprint"), tuple((name, tuple(found)) for name, found in upstream.items()))


@functools.lru_cache(maxsize=4096)
def _made_with(fingerprint: str | None, upstream: tuple[tuple[str, tuple[str, ...]], ...]) -> MadeWith:
    return MadeWith(fingerprint, upstream)
