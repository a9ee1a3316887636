"""The environment of a run: Python, platform, host and the versions of all imported packages."""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
from contextlib import suppress
from types import ModuleType


def environment() -> dict[str, object]:
    """Return the part of a sidecar that describes the process; the same object until further imports."""
    return _environment(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _environment(_modules: int) -> dict[str, object]:
    return {**_process(), "packages": imported_distributions()}


@functools.lru_cache(maxsize=1)
def _process() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": _platform(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }


def _forget_in_child() -> None:
    _environment.cache_clear()
    _process.cache_clear()


os.register_at_fork(after_in_child=_forget_in_child)


def _platform() -> str:
    """Return ``platform.platform()``, on Linux without its subprocess: that waits for children another thread forks meanwhile."""
    if sys.platform != "linux":
        return platform.platform()
    library = "".join(platform.libc_ver())
    return f"Linux-{platform.release()}-{platform.machine()}{f'-with-{library}' if library else ''}"


def imported_distributions() -> dict[str, str]:
    """Return the versions of the installed distributions of which a module is imported, by name."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    files = [file for module in modules if isinstance(file := vars(module).get("__file__"), str)]
    new = [file for file in files if file not in _known]
    _known.update(dict.fromkeys(new))
    for folder in dict.fromkeys(sys.path) if new else ():
        with suppress(OSError):  # the folder is an archive, or is not there
            _look_up(folder, new)
    # Installed as editable, this package's modules lead to no distribution.
    own = vars(sys.modules[__name__.partition(".")[0]])["__version__"]
    return dict(sorted({"airflow-kart": own, **dict(filter(None, {_known[file] for file in files}))}.items()))


_known: dict[str, tuple[str, str] | None] = {}
"""Name and version of the distribution that installed a module's file; ``None`` for a file that no distribution lists."""


def _look_up(folder: str, files: list[str]) -> None:
    """Find the distributions of modules in a folder of ``sys.path``: each distribution lists its files.

    The lists are long. Distributions with a name like a module's come first, and mostly suffice; of the others, only lists
    that contain the name of a module still unknown are read line by line.
    """
    installed = [name for name in os.listdir(folder or ".") if name.endswith(".dist-info")]
    prefix = os.path.join(folder, "")
    inside = {os.fsencode(file[len(prefix) :]): file for file in files if installed and file.startswith(prefix)}
    unknown = {path for path in inside if not _OF_NOBODY.match(path)}
    tops = [os.fsdecode(_ALIASES.get(top, top)).lower() for top in set(map(_top, unknown))]
    stems = {name: name.partition("-")[0].lower() for name in sorted(installed)}
    alike = {name for name, stem in stems.items() if any(top in stem or stem in top for top in tops)}
    for name in sorted(stems, key=lambda name: name not in alike):
        if not unknown:
            return
        listed = b"\n" + _read(folder, name, "RECORD")
        if name not in alike and not any(b"\n" + top in listed for top in set(map(_top, unknown))):
            continue
        if own := unknown.intersection(_PATH.findall(listed)):
            unknown -= own
            metadata = _read(folder, name, "METADATA")
            named, version = _NAME.search(metadata), _VERSION.search(metadata)
            if named and version:
                _known.update((inside[path], (named[1].decode(), version[1].decode())) for path in own)


def _top(path: bytes) -> bytes:
    return path.partition(b"/")[0].partition(b".")[0]


def _read(*path: str) -> bytes:
    try:
        with open(os.path.join(*path), "rb") as file:
            return file.read()
    except OSError:
        return b""


_PATH = re.compile(rb"\n([^\n,]+)")
_NAME = re.compile(rb"^Name: *(\S+)", re.MULTILINE)
_VERSION = re.compile(rb"^Version: *(\S+)", re.MULTILINE)
_OF_NOBODY = re.compile(rb"_virtualenv\.|__editable__|_distutils_hack/|\w+__mypyc\.")
"""Modules that an installer or another module of the same distribution imports, under a name that leads to no distribution."""
_ALIASES = {b"upath": b"universal_pathlib"}
"""Modules that Airflow imports in every process, and that are named unlike their distributions."""


def peak_memory_bytes() -> int | None:
    """Return the peak memory of the process so far, in bytes; ``None`` on systems that do not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
