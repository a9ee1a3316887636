"""The session whose cells define the classes of ``__main__``: a Jupyter kernel, IPython, or Python's prompt.

Every session calls its module ``__main__``. A notebook's classes get the notebook's name instead, so that two notebooks
share no artifacts. The name comes from papermill (``--inject-paths``), VS Code, or Jupyter's server; a session that none of
them names has the name of the working directory.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import linecache
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

_VARIABLES = ("PAPERMILL_INPUT_PATH", "PAPERMILL_OUTPUT_PATH", "__vsc_ipynb_file__")
_PROMPT = re.compile(r"<python-input-([0-9]+)>")


class Notebook(NamedTuple):
    """A session."""

    name: str
    """The name in place of ``__main__``: the notebook's stem, and a digest of its path."""
    path: str | None
    """The notebook's path or uri; ``None`` for a session that nothing names."""
    folder: str
    """The working directory at the session's first task: the root of the project."""
    statements: tuple[Statement, ...] | None = None
    """In a worker process: the statements of the parent's cells that count."""


class Statement(NamedTuple):
    """A statement of a cell that counts."""

    source: str
    gone: frozenset[str]
    """The names whose objects later statements have replaced."""


class Cell(NamedTuple):
    """One executed cell, or one input of Python's prompt."""

    source: str
    """The Python code, magics included as the calls that IPython makes of them."""
    failed: bool
    """Whether the cell is known to have raised an error."""


_inherited: list[Notebook] = []  # at most one: the session of the process that started this one


def inherit(notebook: Notebook | None) -> None:
    """Make a session that of this process too: a worker process runs the tasks of the session."""
    _inherited[:] = [notebook] if notebook is not None else []


def this_notebook() -> Notebook | None:
    """Return this process's session, the same for as long as the process lives; ``None`` in a script or a service."""
    if _inherited:
        return _inherited[0]
    typed = sys.flags.interactive or "ps1" in vars(sys)  # asked many times for each task of a graph
    return _identified() if typed or ("IPython" in sys.modules and _shell() is not None) else None


def is_of_notebook(module: str) -> bool:
    """Whether a module is the session's ``__main__``, and no script."""
    main = module == "__main__" and this_notebook() is not None
    return main and not getattr(sys.modules.get("__main__"), "__file__", None)


@functools.cache
def _identified() -> Notebook:
    path, folder = _path_of(vars(sys.modules["__main__"])), os.getcwd()
    place = folder if path is None else path if "://" in path else os.path.realpath(path)
    stem = re.sub(r"\W+", "_", os.path.splitext(os.path.basename(place))[0] if path else os.path.basename(place))
    digest = hashlib.blake2b(os.fsencode(place), digest_size=4).hexdigest()
    return Notebook(f"{stem or 'session'}_{digest}", None if path is None else place, folder)


def _path_of(names: Mapping[str, object]) -> str | None:
    for variable in _VARIABLES:
        value = names.get(variable)
        if isinstance(value, str) and value:
            return value
    path = os.environ.get("JPY_SESSION_NAME", "") if hasattr(_shell(), "kernel") else ""
    # Consoles have names without an extension.
    return path if os.path.splitext(path)[1] and not _is_inherited(path) else None


def _is_inherited(path: str) -> bool:
    """Whether another notebook of that name has started this process, a kernel perhaps, with its own environment."""
    try:
        psutil: Any = importlib.import_module("psutil")  # which ipykernel requires
        return bool(psutil.Process(os.getppid()).environ().get("JPY_SESSION_NAME") == path)
    except Exception:  # noqa: BLE001 - no psutil, or no right to ask: then nothing is known of the parent
        return False


def _shell() -> Any:
    """Return IPython's shell; ``None`` in a process without one."""
    get: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return None if get is None else get()


def cells() -> list[Cell] | None:
    """Return the executed cells in their order; ``None`` where nothing keeps them, as Python's prompt before 3.13."""
    shell = _shell()
    if shell is not None and shell.history_manager is not None:
        history = shell.history_manager
        failed: Mapping[int, object] = getattr(history, "exceptions", None) or {}  # since IPython 9
        sources = list(history.input_hist_parsed)
        first = max(0, shell.execution_count - len(sources))  # %reset empties the history, and counts on
        return [Cell(source, number in failed) for number, source in enumerate(sources, first)]
    typed = {int(found[1]): name for name in list(linecache.cache) if (found := _PROMPT.fullmatch(name))}
    return [Cell("".join(linecache.getlines(typed[number])), False) for number in sorted(typed)] or None


def as_python(source: str) -> str:
    """Return the body of a cell magic as Python code."""
    shell = _shell()
    return source if shell is None else str(shell.transform_cell(source))
