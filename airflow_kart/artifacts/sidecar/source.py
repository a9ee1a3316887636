"""The origin of a task's code: file, checksum of the text, fingerprint of all code that the class uses, git commit."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from airflow_kart.identity.code import fingerprint, fingerprint_parts
from airflow_kart.identity.code.cells import text_of
from airflow_kart.identity.notebook import this_notebook


def source_of(cls: type) -> dict[str, object]:
    """Return a class's file, line, the SHA-256 of its source text, and the state of the file's git checkout.

    The part also holds the fingerprint of the code, ``None`` for code without one, and for ``code_version = "auto"`` the
    digests that the fingerprint is made of.
    """
    source = _source_in_notebook(cls) or _source_of(cls)
    if getattr(cls, "code_version", None) != "auto":
        return source
    # The fingerprint of the unique id: computed anew after a reload of the module, even for an unchanged class.
    return {**source, "fingerprint": fingerprint(cls), "parts": fingerprint_parts(cls)}


def of_bundle(source: Mapping[str, object], version: object) -> Mapping[str, object]:
    """Return a class's source with the commit of Airflow's GitDagBundle, whose folder of a version has no ``.git``.

    Args:
        source: from :func:`source_of`.
        version: the version of the DAG's bundle: for GitDagBundle the commit, which names the checkout's folder too.
    """
    is_commit = isinstance(version, str) and re.fullmatch("[0-9a-f]{40}", version) is not None
    if is_commit and version in Path(str(source["file"])).parts:
        return {**source, "git": {"commit": version, "dirty": False}}
    return source


def _source_in_notebook(cls: type) -> dict[str, object] | None:
    """Return the source of a class that a cell defines; computed anew each time, since other cells may change the helpers."""
    notebook, text = this_notebook(), text_of(cls)
    if notebook is None or text is None:
        return None
    return {
        "file": notebook.path,
        "line": None,
        "sha256": hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest(),
        "git": _git_state(notebook.folder),
        "fingerprint": _fingerprint_of(cls),
    }


@functools.lru_cache(maxsize=4096)
def _source_of(cls: type) -> dict[str, object]:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    try:
        lines, line = inspect.getsourcelines(cls)
    except Exception:  # noqa: BLE001 - a notebook, or a file that was edited meanwhile: never a reason to lose a run
        return {"file": file, "line": None, "sha256": None, "git": None, "fingerprint": None}
    text = "".join(lines)
    return {
        "file": file,
        "line": line,
        "sha256": hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest(),
        "git": _git_state(str(Path(file).parent)) if file else None,
        "fingerprint": _fingerprint_of(cls),
    }


def _fingerprint_of(cls: type) -> str | None:
    try:
        return fingerprint(cls)
    except Exception:  # noqa: BLE001 - where it counts, the unique id has raised it; elsewhere no reason to lose a run
        return None


@functools.lru_cache(maxsize=64)
def _git_state(folder: str) -> dict[str, object] | None:
    """Return the commit of a folder's checkout and whether files have uncommitted changes; git runs once per process."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return {"commit": commit.strip(), "dirty": None if changes is None else bool(changes.strip())}


def _git(folder: str, *arguments: str) -> str | None:
    command = ["git", "-C", folder, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 - no shell
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
