"""The origin of a task's code: file, checksum of the text, fingerprint of all code that the class uses, git commit."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

from airflow_kart.artifacts.sidecar.repository import git_state
from airflow_kart.identity.code import AUTO, code_version_of, fingerprint, fingerprint_parts
from airflow_kart.identity.code.cells import module_of_cells, text_of
from airflow_kart.identity.notebook import this_notebook

_MOST_PARTS = 300
"""Parts of the code in a sidecar, each some fifty bytes."""


def source_of(cls: type, in_ids: str | None = None) -> dict[str, object]:
    """Return a class's file, line, the SHA-256 of its source text, and the state of the file's git checkout.

    The part also holds the fingerprint of the code, ``None`` for code without one, and the digests that the fingerprint is
    made of, unless these are too many. The first answer stays: an edit of the file does not change the running code. For a
    class that a cell defines the file is the notebook, and the answer stays until a cell changes the code.

    Args:
        cls: the class.
        in_ids: the fingerprint, where it counts in unique ids.
    """
    return _source_of(cls, in_ids, _cells_of(cls))


@functools.lru_cache(maxsize=4096)
def _source_of(cls: type, in_ids: str | None, cells: object) -> dict[str, object]:
    file, folder = place_of(cls)
    line: int | None = None
    try:
        if (text := text_of(cls)) is None:
            lines, line = inspect.getsourcelines(cls)
            text = "".join(lines)
    except Exception:  # noqa: BLE001 - a notebook, or a file that was edited meanwhile: never a reason to lose a run
        return {"file": file, "line": None, "sha256": None, "git": None, "fingerprint": in_ids}
    parts = dict(_code_of(cls, in_ids, cells))
    return {
        "file": file,
        "line": line,
        "sha256": hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest(),
        "git": git_state(folder) if folder else None,
        "fingerprint": parts.pop("", None),
        **({"parts": parts} if 0 < len(parts) <= _MOST_PARTS else {}),
    }


def place_of(cls: type) -> tuple[str | None, str | None]:
    """Return the file and the folder of a class: of one that a cell defines, those of the notebook."""
    notebook = this_notebook() if text_of(cls) is not None else None
    if notebook is not None:
        return notebook.path, notebook.folder
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file, file and str(Path(file).parent)


def code_of(cls: type) -> Mapping[str, str]:
    """Return the digests that the fingerprint of a class's code is made of, under the empty name the fingerprint itself.

    There are none for code without a fingerprint. Where the code counts in unique ids, its fingerprint is computed anew after
    a reload, even for an unchanged class.
    """
    return _code_of(cls, fingerprint(cls) if code_version_of(cls) == AUTO else None, _cells_of(cls))


def _cells_of(cls: type) -> object:
    """Return the cells that define a class, as one object until a cell changes code; ``None`` for classes of files."""
    return module_of_cells() if text_of(cls) is not None else None


@functools.lru_cache(maxsize=4096)
def _code_of(cls: type, in_ids: str | None, _cells: object) -> Mapping[str, str]:
    try:
        return {"": in_ids or fingerprint(cls), **fingerprint_parts(cls)}
    except Exception:  # noqa: BLE001 - where it counts, the unique id has raised it; elsewhere no reason to lose a run
        return {}
