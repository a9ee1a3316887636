"""Processes that run the tasks of a plan, each as soon as its inputs are there."""

from __future__ import annotations

import functools
import gc
import logging
import multiprocessing
import pickle
import selectors
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from airflow_kart.exceptions import IdentityError, TaskFailedError
from airflow_kart.identity.code.cells import for_workers
from airflow_kart.identity.notebook import Notebook, inherit
from airflow_kart.runtime.orphans import end_with_parent
from airflow_kart.runtime.outcome import Outcome
from airflow_kart.runtime.parcel import Parcel
from airflow_kart.runtime.plan import Plan, PlannedTask
from airflow_kart.runtime.progress import Event, Listener
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.seed import States
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.skipping import Skips, is_skip
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Resolution, Task
from airflow_kart.tasks.resolution import Classes, resolve, uncollected

_LAST = frozenset({"ran", "reused", "cached", "failed"})

logger = logging.getLogger(__name__)


def make_in_processes(plan: Plan, workers: int, listener: Listener, skips: Skips) -> None:
    """Run the planned tasks in spawned processes.

    Args:
        plan: the outcome of each task.
        workers: the number of processes.
        listener: receives the events of each task.
        skips: receives the tasks that ask to be skipped.

    Raises:
        TaskFailedError: a process died.
        Exception: any error of a task's ``run()``, after the end of the tasks that run by then.
    """
    todo = plan.with_outcome(Outcome.RUN)
    numbers = {node.unique_id: number for number, node in enumerate(todo)}
    lacking = [len({needed for _, needed in node.inputs if needed in numbers}) for node in todo]
    ready = deque(number for number, count in enumerate(lacking) if not count)
    jobs = [_Job(node.task, node.unique_id, plan.tasks[node.unique_id]) for node in todo]
    failure: BaseException | None = None
    with closing(_Crew(jobs, workers)) as crew:
        while crew.running or (ready and failure is None):
            if failure is None:
                crew.assign(ready)
            for number, event, ended in crew.messages():
                task = jobs[number].task
                if event is not None:
                    logger.info("%s %s%s", event.task, event.kind, f": {event.words}" if event.words else "")
                    listener.happens(event)
                if ended is None:
                    continue
                message = ended.error
                if message is None:
                    consumers = [numbers[key] for key in plan.graph.consumers[task.unique_id] if key in numbers]
                    ready.extend(_without(consumers, lacking))
                elif isinstance(message, Exception) and is_skip(message):
                    for skipped, reason in skips.add(task, message):
                        listener.happens(Event("skipped", skipped.unique_id, repr(skipped), reason))
                else:
                    failure = failure or message
    if failure is not None:
        raise failure


def _without(consumers: list[int], lacking: list[int]) -> Iterator[int]:
    """Count one missing input less for each consumer; return those that lack none."""
    for consumer in consumers:
        lacking[consumer] -= 1
        if not lacking[consumer]:
            yield consumer


class _Job(NamedTuple):
    task: Task
    unique_id: str
    planned: PlannedTask


class _End(NamedTuple):
    """A process's last message about a job."""

    event: Event | None = None
    """What happened last to the job's task."""
    error: BaseException | None = None


class _Crew:
    """Processes, each at the other end of a pipe of its own.

    All jobs go to a process in one pickle, each task after its upstream: so tasks in the parameters of many others go once,
    and long chains of them need no deep stack. Then the process gets the number of one job at a time.
    """

    def __init__(self, jobs: list[_Job], workers: int) -> None:
        self._jobs = jobs
        self._notebook = for_workers()
        self._workers = workers
        self._selector = selectors.DefaultSelector()
        self._pickled = b""
        self._processes: dict[Connection, BaseProcess] = {}
        self._idle: list[Connection] = []
        self.running: dict[Connection, int] = {}
        """The number of each process's job."""

    def assign(self, ready: deque[int]) -> None:
        """Give jobs to idle processes; start processes for the rest of the jobs."""
        while self._idle and ready:
            pipe = self._idle.pop()
            self.running[pipe] = ready.popleft()
            with suppress(OSError):  # the process has died, as messages() will tell
                pipe.send(self.running[pipe])
        while len(self._processes) < min(self._workers, len(self.running) + len(ready)):
            pipe, end = multiprocessing.Pipe()
            aside = sys.stdout is sys.stderr
            with end:
                process = multiprocessing.get_context("spawn").Process(target=_work, args=(end, self._notebook, aside))
                process.start()
            self._processes[pipe] = process
            self._selector.register(pipe, selectors.EVENT_READ)
        if not self._pickled:  # now, while the processes start
            from airflow_kart.formats.pickle import dumps

            self._pickled = dumps((self._jobs, Workspace.current()))

    def messages(self) -> Iterator[tuple[int, Event | None, _End | None]]:
        """Wait for messages, and return them with the jobs' numbers: events, and for a job's last message its end.

        Raises:
            TaskFailedError: a process died before its first job.
        """
        for key, _ in self._selector.select():
            pipe: Connection = key.fileobj  # type: ignore[assignment]  # as registered
            number = self.running.get(pipe)
            try:
                message = pipe.recv()
                if number is None:  # the process has started
                    pipe.send_bytes(self._pickled)
            except (EOFError, OSError):
                self._selector.unregister(pipe)
                self._processes.pop(pipe).join()
                error = _died(None if number is None else self._jobs[number].task)
                if number is None:
                    raise error from None
                message = _End(error=error)
            if isinstance(message, Event):
                yield self.running[pipe], message, None
                continue
            self.running.pop(pipe, None)
            if pipe in self._processes:
                self._idle.append(pipe)
            if number is not None:
                yield number, message.event, message

    def close(self) -> None:
        """Let the processes end after their present jobs."""
        self._selector.close()
        for pipe in self._processes:
            pipe.close()
        for process in self._processes.values():
            process.join()


def _died(task: Task | None) -> TaskFailedError:
    what = "had no task yet" if task is None else f"ran {task!r}"
    return TaskFailedError(
        f"a process that {what} died: it was killed, or the machine ran out of memory (then use fewer workers), or a script "
        "calls build(workers=...) outside of a block `if __name__ == '__main__':`. What was published is kept, and nothing is "
        "half published: run it again",
        task=None if task is None else repr(task),
    )


class _Teller:
    """Sends the events of tasks to the parent process, the last one of a job's own task with the job's end."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._job = ""
        self._last: Event | None = None

    def begin(self, unique_id: str) -> None:
        """Begin the job of a task."""
        self._job, self._last = unique_id, None

    def happens(self, event: Event) -> None:
        """Send an event, if the parent still listens."""
        self._tell(self._last)
        self._last = event if event.unique_id == self._job and event.kind in _LAST else None
        if self._last is None:
            self._tell(event)

    def end(self, error: Parcel | None) -> None:
        """Send a job's end.

        Raises:
            OSError: the parent does not listen any more.
        """
        last, self._last = self._last, None
        self._pipe.send(_End(last, error))  # type: ignore[arg-type]  # a parcel comes out as the exception itself

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            with suppress(OSError):
                self._pipe.send(event)


def _work(pipe: Connection, notebook: Notebook | None, aside: bool) -> None:
    """Run jobs, of the parent's notebook perhaps, until the parent closes the other end of the pipe; print as the parent does."""
    end_with_parent()
    if aside:
        sys.stdout = sys.stderr
    inherit(notebook)
    resolved = functools.partial(resolve, known=dict[bytes, Task](), classes=Classes({}, {}))
    with suppress(EOFError, OSError, KeyboardInterrupt), States() as states:
        teller = _Teller(pipe)
        session = Session(listener=teller, states=states)
        pipe.send(None)
        pickled = pipe.recv_bytes()
        while True:
            teller.end(_outcome(pickled, pipe.recv(), resolved, teller, session))


def _outcome(
    pickled: bytes, number: int, resolved: Callable[[Task], Resolution], teller: _Teller, session: Session
) -> Parcel | None:
    """Run a job, unless its task has another unique id in this process: run() would load other inputs. Return the error."""
    words = "a task"
    try:
        jobs, workspace = _unpickled(pickled)
        task, unique_id, decided = jobs[number]
        words = repr(task)
        teller.begin(unique_id)
        with workspace:
            if (own := resolved(task).unique_id) != unique_id:
                raise IdentityError(
                    f"{words} has the unique id {own} in a worker process, but {unique_id} in the one that started it; its "
                    "requires() or its parameters depend on the process"
                )
            how: dict[str, Any] = {"force": decided.forced, "named": decided.named, "reason": decided.reason}
            run_task(task, **how, planned=True, session=session)
    except BaseException as error:  # noqa: BLE001 - the parent raises the error
        return Parcel(error, words)
    return None


@functools.lru_cache(maxsize=1)
def _unpickled(pickled: bytes) -> tuple[list[_Job], Workspace]:
    with uncollected():
        found: tuple[list[_Job], Workspace] = pickle.loads(pickled)  # the parent has pickled them
    gc.freeze()  # all this stays to the end of the process, and need not be looked at again and again
    return found
