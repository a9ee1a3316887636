"""A run of the tests that leaves a file in the checkout fails, and names the file.

Each level's ``conftest.py`` imports these hooks: a conftest of all levels would be a second module of the same name.
"""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

import pytest

__all__ = ["pytest_sessionfinish", "pytest_sessionstart", "pytest_terminal_summary"]

CHECKOUT = Path(__file__).parents[2]
OF_TOOLS = (
    ".git",
    ".venv*",
    ".demo",
    ".matrix",
    ".mutants",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
)
"""Names that .gitignore lists: caches, and what is installed or built."""

_BEFORE = pytest.StashKey[set[str]]()
_LEFT = pytest.StashKey[list[str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember which files there are."""
    if not _is_worker(session.config):
        session.config.stash[_BEFORE] = files_in(CHECKOUT)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the run fail where there are more files than before."""
    stash = session.config.stash
    if not _is_worker(session.config) and _BEFORE in stash:
        before = stash[_BEFORE]
        left = sorted(name for name in files_in(CHECKOUT) if name not in before)
        stash[_LEFT] = left
        if left and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the files."""
    left = config.stash.get(_LEFT, [])
    if left:
        terminalreporter.section("the tests left files in the checkout", red=True)
        for name in left:
            terminalreporter.line(name)
        terminalreporter.line("Write to tmp_path instead; a workspace without a directory is in the current directory.")
        del config.stash[_LEFT]  # said once, however many levels run together


def files_in(directory: Path) -> set[str]:
    """Return the files below a directory, but for those of tools, relative to the directory."""
    found: set[str] = set()
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not _is_of_a_tool(name)]
        found.update(os.path.relpath(os.path.join(folder, name), directory) for name in names if not _is_of_a_tool(name))
    return found


def _is_of_a_tool(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in OF_TOOLS)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
