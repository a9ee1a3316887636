"""Work for many tasks on a disk, in a process for each processor."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from airflow_kart.exceptions import TaskFailedError
from airflow_kart.runtime.orphans import end_with_parent
from airflow_kart.runtime.parcel import Parcel

_T = TypeVar("_T")
_R = TypeVar("_R")
_WORTH_A_PROCESS = 500
"""Items per process: a process costs some 50 ms."""


def in_shares(work: Callable[[_T], _R], items: Sequence[_T], groups: Sequence[Hashable] = ()) -> Iterator[_R]:
    """Return what a function makes of items, in their order; of many items in forked processes.

    Forks know classes that no other process could import. So everything happens here where a fork is not safe: beside other
    threads, and on kernels other than Linux.

    Args:
        work: the function; its results are pickled.
        items: its arguments.
        groups: of each item; items of equal groups are done in one process, one after the other in their order.

    Raises:
        TaskFailedError: a process died.
        Exception: any error of the function. Other items were done meanwhile.
    """
    count = min(os.cpu_count() or 1, len(items) // _WORTH_A_PROCESS)
    if count < 2 or sys.platform != "linux" or threading.active_count() > 1:
        yield from map(work, items)
        return
    fork, ends, processes = multiprocessing.get_context("fork"), [], []
    numbers: dict[Hashable, int] = {}
    places = [numbers.setdefault(group, len(numbers)) % count for group in groups or range(len(items))]
    try:
        for place in range(count):
            share = [item for item, at in zip(items, places, strict=True) if at == place]
            end, other = fork.Pipe(duplex=False)
            ends.append(end)
            with other, warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which numpy's libraries have
                processes.append(fork.Process(target=_do, args=(work, share, other, end)))
                processes[-1].start()
        for place in places:
            yield _received(ends[place])
    finally:
        for end, process in zip(ends, processes, strict=False):
            end.close()
            process.terminate()
            process.join()


def _received(end: Connection) -> Any:
    try:
        found = end.recv()
    except EOFError:
        raise TaskFailedError(
            "a process died: it was killed, or the machine ran out of memory; nothing is half done, and the same command goes on"
        ) from None
    if isinstance(found, BaseException):
        raise found
    return found


def _do(work: Callable[[_T], _R], items: Sequence[_T], pipe: Connection, of_parent: Connection) -> None:
    end_with_parent()
    of_parent.close()
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            for item in items:
                pipe.send(work(item))
        except Exception as error:  # noqa: BLE001 - the parent raises the error
            pipe.send(Parcel(error, "an adoption"))
