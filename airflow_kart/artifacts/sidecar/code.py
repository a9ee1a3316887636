"""The code that made an artifact: the fingerprints of the task's class and of all classes upstream, and where the code is from."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class MadeWith(NamedTuple):
    """The code in one sidecar. Equal ones are one object: thousands of artifacts are made with the same code."""

    fingerprint: str | None
    """Of the task's class; ``None`` where unknown."""
    upstream: tuple[tuple[str, tuple[str, ...]], ...]
    """By logical class name, of all that the artifact was made from; several where artifacts of several versions went in."""
    repository: str | None = None
    """The git repository of the class; ``None`` where unknown."""
    bundle: str | None = None
    """The DAG bundle; ``None`` outside Airflow."""

    @classmethod
    def of(cls, source: Mapping[str, Any], upstream: Mapping[str, Iterable[str]], airflow: Mapping[str, Any]) -> MadeWith:
        """Return the code in a sidecar's parts."""
        code = tuple((name, tuple(found)) for name, found in upstream.items())
        repository = (source.get("git") or {}).get("repository")
        return _made_with(source.get("fingerprint"), code, repository, airflow.get("bundle_name"))


@functools.lru_cache(maxsize=4096)
def _made_with(*parts: Any) -> MadeWith:
    return MadeWith(*parts)
