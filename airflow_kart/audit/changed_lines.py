"""The changed lines of a class's code, where the source is in git."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from airflow_kart.artifacts.sidecar.repository import git

_MOST = 40
"""Lines of a diff that are shown."""


def changed_lines(before: Mapping[str, Any], now: Mapping[str, Any], parts: Collection[str], *, of_now: bool) -> list[str]:
    """Return a diff of the files that define changed parts of a class's code; nothing where git cannot tell.

    Args:
        before: the sidecar's part ``source`` of the earlier artifact.
        now: the part ``source`` of the later one.
        parts: the names of the changed definitions.
        of_now: compare with the files as they are, and not with the later commit.
    """
    old, new, file = (before.get("git") or {}).get("commit"), (now.get("git") or {}).get("commit"), now.get("file")
    if not old or not file or not (of_now or new) or (old == new and not of_now):
        return []
    folder = Path(str(file)).parent
    names = {part for name in parts for part in name.split(".")}
    paths = [str(path) for path in sorted(folder.glob("**/*.py"))[:1000] if path.stem in names] if folder.is_dir() else []
    paths = list(dict.fromkeys([*paths, str(file)]))
    commits = [str(old)] if of_now else [str(old), str(new)]
    diff = git(str(folder), "diff", "--no-color", "--no-ext-diff", "--unified=0", *commits, "--", *paths)
    lines = [line for line in (diff or "").splitlines() if line[:1] in "+-@" and not line.startswith("--- ")]
    shown = [line.removeprefix("+++ b/") if line.startswith("+++ ") else line for line in lines]
    return [*shown[:_MOST], *([f"... {len(shown) - _MOST} more lines"] if len(shown) > _MOST else [])]
