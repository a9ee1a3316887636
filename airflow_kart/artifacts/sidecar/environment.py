"""The environment of a run: Python, platform, host and the versions of all imported packages."""

from __future__ import annotations

import functools
import os
import platform
import re
import socket
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

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
    """Return the versions of the installed distributions of which a module is imported, by name."""
    return _imported(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _imported(_modules: int) -> dict[str, str]:
    """Look again only after further imports, which change the number of modules."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    files = [file for module in modules if isinstance(file := vars(module).get("__file__"), str)]
    unknown = [file for file in files if file not in _known]
    _known.update(dict.fromkeys(unknown))
    for folder in dict.fromkeys(sys.path):
        prefix = os.path.join(folder, "")
        _know(folder, {os.fsencode(file[len(prefix) :]): file for file in unknown if file.startswith(prefix)})
    # Installed as editable, this package's modules lead to no distribution.
    found = {_known[file] for file in files} - {None}
    return dict(sorted({"airflow-kart": metadata.version("airflow-kart"), **dict(filter(None, found))}.items()))


_known: dict[str, tuple[str, str] | None] = {}
"""Name and version of the distribution that installed a module's file; ``None`` for a file that no distribution lists."""


def _know(folder: str, files: dict[bytes, str]) -> None:
    """Find the distributions of modules in a folder of ``sys.path``: each distribution lists its files.

    The lists are long. Distributions with a name like a module's come first, and mostly suffice; of the others, only lists
    that contain the name of a module still unknown are read line by line.

    Args:
        folder: the folder.
        files: the modules' files, by path in the folder.
    """
    unknown: dict[bytes, set[bytes]] = {}
    for path in files:
        unknown.setdefault(_top(path), set()).add(path)
    try:
        installed = sorted(name for name in os.listdir(folder) if name.endswith(".dist-info")) if files else []
    except OSError:
        return  # an archive, or a folder that is not there
    tops = [os.fsdecode(top).lower() for top in unknown]
    stems = {name: name.partition("-")[0].lower() for name in installed}
    alike = {name for name, stem in stems.items() if any(top in stem or stem in top for top in tops)}
    for name in sorted(installed, key=lambda name: name not in alike):
        listed = b"\n" + _read(folder, name, "RECORD")
        if name in alike or any(paths and b"\n" + top in listed for top, paths in unknown.items()):
            text = _read(folder, name, "METADATA").decode(errors="replace")
            version = _VERSION.search(text)
            for path in files.keys() & (line.partition(b",")[0] for line in listed.split(b"\n")):
                unknown[_top(path)].discard(path)
                if (named := _NAME.search(text)) is not None and version is not None:
                    _known[files[path]] = named[1], version[1]


def _top(path: bytes) -> bytes:
    return path.partition(b"/")[0].partition(b".")[0]


def _read(*path: str) -> bytes:
    try:
        return Path(*path).read_bytes()
    except OSError:
        return b""


_NAME = re.compile(r"^Name: *(\S+)", re.MULTILINE)
_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)
_OF_NOBODY = (b"_virtualenv.", b"__editable__")  # installers' own


def peak_memory_bytes() -> int | None:
    """Return the peak memory of the process so far, in bytes; ``None`` on systems that do not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
