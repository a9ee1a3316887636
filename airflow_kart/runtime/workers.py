"""Processes that run the tasks of a plan, each as soon as its inputs are there."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import pickle
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
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
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.resolution import Classes, resolve

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
            for number, message in crew.messages():
                task = jobs[number].task
                if isinstance(message, Event):
                    logger.info("%s %s%s", message.task, message.kind, f": {message.words}" if message.words else "")
                    listener.happens(message)
                elif message is None:
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


class _Crew:
    """Processes, each at the other end of a pipe of its own.

    All jobs go to a process in one pickle, each task after its upstream: so tasks in the parameters of many others go once,
    and long chains of them need no deep stack. Then the process gets the number of one job at a time.
    """

    def __init__(self, jobs: list[_Job], workers: int) -> None:
        from airflow_kart.formats.pickle import dumps

        self._jobs = jobs
        self._pickled = dumps((jobs, Workspace.current()))
        self._notebook = for_workers()
        self._workers = workers
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

    def messages(self) -> Iterator[tuple[int, Event | BaseException | None]]:
        """Wait for messages, and return them with the jobs' numbers: an event, an error, or ``None`` for a job's good end.

        Raises:
            TaskFailedError: a process died before its first job.
        """
        for pipe in wait(list(self._processes)):
            assert isinstance(pipe, Connection)
            number = self.running.get(pipe)
            try:
                message = pipe.recv()
                if number is None:  # the process has started
                    pipe.send_bytes(self._pickled)
            except (EOFError, OSError):
                self._processes.pop(pipe).join()
                message = _died(None if number is None else self._jobs[number].task)
                if number is None:
                    raise message from None
            if not isinstance(message, Event):
                self.running.pop(pipe, None)
                if pipe in self._processes:
                    self._idle.append(pipe)
            if number is not None:
                yield number, message

    def close(self) -> None:
        """Let the processes end after their present jobs."""
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


@dataclass(frozen=True)
class _Teller:
    """Sends the events of tasks to the parent process."""

    pipe: Connection

    def happens(self, event: Event) -> None:
        """Send an event, if the parent still listens."""
        with suppress(OSError):
            self.pipe.send(event)


def _work(pipe: Connection, notebook: Notebook | None, aside: bool) -> None:
    """Run jobs, of the parent's notebook perhaps, until the parent closes the other end of the pipe; print as the parent does."""
    end_with_parent()
    if aside:
        sys.stdout = sys.stderr
    inherit(notebook)
    known, classes = dict[bytes, Task](), Classes({}, {})
    with suppress(EOFError, OSError, KeyboardInterrupt), States() as states:
        session = Session(listener=_Teller(pipe), states=states)
        pipe.send(None)
        pickled = pipe.recv_bytes()
        while True:
            pipe.send(_outcome(pickled, pipe.recv(), known, classes, session))


def _outcome(pickled: bytes, number: int, known: dict[bytes, Task], classes: Classes, session: Session) -> Parcel | None:
    """Run a job, unless its task has another unique id in this process: run() would load other inputs. Return the error."""
    words = "a task"
    try:
        jobs, workspace = _unpickled(pickled)
        task, unique_id, decided = jobs[number]
        words = repr(task)
        with workspace:
            if (own := resolve(task, known, classes).unique_id) != unique_id:
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
    return pickle.loads(pickled)  # type: ignore[no-any-return]  # the parent has pickled them
