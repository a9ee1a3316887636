"""Several executions of one DAG file in one process: ``airflow dags test`` executes a file twice."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from airflow_kart.identity.names import is_importable, logical_module_name


def running_namespaces() -> Iterator[Mapping[str, object]]:
    """Yield the global names of DAG files, and of ``__main__``, whose code runs in this thread, innermost call first.

    After a second execution ``sys.modules`` has only the second namespace, while tasks of the first execution still run.
    """
    seen: set[int] = set()
    frame = inspect.currentframe()
    while frame is not None:
        space = frame.f_globals
        if id(space) not in seen:
            seen.add(id(space))
            name = space.get("__name__")
            if isinstance(name, str) and not is_importable(name):
                yield space
        frame = frame.f_back


def running_class(logical_module: str, qualname: str) -> type | None:
    """Return the class of a logical name from the code that runs in this thread, or ``None``."""
    for space in running_namespaces():
        if logical_module_name(str(space["__name__"])) == logical_module:
            found = found_in(space, qualname)
            if isinstance(found, type):
                return found
    return None


def found_in(space: Mapping[str, object], qualname: str) -> object:
    """Return the object of a qualified name among global names, or ``None``."""
    first, *rest = qualname.split(".")
    found = space.get(first)
    for part in rest:
        found = inspect.getattr_static(found, part, None)
    return found
