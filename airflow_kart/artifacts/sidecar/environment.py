"""The environment of a run: Python, platform, host and the versions of all imported packages."""

from __future__ import annotations

import functools
import os
import platform
import re
import socket
import sys
from importlib import metadata

__all__ = ["environment", "imported_distributions", "peak_memory_bytes"]


def environment() -> dict[str, object]:
    """Return the part of a sidecar that describes the process; the same object as long as nothing has changed."""
    return _environment(os.getpid(), len(sys.modules))


@functools.lru_cache(maxsize=1)
def _environment(pid: int, _modules: int) -> dict[str, object]:
    return {**_process(pid), "packages": imported_distributions()}


@functools.lru_cache(maxsize=1)
def _process(pid: int) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": _platform(),
        "host": socket.gethostname(),
        "pid": pid,
    }


def _platform() -> str:
    """Return ``platform.platform()``, on Linux without its subprocess: that waits for children another thread forks meanwhile."""
    if sys.platform != "linux":
        return platform.platform()
    library = "".join(platform.libc_ver())
    return f"Linux-{platform.release()}-{platform.machine()}{f'-with-{library}' if library else ''}"


def imported_distributions() -> dict[str, str]:
    """Return the versions of the installed distributions whose modules are imported, by name."""
    return _imported(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _imported(_modules: int) -> dict[str, str]:
    """Look again only after further imports, which change the number of modules."""
    installed = _installed()
    names = {name.partition(".")[0] for name in list(sys.modules)} - sys.stdlib_module_names
    found = {distribution: version for name in names for distribution, version in installed.get(name, ())}
    # Installed as editable, this package's modules lead to no distribution.
    return dict(sorted({"airflow-kart": metadata.version("airflow-kart"), **found}.items()))


@functools.lru_cache(maxsize=1)
def _installed() -> dict[str, list[tuple[str, str]]]:
    """Return name and version of the distributions that provide each top-level module.

    The same as ``importlib.metadata.packages_distributions``, several times as fast: most metadata stay unparsed.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for distribution in metadata.distributions():
        name = _NAME.search(text := distribution.read_text("METADATA") or "")
        version = _VERSION.search(text)
        if name is None or version is None:
            continue
        listed = distribution.read_text("top_level.txt")
        modules = listed.split() if listed else _MODULE.findall(distribution.read_text("RECORD") or "")
        for module in dict.fromkeys(modules):
            found.setdefault(module, []).append((name[1], version[1]))
    return found


_NAME = re.compile(r"^Name: *(\S+)", re.MULTILINE)
_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
# The first part of a path that leads to Python code: module.py, package/... or module.cpython-311-x86_64-linux-gnu.so
_MODULE = re.compile(r"^([A-Za-z_]\w*)(?:/[^,\n]*)?(?:\.[^/,\n]*)?\.(?:py|so|pyd)(?=,)", re.MULTILINE)


def peak_memory_bytes() -> int | None:
    """Return the peak memory of the process so far, in bytes; ``None`` on systems that do not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
