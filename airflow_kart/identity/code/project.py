"""A project's files: where a class's project begins, and which file of it an import leads to, without importing."""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.code.module import Module
from airflow_kart.identity.names import logical_module_name, own_folder

__all__ = ["Place", "Project", "project_of", "read_module"]

_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class Place:
    """Where a module is."""

    name: str
    """What this process imports it by."""
    file: str | None
    """Its file; ``None`` for a package without ``__init__.py``, and for what is no Python source."""
    folders: tuple[str, ...] | None
    """Where its submodules are, if it is a package."""


@dataclass(frozen=True)
class Project:
    """The files below one folder: a DAG bundle, or the folder that a class's top-level package is in."""

    root: str
    package: str | None
    """The only package that belongs to it, where others are installed beside it."""

    def logical_name(self, file: str) -> str | None:
        """Return a file's dotted path below the root, or ``None`` where it does not belong to the project."""
        return _logical_name(self, file)

    def find_import(self, importer: Place, level: int, module: str) -> Place | None:
        """Return where the module of an import statement is.

        Args:
            importer: the module the statement stands in.
            level: how many dots there are in front of the module; 0 for an absolute import.
            module: the module's dotted name, after the dots.
        """
        if level == 0:
            return self.find(module)
        folder = os.path.dirname(importer.file or "")
        package = importer.name if importer.folders is not None else importer.name.rpartition(".")[0]
        for _ in range(level - 1):
            folder, package = os.path.dirname(folder), package.rpartition(".")[0]
        file = os.path.join(folder, "__init__.py")
        base = Place(package, file if os.path.isfile(file) else None, (folder,))
        return self.find_below(base, module.split(".") if module else ())

    def find(self, name: str) -> Place | None:
        """Return where a module is by its absolute name, whether it belongs to the project or not."""
        top, *rest = name.split(".")
        if top in sys.builtin_module_names:
            return None
        place = _find(top, None, tuple(sys.path)) or _find(top, (self.root,), ())
        return self.find_below(place, rest)

    def find_below(self, place: Place | None, names: Iterable[str]) -> Place | None:
        """Return where a module inside a package is."""
        for name in names:
            if place is None or place.folders is None:
                return None
            found = _find(name, place.folders, ())
            place = found and Place(f"{place.name}.{name}" if place.name else name, found.file, found.folders)
        return place


@functools.lru_cache(maxsize=8192)
def _logical_name(project: Project, file: str) -> str | None:
    root, path = Path(project.root), Path(file)
    if not path.is_relative_to(root):  # links may lead there
        root, path = root.resolve(), path.resolve()
        if not path.is_relative_to(root):
            return None
    parts = path.relative_to(root).with_suffix("").parts
    if _INSTALLED.intersection(parts) or (project.package is not None and parts[0] != project.package):
        return None
    real = path.resolve()
    if real.is_relative_to(own_folder().resolve()) or (_is_of_python(real) and project.package is None):
        return None
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _is_of_python(path: Path) -> bool:
    return any(path.is_relative_to(os.path.realpath(sysconfig.get_path(kind))) for kind in ("stdlib", "platstdlib"))


_places: dict[tuple[str, tuple[str, ...] | None, tuple[str, ...]], Place] = {}


def _find(name: str, folders: tuple[str, ...] | None, search_path: tuple[str, ...]) -> Place | None:
    """Ask Python's finder of files; what it has found is remembered, what it has not may still be written."""
    key = (name, folders, search_path)
    if key not in _places:
        try:
            spec = importlib.machinery.PathFinder.find_spec(name, None if folders is None else list(folders))
        except (ImportError, OSError, ValueError):
            spec = None
        if spec is None:
            return None
        source = spec.origin if spec.has_location and spec.origin is not None and spec.origin.endswith(".py") else None
        within = spec.submodule_search_locations
        _places[key] = Place(name, source and os.path.abspath(source), None if within is None else tuple(within))
    return _places[key]


def project_of(cls: type) -> tuple[Project, Place]:
    """Return the project a class belongs to, and where its module is.

    Raises:
        IdentityError: the class has no source file.
    """
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if not file or not file.endswith(".py") or not os.path.isfile(file):
        raise IdentityError(
            f'{cls.__qualname__}.code_version is "auto", but {cls.__module__} has no source file to fingerprint '
            '(a notebook, code that was typed in, or a compiled or zipped module); give a text instead: code_version = "1"'
        )
    path = Path(os.path.abspath(file))
    root = _root_of(path, logical_module_name(cls.__module__))
    package = path.relative_to(root).parts[0] if _INSTALLED.intersection(root.parts) else None
    folders = (str(path.parent),) if path.stem == "__init__" else None
    return Project(str(root), package and package.removesuffix(".py")), Place(cls.__module__, str(path), folders)


def _root_of(path: Path, logical_name: str) -> Path:
    """Return the folder that a file's logical name starts from."""
    parts = path.with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    for count in range(1, len(parts)):
        if ".".join(parts[-count:]) == logical_name:
            return Path(*parts[:-count])
    root = path.parent  # it was loaded by a name of its own
    while (root / "__init__.py").exists() and root != root.parent:
        root = root.parent
    return root


@dataclass
class _Read:
    stamp: tuple[int, int]
    loaded: object
    """What stands for the module as it was loaded then."""
    module: Module


_read: dict[str, _Read] = {}


def read_module(place: Place) -> Module:
    """Return what a file says; read once, and again when it was edited.

    Of a module this process has loaded, the file counts as it was when it was first asked for, until the module is
    loaded anew: an edit does not change the code that runs here.

    Raises:
        IdentityError: the file cannot be read.
    """
    file = place.file or ""
    known = _read.get(file)
    loaded = _loaded(place)
    if known is not None and loaded is not None and known.loaded is loaded:
        return known.module
    try:
        status = os.stat(file)
        stamp = (status.st_mtime_ns, status.st_size)
        if known is not None and known.stamp == stamp:
            known.loaded = loaded
            return known.module
        module = Module(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise IdentityError(
            f"{file} cannot be fingerprinted: {type(error).__name__}: {error}; mend it, or give the tasks that use it "
            'a code_version other than "auto"'
        ) from error
    _read[file] = _Read(stamp, loaded, module)
    return module


def _loaded(place: Place) -> object:
    """Return what changes when the module is loaded anew, or ``None`` where this file is not loaded."""
    module = sys.modules.get(place.name)
    file = getattr(module, "__file__", None)
    if file is None or os.path.abspath(file) != place.file:
        return None
    return getattr(module, "__spec__", None) or module
