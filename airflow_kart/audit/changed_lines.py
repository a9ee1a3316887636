"""The changed lines of a class's code, where the source is in git."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
        names = sorted({part for name in parts for part in name.split(".") if part.isidentifier()})[:_MOST_NAMES]
        asked = (file, *commits, *names)
        if asked not in self._known:
            self._known[asked] = self._asked(file, commits, names)
        return self._known[asked]

    def _has(self, file: str) -> bool:
        if self._folders is None:
            return True
        real = os.path.realpath(file)
        return real.endswith(".py") and any(real.startswith(f"{one.rstrip(os.sep)}{os.sep}") for one in self._folders)

    def _asked(self, file: str, commits: list[str], names: list[str]) -> list[str]:
        folder, inside = str(Path(file).parent), ""
        of_bundle = OF_BUNDLE.fullmatch(folder)
        if of_bundle and not os.path.exists(f"{of_bundle[1]}/versions/{of_bundle[2]}/.git"):
            folder, inside = f"{of_bundle[1]}/bare", folder[of_bundle.end(2) :].lstrip("/")
        inside = f"{inside}/" if inside else ""
        paths = [f":(literal){inside}{Path(file).name}", *(f":(glob){inside}**/{name}.py" for name in names)]
        seconds = self._ends - time.monotonic()
        told = git(folder, *_CONFIG, *_DIFF, *commits, "--", *paths, seconds=seconds) if seconds > 0 else ""
        shown = list(_lines(told or ""))
        return [*shown[:_MOST], *([f"... {len(shown) - _MOST} more lines"] if len(shown) > _MOST else [])]


def _git(source: Mapping[str, Any]) -> Mapping[str, Any]:
    found = source.get("git")
    return found if isinstance(found, Mapping) else {}


def _lines(diff: str) -> Iterator[str]:
    """Return the names of files, the places of changes, and the changed lines."""
    inside = False
    for line in diff.split("\n"):
        if line.startswith("diff --git "):
            inside = False
        elif line.startswith("@@ "):
            inside = True
            yield line
        elif inside and line[:1] in ("+", "-"):
            yield line
        elif not inside and line.startswith("+++ "):
            yield line[4:]
