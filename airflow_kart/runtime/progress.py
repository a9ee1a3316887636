"""Events of tasks, and how ``build()`` shows them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple, Protocol, TextIO

from typing_extensions import Self

from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.plan import Plan

_MOST_SHOWN = 20


class Event(NamedTuple):
    """Something that happens to a task."""

    kind: Literal["runs", "waits", "ran", "reused", "cached", "skipped", "failed"]
    """``cached``: another run has made the artifact meanwhile."""
    unique_id: str
    task: str
    """The task, in words."""
    words: str = ""
    """The reason of the run, the lock holder, or the error."""
    seconds: float = 0.0
    """How long a task that ran took; of a reused one, its run of then."""


class Listener(Protocol):
    """Receives the events of tasks."""

    def happens(self, event: Event) -> None:
        """Take an event, from any thread."""
        ...


class _Silent:
    def happens(self, event: Event) -> None:
        pass


SILENT: Final[Listener] = _Silent()
"""Ignores all events."""


class Both(NamedTuple):
    """Passes each event to two listeners."""

    one: Listener
    other: Listener

    def happens(self, event: Event) -> None:
        """Take an event, from any thread."""
        self.one.happens(event)
        self.other.happens(event)


@contextmanager
def showing(plan: Plan, progress: bool | None) -> Iterator[Listener]:
    """Show the events of a plan's tasks while the block lasts.

    Args:
        plan: the plan.
        progress: as in :func:`~airflow_kart.build`.
    """
    todo = {node.unique_id for node in plan.with_outcome(Outcome.RUN)}
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not todo or sys.stderr is None or progress is False or (progress is None and not terminal):
        yield SILENT
    elif terminal:
        with _Live(todo) as live:
            yield live
    else:
        yield _Lines(todo, sys.stderr)


class _Count:
    """How many tasks of a plan have ended, and since when each runs."""

    def __init__(self, todo: set[str]) -> None:
        self._todo = todo
        self._ended: set[str] = set()
        self._began: dict[str, float] = {}

    def take(self, event: Event) -> str:
        """Count an event; return its text."""
        after = ""
        if event.kind in ("runs", "waits"):
            self._began.setdefault(event.unique_id, time.monotonic())
        else:
            self._ended |= self._todo & {event.unique_id}
            if event.unique_id in self._began:
                after = f" after {time.monotonic() - self._began.pop(event.unique_id):.1f} s"
        return f"{event.task} {event.kind}{after}" + (f": {event.words}" if event.words else "")

    @property
    def ended(self) -> int:
        return len(self._ended)

    def __str__(self) -> str:
        return f"{self.ended}/{len(self._todo)}"


class _Lines:
    """Writes a line for each event."""

    def __init__(self, todo: set[str], stream: TextIO) -> None:
        self._count = _Count(todo)
        self._stream = stream
        self._lock = threading.Lock()

    def happens(self, event: Event) -> None:
        """Write the event."""
        with self._lock:
            words = self._count.take(event)
            print(f"[{self._count}] {words}", file=self._stream, flush=True)


class _Live:
    """A display on a terminal: a bar for all tasks together, and a line for each that runs or waits."""

    def __init__(self, todo: set[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._count = _Count(todo)
        self._lock = threading.Lock()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._all = self._progress.add_task("tasks", total=len(todo), words=str(self._count))
        self._lines: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for line in self._lines.values():
            self._progress.remove_task(line)
        self._progress.stop()

    def happens(self, event: Event) -> None:
        """Show the event."""
        with self._lock:
            in_words = self._count.take(event)
            self._progress.update(self._all, completed=self._count.ended, words=str(self._count))
            if event.kind in ("runs", "waits"):
                words = "" if event.kind == "runs" else f"waits: {event.words}"
                if event.unique_id in self._lines:
                    self._progress.update(self._lines[event.unique_id], words=words)
                elif len(self._lines) < _MOST_SHOWN:
                    self._lines[event.unique_id] = self._progress.add_task(event.task, total=None, words=words)
                return
            if event.unique_id in self._lines:
                self._progress.remove_task(self._lines.pop(event.unique_id))
            if event.kind != "ran":
                self._progress.console.print(in_words, markup=False)
