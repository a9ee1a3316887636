"""Uploads on a disk whose processes were killed: files in the hidden folders, named after host and process."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from airflow_kart.storage.base import UPLOADS, UnfinishedUpload

_BETWEEN_LOOKS = 10.0  # seconds between two looks for the uploads of dead processes in one folder
_MOST_FOLDERS = 10_000
_LOOK_AGAIN: dict[str, float] = {}
_UPLOAD_NAME = re.compile(r"([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")


def remove_abandoned(folder: str) -> None:
    """Remove the uploads of dead processes of this host from a folder; look for such uploads once in a while."""
    now = time.monotonic()
    if now < _LOOK_AGAIN.get(folder, 0.0):
        return
    if len(_LOOK_AGAIN) >= _MOST_FOLDERS:
        _LOOK_AGAIN.clear()
    _LOOK_AGAIN[folder] = now + _BETWEEN_LOOKS
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _is_dead(name):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(folder, name))


def abandoned_below(directory: str) -> Iterator[UnfinishedUpload]:
    """Return the uploads below a directory whose processes are dead, or of another host; they began when last written to."""
    for folder, _, names in os.walk(directory):
        for name in names if os.path.basename(folder) == UPLOADS else ():
            path = os.path.join(folder, name)
            if _is_dead(name, elsewhere=True):
                with contextlib.suppress(OSError):
                    written = dt.datetime.fromtimestamp(os.stat(path).st_mtime, dt.timezone.utc)
                    yield UnfinishedUpload(path, path, written)


def _is_dead(name: str, *, elsewhere: bool = False) -> bool:
    """Whether a file is the upload of a dead process of this host; of another host, as the caller says."""
    match = _UPLOAD_NAME.fullmatch(name)
    return match is not None and (not _alive(int(match[2])) if match[1] == _host() else elsewhere)


@functools.lru_cache(maxsize=1)
def _host() -> str:
    """Return this host, or container, as eight hex digits. Process ids are compared only within one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = space = ""
    return hashlib.blake2b(
        f"{os.uname().nodename} {boot} {space}".encode("utf-8", "surrogateescape"), digest_size=4
    ).hexdigest()


@functools.lru_cache(maxsize=1)
def writer() -> str:
    """Return this host and process, the beginning of the names of uploads."""
    return f"{_host()}-{os.getpid()}"


os.register_at_fork(after_in_child=writer.cache_clear)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
