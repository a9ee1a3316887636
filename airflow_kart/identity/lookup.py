"""Classes by their logical names, for text and sidecars that name a class.

An import runs code, and a text must not choose code to run. So the lookup finds classes of loaded modules, and imports a
module only if the module is a Python file of the project: found through ``sys.path``, which holds the DAG folder, the DAG
bundle and the current directory, and neither in Python's library nor among installed packages.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from pathlib import Path

from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.names import PACKAGE, class_in, current_namespace, find_loaded_class, is_of_python, own_folder
from airflow_kart.identity.notebook import is_of_notebook

LOOKED_UP = "import the module of an installed package first: only loaded modules and files of the project are looked up"
"""For errors: the way to a class that the lookup does not find."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def find_class(logical_module: str, qualname: str) -> type | None:
    """Return the class of a logical name, or ``None``. A module that is not loaded is imported if it is of the project.

    Raises:
        IdentityError: the module is of the project, and its import fails.
    """
    found = find_loaded_class(logical_module, qualname)
    if found is None and is_of_notebook(logical_module):
        found = class_in(sys.modules[logical_module], qualname)
    if found is not None:
        return found
    if logical_module.partition(".")[0] != PACKAGE and not is_of_project(logical_module):
        return None
    try:
        return class_in(importlib.import_module(logical_module), qualname)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{logical_module}.".startswith(f"{error.name}."):
            return None
        raise _failed(logical_module, error) from error
    except Exception as error:
        raise _failed(logical_module, error) from error


def _failed(module: str, error: Exception) -> IdentityError:
    return IdentityError(f"the module {module} cannot be imported: {type(error).__name__}: {error}")


def find_class_named(logical_name: str) -> type | None:
    """Return the class of a logical name, with the current namespace or without, or ``None``.

    Raises:
        IdentityError: a module of the project has the name, and its import fails.
    """
    prefix = f"{current_namespace().name}."
    within = logical_name[len(prefix) :] if prefix != "." and logical_name.startswith(prefix) else ""
    # A namespace that names a notebook stands in place of the module.
    names = (within, f"__main__.{within}", logical_name) if within else (logical_name,)
    return next((found for name in names if (found := _find_named(name)) is not None), None)


def _find_named(logical_name: str) -> type | None:
    parts = logical_name.split(".")
    if all(parts):
        for length in range(len(parts) - 1, 0, -1):  # classes may be nested: the module's name is the longest that fits
            found = find_class(".".join(parts[:length]), ".".join(parts[length:]))
            if found is not None:
                return found
    return None


def is_of_project(module: str) -> bool:
    """Whether a module, and every package around it, is a Python file of the project; nothing is imported to find out."""
    folders: list[str] | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        if not part.isidentifier():
            return False
        try:
            spec = importlib.machinery.PathFinder.find_spec(name, folders)
        except (ImportError, OSError, ValueError):
            return False
        if spec is None:
            return False
        folders = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        files = [spec.origin] if spec.origin is not None else folders or []
        if not all(is_file_of_project(file) for file in files) or (spec.origin and not spec.origin.endswith(".py")):
            return False
        folders = folders or []
    return True


def is_file_of_project(file: str) -> bool:
    """Whether a file is neither of Python's library, nor of an installed distribution, nor of this package."""
    path = Path(os.path.realpath(file))
    if _INSTALLED.intersection([*path.parts, *Path(os.path.abspath(file)).parts]):
        return False
    return not is_of_python(path) and not path.is_relative_to(os.path.realpath(own_folder()))
