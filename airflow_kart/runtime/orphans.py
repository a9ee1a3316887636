"""Worker processes that end when the process that started them dies."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """End this process, a child of :mod:`multiprocessing`, as soon as its parent dies, however the parent dies.

    On Linux the kernel kills this process, even while its code holds Python's global lock. Elsewhere, and where the kernel
    refuses, a thread waits for the parent. Ending at once is safe: half of an artifact is never visible, the kernel
    frees file locks, and other runs take over leases after their time to live.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_end_after, args=(parent,), name="kart-orphan", daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()  # ends at once where the parent has died before
    os._exit(1)
