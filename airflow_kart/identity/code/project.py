"""The files of a project: the root of a class's project, and the file that an import leads to. Nothing is imported."""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.code.cells import module_of_cells
from airflow_kart.identity.code.module import Module
from airflow_kart.identity.names import is_of_python, logical_module_name, own_folder
from airflow_kart.identity.notebook import this_notebook

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""The folders of installed packages."""
_CELLS = "__main__.ipynb"
"""The file, in the folder of a session, that stands for the session's cells."""


class SourcePlace(NamedTuple):
    """The location of a module."""

    name: str
    """The name by which this process imports the module."""
    file: str | None
    """The source file; ``None`` for a package without ``__init__.py`` and for compiled modules."""
    folders: tuple[str, ...] | None
    """The folders of its submodules; ``None`` for a module that is no package."""


class Project(NamedTuple):
    """The files in one folder: a DAG bundle, or the folder that holds a class's top-level package."""

    root: str
    package: str | None
    """The project's only package, where other packages are installed in the same folder."""

    def logical_name(self, file: str) -> str | None:
        """Return a file's dotted path from the root, or ``None`` for a file outside the project."""
        return _logical_name(self, file)

    def find_import(self, importer: SourcePlace, level: int, module: str) -> SourcePlace | None:
        """Return the location of an import statement's module.

        Args:
            importer: the module that contains the statement.
            level: number of leading dots; 0 for an absolute import.
            module: the module's dotted name, after the dots.
        """
        if level == 0:
            return self.find(module)
        folder = os.path.dirname(importer.file or "")
        package = importer.name if importer.folders is not None else importer.name.rpartition(".")[0]
        for _ in range(level - 1):
            folder, package = os.path.dirname(folder), package.rpartition(".")[0]
        file = os.path.join(folder, "__init__.py")
        base = SourcePlace(package, file if os.path.isfile(file) else None, (folder,))
        return self.find_below(base, module.split(".") if module else ())

    def find(self, name: str) -> SourcePlace | None:
        """Return the location of a module, inside or outside the project, by its absolute name."""
        top, *rest = name.split(".")
        if top in sys.builtin_module_names:
            return None
        place = _find(top, None, tuple(sys.path)) or _find(top, (self.root,), ())
        return self.find_below(place, rest)

    def find_below(self, place: SourcePlace | None, names: Iterable[str]) -> SourcePlace | None:
        """Return the location of a module inside a package."""
        for name in names:
            if place is None or place.folders is None:
                return None
            found = _find(name, place.folders, ())
            place = found and SourcePlace(f"{place.name}.{name}" if place.name else name, found.file, found.folders)
        return place


@functools.lru_cache(maxsize=8192)
def _logical_name(project: Project, file: str) -> str | None:
    root, path = Path(project.root), Path(file)
    if not path.is_relative_to(root):  # links may lead there
        root, path = root.resolve(), path.resolve()
        if not path.is_relative_to(root):
            return None
    parts = path.relative_to(root).with_suffix("").parts
    if INSTALLED.intersection(parts) or (project.package is not None and parts[0] != project.package):
        return None
    real = path.resolve()
    if real.is_relative_to(own_folder().resolve()) or (is_of_python(real) and project.package is None):
        return None
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


_places: dict[tuple[str, tuple[str, ...] | None, tuple[str, ...]], SourcePlace] = {}


def _find(name: str, folders: tuple[str, ...] | None, search_path: tuple[str, ...]) -> SourcePlace | None:
    """Ask Python's finder. The cache keeps found modules only: missing files may still appear."""
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
        _places[key] = SourcePlace(name, source and os.path.abspath(source), None if within is None else tuple(within))
    return _places[key]


def project_of(cls: type) -> tuple[Project, SourcePlace]:
    """Return the project of a class, and the location of its module. The folder of a notebook is the notebook's project.

    Raises:
        IdentityError: the class has no source file, and no cell defines the class.
    """
    notebook = this_notebook() if cls.__module__ == "__main__" else None
    cells = module_of_cells() if notebook is not None else None
    if notebook is not None and cells is not None and cells.definition(cls.__qualname__.partition(".")[0]) is not None:
        return Project(notebook.folder, None), SourcePlace("__main__", os.path.join(notebook.folder, _CELLS), None)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if not file or not file.endswith(".py") or not os.path.isfile(file):
        if notebook is None:
            why = " (code of python -c, or a compiled or zipped module)"
        elif cells is None:
            why = ": Python's prompt keeps none before Python 3.13, nor where no terminal is; use IPython, or write a file"
        else:
            why = ": no cell of this session defines it (but %run, exec() or a magic); define it in a cell, or import it"
        raise IdentityError(
            f'{cls.__qualname__}.code_version is "auto", but {cls.__module__} has no source file to fingerprint{why}; '
            'or give a text instead: code_version = "1"',
            task=cls.__qualname__,
        )
    path = Path(os.path.abspath(file))
    root = _root_of(path, logical_module_name(cls.__module__))
    package = path.relative_to(root).parts[0] if INSTALLED.intersection(root.parts) else None
    folders = (str(path.parent),) if path.stem == "__init__" else None
    return Project(str(root), package and package.removesuffix(".py")), SourcePlace(cls.__module__, str(path), folders)


def _root_of(path: Path, logical_name: str) -> Path:
    """Return the folder at which a file's logical name starts."""
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
class _ReadFile:
    stamp: tuple[int, int]
    loaded: object
    """The spec of the module that was loaded at that time."""
    module: Module


_read: dict[str, _ReadFile] = {}


def read_module(place: SourcePlace) -> Module:
    """Return the parsed file, parsed again after an edit.

    For a module that this process has loaded, the first version read counts until a reload: an edit of the file does
    not change the running code.

    Raises:
        IdentityError: the file is unreadable.
    """
    file = place.file or ""
    if os.path.basename(file) == _CELLS and (cells := module_of_cells()) is not None:
        return cells
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
            f"{file} cannot be fingerprinted: {type(error).__name__}: {error}; fix the file, or give the tasks that use the "
            'file a code_version other than "auto"'
        ) from error
    _read[file] = _ReadFile(stamp, loaded, module)
    return module


def _loaded(place: SourcePlace) -> object:
    """Return the spec of the loaded module, which a reload replaces, or ``None`` if this process has not loaded the file."""
    module = sys.modules.get(place.name)
    file = getattr(module, "__file__", None)
    if file is None or os.path.abspath(file) != place.file:
        return None
    return getattr(module, "__spec__", None) or module
