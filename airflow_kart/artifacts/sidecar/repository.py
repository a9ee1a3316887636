"""The git checkout of code, and the repository that it was cloned from by a name without secrets: ``github.com/team/churn``."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from airflow_kart.identity.code.project import INSTALLED

OF_BUNDLE = re.compile(r"(.*)/versions/([0-9a-f]{40})(?:/.*)?")
"""A folder in a version of Airflow's GitDagBundle, often without a ``.git``: the repository is ``bare``, beside ``versions``."""
_LONGEST = 10.0
"""Seconds that one git command may take."""
_COMMIT = re.compile(r"^# branch\.oid ([0-9a-f]+)$", re.MULTILINE)
_ENVIRONMENT = {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
"""Lets git neither fetch from anywhere nor write."""


@functools.lru_cache(maxsize=64)
def git_state(folder: str) -> dict[str, object] | None:
    """Return a folder's commit and repository, and whether files have uncommitted changes; git runs once per process."""
    of_bundle = OF_BUNDLE.fullmatch(folder)
    if of_bundle and git(f"{of_bundle[1]}/bare", "cat-file", "-e", of_bundle[2]) is not None:
        return {"commit": of_bundle[2], "dirty": False, "repository": repository_of(folder)}
    status = git(folder, "status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no", "--", ".")
    if status is None:  # no checkout, one that is too large to look at in time, or a git older than 2.17
        commit, dirty = git(folder, "rev-parse", "HEAD", seconds=1), None
    else:
        branch = _COMMIT.search(status)
        commit, dirty = branch and branch[1], re.search("^[^#]", status, re.MULTILINE) is not None
    if commit is None:
        return None
    return {"commit": commit.strip(), "dirty": dirty, "repository": repository_of(folder)}


@functools.lru_cache(maxsize=256)
def repository_of(folder: str) -> str | None:
    """Return the repository that a folder's checkout was cloned from, perhaps by way of one other clone on this machine.

    Installed packages have none, nor have clones of anything but a host's repository.
    """
    if INSTALLED.intersection(Path(folder).parts):
        return None
    for _ in range(2):
        of_bundle = OF_BUNDLE.fullmatch(folder)
        url = git(f"{of_bundle[1]}/bare" if of_bundle else folder, "config", "--local", "--get", "remote.origin.url") or ""
        folder = url.strip().removeprefix("file://")
        if not folder.startswith("/"):
            break
    return repository_name(folder)


def repository_name(url: str) -> str | None:
    """Return host and path of a repository's address; ``None`` for a local path. Nothing else may reach a sidecar."""
    scheme, _, rest = url.rpartition("://")
    rest = re.split("[?#]", rest.rpartition("@")[2])[0]  # a password may have any sign
    host, sign, path = rest.partition("/" if scheme else ":")
    name = re.sub("/+", "/", f"{host.partition(':')[0]}/{path}").rstrip("/").removesuffix(".git")
    local = re.match(r"[/.~]|\w:", url)
    return name if sign and not local and re.fullmatch(r"[\w.-]+(/[\w.~+ %-]+)+", name) else None


def is_same(one: str, other: str) -> bool:
    """Whether two names may be of one repository: hosts have aliases, and paths begin in another way for each protocol."""
    paths = [[part for part in name.casefold().split("/")[1:] if part != "_git"] for name in (one, other)]
    length = min(map(len, paths))
    return paths[0][-length:] == paths[1][-length:]


def git(folder: str, *arguments: str, seconds: float = _LONGEST) -> str | None:
    """Return the output of a git command that only reads, in a folder; ``None`` if git fails, or takes too long."""
    import subprocess  # takes milliseconds to load

    command = ["git", "-C", folder, *arguments]
    environment = {**os.environ, **_ENVIRONMENT}
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=min(seconds, _LONGEST),
            check=True,
            env=environment,
        )
        return done.stdout
    except (OSError, subprocess.SubprocessError):
        return None
