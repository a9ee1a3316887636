"""What surrounds a run: Python, platform, host and the versions of the packages it has imported."""

from __future__ import annotations

import functools
import os
import platform
import socket
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

__all__ = ["environment", "imported_distributions", "peak_memory_bytes"]


def environment() -> dict[str, Any]:
    """Return the part of a sidecar that describes the process."""
    return {**_process(os.getpid()), "packages": imported_distributions()}


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "pid": pid,
    }


def imported_distributions() -> dict[str, str]:
    """Return the versions of the installed distributions whose modules are imported, by name."""
    top_level = frozenset(name.partition(".")[0] for name in list(sys.modules))
    return _versions_of(top_level)


@functools.lru_cache(maxsize=64)
def _versions_of(top_level: frozenset[str]) -> dict[str, str]:
    found = {"airflow-kart": _version("airflow-kart")}  # whose modules, installed as editable, lead to no distribution
    for name in top_level - sys.stdlib_module_names:
        for distribution in _distributions_by_module().get(name, ()):
            if distribution not in found:
                found[distribution] = _version(distribution)
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=1)
def _distributions_by_module() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@functools.lru_cache(maxsize=1024)
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def peak_memory_bytes() -> int | None:
    """Return the most memory the process has held so far, in bytes, where the system tells."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
