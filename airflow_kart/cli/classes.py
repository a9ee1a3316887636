"""Classes that a command line names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from airflow_kart import settings
from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.names import class_in


def class_or_name(text: str) -> type | str:
    """Return the class that a text names: ``package.module:Class`` or ``file.py:Class``; a text without a colon is a name.

    The DAG folder and the current directory are looked through for modules, as sidecars name them.

    Raises:
        IdentityError: there is no such class, or its module cannot be imported.
    """
    look_in_project()
    place, colon, name = text.rpartition(":")
    if not colon:
        return text
    found = class_in(module_of(place), name)
    if found is None:
        raise IdentityError(f"{place} has no class {name}")
    return found


def look_in_project() -> None:
    """Let imports find the modules of the DAG folder and of the current directory."""
    folders = [os.getcwd(), settings.airflow_option("core", "dags_folder") or str(settings.airflow_home() / "dags")]
    sys.path += [folder for folder in folders if folder not in sys.path]


def module_of(place: str) -> ModuleType:
    """Import a module, or a file.

    Raises:
        IdentityError: the import fails.
    """
    look_in_project()
    try:
        return _of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except Exception as error:
        raise IdentityError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error


def _of_file(path: Path) -> ModuleType:
    """Import a file in the way in which Airflow imports DAG files, under a name that nothing else has."""
    path = path.absolute()
    sys.path.insert(0, str(path.parent))
    name = f"unusual_prefix_{hashlib.sha1(str(path).encode(), usedforsecurity=False).hexdigest()}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
