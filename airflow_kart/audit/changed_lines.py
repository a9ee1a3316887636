"""The changed lines of a class's code, where the source is in git."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

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
    command = ["git", "-C", str(folder), "diff", "--no-color", "--no-ext-diff", "--unified=0", str(old)]
    command += [*([] if of_now else [str(new)]), "--", *paths]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in done.stdout.splitlines() if line[:1] in "+-@" and not line.startswith("--- ")]
    shown = [line.removeprefix("+++ b/") if line.startswith("+++ ") else line for line in lines]
    return [*shown[:_MOST], *([f"... {len(shown) - _MOST} more lines"] if len(shown) > _MOST else [])]
