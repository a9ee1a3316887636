"""Temporary folders, of which those of killed processes do not stay."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

_PREFIX = "kart-model-"
_SECONDS_TO_LOCK = 60.0


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """Yield the path of an empty folder, removed after the block.

    The process locks the folder. The kernel frees the lock of a killed process, so the next process finds and removes its
    folder.
    """
    _remove_abandoned(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, contextlib.ExitStack() as ending:
        _lock(folder, ending)
        yield folder


@functools.lru_cache(maxsize=8)
def _remove_abandoned(parent: str) -> None:
    """Remove, once per process, the folders that nobody has locked."""
    for folder in glob.glob(os.path.join(glob.escape(parent), f"{_PREFIX}*")):
        with contextlib.suppress(OSError), contextlib.ExitStack() as ending:
            age = time.time() - os.stat(folder, follow_symlinks=False).st_mtime
            if age > _SECONDS_TO_LOCK and _lock(folder, ending):  # else it may be about to lock its new folder
                shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: str, ending: contextlib.ExitStack) -> bool:
    """Lock a folder of this user until the end; return whether nobody else holds it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        ending.callback(os.close, descriptor)
        if os.fstat(descriptor).st_uid != os.getuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
