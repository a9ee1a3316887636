"""Real git repositories for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

_AUTHOR = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return the output."""
    command = ["git", "-C", str(folder), *_AUTHOR, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path, origin: str | None, source: str | None = None, file: str = "pipeline.py") -> Path:
    """Make a repository with a commit and perhaps a remote; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(source or "")
    git(folder, "init", "-q")
    git(folder, "add", file)
    git(folder, "commit", "-q", "-m", "Begin")
    if origin is not None:
        git(folder, "remote", "add", "origin", origin)
    return folder


def clone(source: Path, folder: Path, *options: str) -> Path:
    """Clone a repository of this machine; return the folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(folder.parent, "clone", "-q", *options, str(source), str(folder))
    return folder
