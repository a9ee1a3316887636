"""The changed lines of a class's code, where the source is in git."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_kart.artifacts.sidecar.repository import OF_BUNDLE, git

_MOST = 40
"""Lines of a diff that are shown."""
_MOST_NAMES = 300
_COMMIT = re.compile("[0-9a-f]{40,64}")
_CONFIG = ["-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "core.bigFileThreshold=1m"]
_DIFF = [
    "diff",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-prefix",
    "-O/dev/null",  # no order of the repository's configuration
    "--ignore-submodules=all",
    "--unified=0",
]


class ChangedLines:
    """Asks git for changed lines; each question once.

    Args:
        folders: where files have to be; by default anywhere, as the asker trusts the sidecars.
        patience: seconds for all questions.
    """

    def __init__(self, folders: Sequence[str] | None = None, patience: float = 30.0) -> None:
        self._folders = None if folders is None else [os.path.realpath(one) for one in folders]
        self._ends = time.monotonic() + patience
        self._known: dict[tuple[str, ...], list[str]] = {}

    def between(
        self, before: Mapping[str, Any], now: Mapping[str, Any], parts: Collection[str], *, of_now: bool
    ) -> list[str]:
        """Return a diff of the files that define changed parts of a class's code; nothing where git cannot tell.

        Commits do not tell what changed where one was not all of the code that ran. Between two commits, git runs no hook,
        filter or other program that the repository configures.

        Args:
            before: the sidecar's part ``source`` of the earlier artifact.
            now: the part ``source`` of the later one.
            parts: the names of the changed definitions.
            of_now: compare with the files as they are, and not with the later commit.
        """
        then, later = _git(before), _git(now)
        commits = [str(one.get("commit")) for one in ((then,) if of_now else (then, later))]
        clean = of_now or (then.get("dirty") is later.get("dirty") is False)
        file = str(now.get("file") or "")
        known = all(map(_COMMIT.fullmatch, commits)) and len({*commits}) == len(commits)
        if not (file and known and clean and self._has(file)):
            return []
        asked = (file, *commits, *sorted(parts))
        if asked not in self._known:
            self._known[asked] = self._asked(file, commits, parts)
        return self._known[asked]

    def _has(self, file: str) -> bool:
        if self._folders is None:
            return True
        real = os.path.realpath(file)
        return real.endswith(".py") and any(real.startswith(f"{one.rstrip(os.sep)}{os.sep}") for one in self._folders)

    def _asked(self, file: str, commits: list[str], parts: Collection[str]) -> list[str]:
        names = sorted({part for name in parts for part in name.split(".") if part.isidentifier()})[:_MOST_NAMES]
        folder, inside = str(Path(file).parent), ""
        of_bundle = OF_BUNDLE.fullmatch(folder)
        if of_bundle and not os.path.exists(f"{of_bundle[1]}/versions/{of_bundle[2]}/.git"):
            folder, inside = f"{of_bundle[1]}/bare", folder[of_bundle.end(2) :].lstrip("/")
        inside = f"{inside}/" if inside else ""
        paths = [f":(literal){inside}{Path(file).name}", *(f":(glob){inside}**/{name}.py" for name in names)]
        seconds = self._ends - time.monotonic()
        told = git(folder, *_CONFIG, *_DIFF, *commits, "--", *paths, seconds=seconds) if seconds > 0 else ""
        shown = list(_lines(told or "", lambda path: _defines(path, file, parts)))
        return [*shown[:_MOST], *([f"... {len(shown) - _MOST} more lines"] if len(shown) > _MOST else [])]


def _git(source: Mapping[str, Any]) -> Mapping[str, Any]:
    found = source.get("git")
    return found if isinstance(found, Mapping) else {}


def _defines(path: str, file: str, parts: Collection[str]) -> bool:
    """Whether a path in a repository is the file of a class, or that of a module which its code imports by one of the names.

    The module lies beside the file, or in a folder above: others of the same name belong to other pipelines.
    """
    stem = path.removesuffix(".py").removesuffix("/__init__")
    if file.endswith(f"/{path}"):
        return True
    for name in parts:
        for module in itertools.accumulate(name.split("."), "{}/{}".format):
            if f"/{stem}".endswith(f"/{module}") and f"/{stem.removesuffix(module)}" in file:
                return True
    return False


def _lines(diff: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Return the names of wanted files, the places of changes, and the changed lines."""
    inside, before, shown = False, "", False
    for line in diff.split("\n"):
        if line.startswith("diff --git "):
            inside = False
        elif not inside and line.startswith("--- "):
            before = line[4:]
        elif not inside and line.startswith("+++ "):
            shown = wanted(before if line == "+++ /dev/null" else line[4:])
            if shown:
                yield line[4:]
        elif line.startswith("@@ ") or (inside and line[:1] in ("+", "-")):
            inside = True
            if shown:
                yield line
