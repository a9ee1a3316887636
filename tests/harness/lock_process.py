"""Processes that hold locks, and can be killed or stopped while they do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from typing_extensions import Self

from airflow_kart.exceptions import LockError, LockLostError
from airflow_kart.locks import Holder, Locks, Taken

__all__ = ["LockPlace", "LockProcess", "excluded_each_other", "preload"]

_CONTEXT = multiprocessing.get_context("forkserver")  # a fork of a process that has imported everything, without threads
_CONTEXT.set_forkserver_preload([__name__])


def preload(*modules: str) -> None:
    """Have modules imported once for all processes that are started later."""
    _CONTEXT.set_forkserver_preload([__name__, *modules])


@dataclass(frozen=True)
class LockPlace:
    """Where locks are, for this process and others."""

    make: Callable[..., Locks]
    arguments: tuple[Any, ...]
    time_to_live: float | None
    """After how many seconds a dead holder's lock is to be had; ``None``: at once."""
    shared: bool = True
    """Whether other processes see them."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What other processes need besides, such as connections."""

    def locks(self) -> Locks:
        return self.make(*self.arguments)


class LockProcess:
    """A process that does with one lock what it is told to; killed at the end of the block."""

    def __init__(self, place: LockPlace) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs, place), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, *words: Any) -> Any:
        """Have something done, and return what came of it."""
        self.tell(*words)
        return self.answer()

    def tell(self, *words: Any) -> None:
        self._pipe.send(words)

    def answer(self) -> Any:
        assert self._pipe.poll(60), "no answer"
        return self._pipe.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        os.kill(self._process.pid or 0, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid or 0, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()
        self._pipe.close()


class _Worker:
    """What a process can be told to do."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self._lease: Any = None

    def acquire(self, name: str, task: str) -> str:
        found = self._locks.acquire(name, Holder(task))
        if isinstance(found, Taken):
            return "taken"
        self._lease = found
        return "got"

    def renew(self) -> str:
        try:
            self._lease.renew()
        except LockLostError:
            return "lost"
        return "held"

    def release(self) -> str:
        self._lease.release()
        return "released"

    def fork(self) -> int:
        """Leave a child behind that does nothing; return its id."""
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        return child

    def contend(self, name: str, rounds: int, note: str) -> str:
        """Take the lock some times, and note in a file each time when it is taken and when it is let go."""
        file = os.open(note, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        done = 0
        while done < rounds:
            if self.acquire(name, "contender") == "got":
                os.write(file, f"+{os.getpid()}\n".encode())
                time.sleep(0.002)
                os.write(file, f"-{os.getpid()}\n".encode())
                self._lease.release()
                done += 1
            time.sleep(0.001)
        return "done"


def _serve(pipe: Connection, place: LockPlace) -> None:
    os.environ.update(place.environment)
    worker = _Worker(place.locks())
    while True:
        what, *words = pipe.recv()
        try:
            pipe.send(getattr(worker, what)(*words))
        except LockError as error:
            pipe.send(f"error: {error}")


def excluded_each_other(note: Path) -> int:
    """Check what contenders have noted; return how often the lock was taken."""
    lines = note.read_text().splitlines()
    for taken, let_go in zip(lines[::2], lines[1::2], strict=True):
        assert taken[0] == "+" and let_go == f"-{taken[1:]}"
    return len(lines) // 2
