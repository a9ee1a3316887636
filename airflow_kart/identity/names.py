"""Logical module names: one name for a source file, in every process.

Airflow names a DAG file's module after its absolute path, versioned bundles move with every version, ``python file.py``
says ``__main__``, and a notebook may import ``dags.file``. Hashes, paths and pickles use the logical name instead. The
logical name is the file's dotted path from the root of its DAG bundle or the DAG folder; else, for a module imported by
its own name, that name; else the path from the innermost ``sys.path`` entry that holds the file. The ``__main__`` of a
notebook has the notebook's name. A namespace, which projects that share a workspace may have, goes in front.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import re
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError, IdentityError
from airflow_kart.identity.notebook import is_of_notebook, this_notebook
from airflow_kart.idioms.ambient import Ambient

logger = logging.getLogger(__name__)

PACKAGE = __name__.partition(".")[0]
"""This package's name."""
_FACES = ("", "parameters", "formats", "exceptions", "testing", "views")
"""The public modules of this package, by their names in the package."""
_FACE_MODULES = frozenset(f"{PACKAGE}.{face}".rstrip(".") for face in _FACES)
_MAIN = ("__main__", "__mp_main__")  # the second in processes that multiprocessing has spawned
_DAG_FILE_MODULE = re.compile(r"^unusual_prefix_[0-9a-f]{40}_")


def is_importable(name: str) -> bool:
    """Whether other processes, and other DAGs, can import a module by this name.

    They cannot if Airflow made up the name, if the name is ``__main__``, or if the name depends on this ``sys.path``.
    """
    return not _is_made_up(name) and logical_module_name(name) == name


def is_own(obj: Any) -> bool:
    """Whether a class or function is defined in this package."""
    return (getattr(obj, "__module__", None) or "").startswith(f"{PACKAGE}.")


def own_folder() -> Path:
    """Return the folder of this package."""
    return Path(__file__).parents[1]


def is_of_python(path: Path) -> bool:
    """Whether a path, with links resolved, lies in Python's own library."""
    return any(path.is_relative_to(os.path.realpath(sysconfig.get_path(kind))) for kind in ("stdlib", "platstdlib"))


def public_address(obj: Any) -> str | None:
    """Return the address of a class or function of this package, which no move of its module changes.

    The address is a name of the package, ``TaskOnKart``, or of a public module, ``formats.CsvFormat``; ``None`` for
    objects of other packages and of private modules only.
    """
    if not is_own(obj):
        return None
    return next((address for address in public_addresses(obj.__qualname__) if at_public_address(address) is obj), None)


def public_addresses(name: str) -> list[str]:
    """Return the addresses at which public modules of this package export a name."""
    return [f"{face}.{name}".lstrip(".") for face in _FACES if name in _face(face).__all__]


def at_public_address(address: str) -> Any:
    """Return the object at a public address.

    Raises:
        AttributeError: the module exports nothing by that name.
    """
    face, _, name = address.rpartition(".")
    return getattr(_face(face), name)


def _face(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}".rstrip("."))


class Namespace(NamedTuple):
    """The namespace of a workspace, or the configured one; an empty name stands for none."""

    name: str = ""
    given: bool = False
    """Whether the code gives the namespace, as ``Workspace(namespace=...)``, which names a notebook too."""


NAMESPACES: Ambient[Namespace] = Ambient("airflow_kart_namespace")
"""The namespaces of the workspaces that are entered."""


def current_namespace() -> Namespace:
    """Return the namespace of the surrounding workspace, else the configured one.

    Raises:
        ConfigurationError: the process is in several workspaces with different namespaces, and this thread in none; or a
            namespace is malformed.
    """
    current = NAMESPACES.current
    if current is not None:
        return current
    entered = set(NAMESPACES.entered)
    if len(entered) > 1:
        raise ConfigurationError(
            "this thread is in no `with Workspace(...)` block, and the process is in several with different namespaces: "
            "enter the right one in the thread, or start it with contextvars.copy_context().run"
        )
    return entered.pop() if entered else Namespace(valid_namespace(settings.kart_option("namespace"), "[kart] namespace"))


def valid_namespace(name: str, where: str) -> str:
    """Return a namespace: words of letters, digits and underscores, with dots between.

    Raises:
        ConfigurationError: the namespace is anything else, or this package's name.
    """
    if name and (re.fullmatch(r"\w+(\.\w+)*", name) is None or name.partition(".")[0] == PACKAGE):
        raise ConfigurationError(
            f"{where} is {name!r}; give words of letters, digits and underscores: team_a, or team_a.churn"
        )
    return name


def logical_class_name(cls: type) -> str:
    """Return the name a class keeps in every process: namespace, logical module name and qualified name.

    The logical name of a public class of this package is its public address.
    """
    plain = plain_class_name(cls)  # for most, all there is to know
    if plain.startswith(f"{PACKAGE}.") or not (current_namespace().name or cls.__module__ == "__main__"):
        return plain
    return f"{module_name_in_namespace(cls.__module__)}.{cls.__qualname__}"


def plain_class_name(cls: type) -> str:
    """Return a class's logical name without namespace and name of the notebook: a value that counts inside an id."""
    found = _class_names.get(cls)
    if found is None:
        address, module = public_address(cls), cls.__module__
        logical = module if is_of_notebook(module) else logical_module_name(module)
        found = f"{PACKAGE}.{address}" if address else f"{logical}.{cls.__qualname__}"
        _class_names[cls] = found
    return found


_class_names: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()  # asked for each task of a graph


def module_name_in_namespace(name: str) -> str:
    """Return a module's logical name after the namespace. A namespace that the code gives names a notebook by itself."""
    space = current_namespace()
    if is_of_notebook(name):
        if space.given:
            return space.name
        _tell_of_name()
    return f"{space.name}.{logical_module_name(name)}" if space.name else logical_module_name(name)


@functools.cache
def _tell_of_name() -> None:
    """Warn, once per process, of a session that nothing names."""
    notebook = this_notebook()
    if notebook is not None and notebook.path is None and notebook.statements is None:
        logger.warning(
            "nothing tells the name of this notebook, so its classes are named after the working directory, %s: %s. Other "
            'unnamed sessions there share artifacts of equal class names; name this one: Workspace(..., namespace="churn")',
            notebook.folder,
            notebook.name,
        )


def require_present(cls: type, task: object) -> None:
    """Refuse a task of a class that a cell has defined anew since: code and parameters may differ.

    Raises:
        IdentityError: the notebook has another class of this name.
    """
    if cls.__module__ == "__main__" and this_notebook() is not None:
        present = class_in(sys.modules["__main__"], cls.__qualname__)
        if present is not None and present is not cls:
            raise IdentityError(
                f"{task!r} was made before the class {cls.__qualname__} was changed, or its cell executed again; make it again, "
                "and the tasks that hold it",
                task=repr(task),
            )


def logical_module_name(name: str) -> str:
    """Return the name a module keeps in every process."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if not file:  # a builtin, a notebook, `python -c`, or a module that was dropped from sys.modules
        notebook = this_notebook() if name == "__main__" else None
        return _DAG_FILE_MODULE.sub("", name) if notebook is None else notebook.name
    if name in _MAIN:  # python -m package.module tells its name, python file.py does not
        name = getattr(getattr(module, "__spec__", None), "name", "__main__")
    return _name_of_file(file, name)


def _is_made_up(name: str) -> bool:
    return name in _MAIN or _DAG_FILE_MODULE.match(name) is not None


@functools.lru_cache(maxsize=8192)
def _name_of_file(file: str, name: str) -> str:
    path = Path(os.path.abspath(file))
    installed = "site-packages" in path.parts or "dist-packages" in path.parts
    relative = None if installed else _below_bundle_root(path)
    if relative is None:
        if not _is_made_up(name):
            return name
        relative = _below_search_path(path)
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _below_search_path(path: Path) -> Path:
    """Return a file's path from the innermost ``sys.path`` entry that holds the file, enclosing packages included."""
    relative = _below_innermost([Path(entry or ".") for entry in sys.path], path) or Path(path.name)
    package = path.parents[len(relative.parts) - 1]
    while (package / "__init__.py").exists():  # python package/module.py, which puts the package itself on sys.path
        relative = Path(package.name, relative)
        package = package.parent
    return relative


def _below_bundle_root(path: Path) -> Path | None:
    """Return a file's path from the root of its DAG bundle, or ``None``; the configuration names the bundles."""
    roots = [Path(settings.airflow_option("core", "dags_folder") or settings.airflow_home() / "dags")]
    subfolders: dict[str, str] = {}
    for bundle in _configured_bundles():
        kwargs = bundle.get("kwargs") or {}
        if kwargs.get("path"):
            roots.append(Path(kwargs["path"]))
        if kwargs.get("subdir"):
            subfolders[bundle.get("name", "")] = kwargs["subdir"]
    storage = settings.airflow_option("dag_processor", "dag_bundle_storage_path")
    checkouts = Path(storage) if storage else Path(tempfile.gettempdir(), "airflow", "dag_bundles")
    checked_out = _below_innermost([checkouts], path)
    if checked_out is not None:
        parts = checked_out.parts
        if len(parts) > 1:
            # <bundle>/tracking_repo/..., <bundle>/versions/<version>/... (git), or <bundle>/...
            depth = {"tracking_repo": 2, "versions": 3}.get(parts[1], 1)
            roots.append(checkouts.joinpath(*parts[:depth], subfolders.get(parts[0], "")))
    return _below_innermost(roots, path)


def _configured_bundles() -> list[dict[str, Any]]:
    text = settings.airflow_option("dag_processor", "dag_bundle_config_list")
    try:
        bundles = json.loads(text) if text else []
    except ValueError:
        return []  # Airflow itself refuses to start with it, and says so
    return [bundle for bundle in bundles if isinstance(bundle, dict)]


def _below_innermost(folders: Iterable[Path], path: Path) -> Path | None:
    """Return a path from the innermost folder that holds the path, as written or with links resolved, or ``None``."""
    spelled = [Path(os.path.abspath(folder.expanduser())) for folder in folders]
    for candidates, candidate in ((spelled, path), ([folder.resolve() for folder in spelled], path.resolve())):
        inside = [folder for folder in candidates if candidate.is_relative_to(folder)]
        if inside:
            return candidate.relative_to(max(inside, key=lambda folder: len(folder.parts)))
    return None


def find_loaded_class(logical_module: str, qualname: str) -> type | None:
    """Return the class of that logical name from a module this process has loaded, or ``None``."""
    stem = logical_module.rpartition(".")[2]
    for name in [name for name in sys.modules if _is_made_up(name) or name.rpartition(".")[2] == stem]:
        if logical_module_name(name) == logical_module:
            found = class_in(sys.modules[name], qualname)
            if found is not None:
                return found
    return None


def find_loaded_class_named(logical_name: str) -> type | None:
    """Return the class of a logical name, the result of :func:`logical_class_name`, if this process has loaded the class."""
    known = _places.get(logical_name)
    if isinstance(known, tuple) and known[0] in sys.modules:
        found = class_in(sys.modules[known[0]], known[1])
        if found is not None:
            return found
    if known == len(sys.modules):  # nothing was loaded since the last look
        return None
    parts = logical_name.split(".")
    for length in range(len(parts) - 1, 0, -1):  # classes may be nested: the module's name is the longest that fits
        found = find_loaded_class(".".join(parts[:length]), ".".join(parts[length:]))
        if found is not None:
            _places[logical_name] = found.__module__, found.__qualname__
            return found
    _places[logical_name] = len(sys.modules)
    return None


_places: dict[str, tuple[str, str] | int] = {}
"""By logical name of a class, its module and qualified name, or the number of modules that did not have the class."""


def class_in(module: ModuleType, qualname: str) -> type | None:
    """Return a class that a loaded module defines, or ``None``. The lookup imports nothing, unlike ``getattr``."""
    first, *rest = qualname.split(".")
    found: Any = vars(module).get(first)
    if found is None and module.__name__ in _FACE_MODULES and first in module.__all__:
        found = getattr(module, first)  # this package's public names are lazy
    for part in rest:
        found = vars(found).get(part) if isinstance(found, type) else None
    return found if isinstance(found, type) else None
