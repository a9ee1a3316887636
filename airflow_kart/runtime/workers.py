"""Processes that run the tasks of a plan, each as soon as its inputs are there."""

from __future__ import annotations

import json
import logging
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from airflow_kart.exceptions import IdentityError, TaskFailedError
from airflow_kart.runtime.orphans import end_with_parent
from airflow_kart.runtime.parcel import Parcel
from airflow_kart.runtime.plan import Outcome, Plan
from airflow_kart.runtime.progress import Event, Listener
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.skipping import Skips, is_skip
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task

__all__ = ["make_in_processes"]

_LONGEST_TEXT = 150  # characters, of at most 12 bytes; a pipe takes 4 KiB from several processes without mixing it up

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
    from airflow_kart.formats.pickle import dumps

    workspace = Workspace.current()
    todo = {node.unique_id: node for node in plan.with_outcome(Outcome.RUN)}
    waiting = {key: {needed for _, needed in node.inputs if needed in todo} for key, node in todo.items()}
    running: dict[Future[None], str] = {}
    context = multiprocessing.get_context("spawn")
    with (
        _listening(context, listener) as speaker,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(speaker,)) as pool,
    ):
        try:
            while waiting or running:
                for key in [key for key, needed in waiting.items() if not needed]:
                    del waiting[key]
                    job = dumps((todo[key].task, key, plan.tasks[key].forced, plan.tasks[key].reason, workspace))
                    running[pool.submit(_run_pickled, job)] = key
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        future.result()
                    except Exception as error:
                        if not is_skip(error):
                            raise
                        for task, reason in skips.add(todo[running[future]].task, error):
                            waiting.pop(task.unique_id, None)
                            listener.happens(Event("skipped", task.unique_id, repr(task), reason))
                    finished = running.pop(future)
                    for needed in waiting.values():
                        needed.discard(finished)
        except BrokenProcessPool as error:
            tasks = ", ".join(repr(todo[key].task) for key in running.values())
            raise TaskFailedError(
                f"a process that ran one of {tasks} died; it was killed, or the machine ran out of memory (then use fewer "
                "workers). What was published is kept, and nothing is half published: run it again"
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _listening(context: Any, listener: Listener) -> Iterator[Connection]:
    """Give the pipe into which processes send events; pass these on until all processes have ended."""
    ear, speaker = context.Pipe(duplex=False)

    def pass_on() -> None:
        while True:
            try:
                event = Event(*json.loads(ear.recv_bytes()))
            except EOFError:
                return
            logger.info("%s %s%s", event.task, event.kind, f": {event.words}" if event.words else "")
            listener.happens(event)

    thread = threading.Thread(target=pass_on, name="kart-progress", daemon=True)
    thread.start()
    try:
        yield speaker
    finally:
        speaker.close()
        thread.join()
        ear.close()


class _Teller:
    """Sends the events of tasks to the parent process."""

    def __init__(self, speaker: Connection) -> None:
        self._speaker = speaker

    def happens(self, event: Event) -> None:
        """Send an event, if the parent still listens."""
        short = event._replace(task=event.task[:_LONGEST_TEXT], words=event.words[:_LONGEST_TEXT])
        try:
            self._speaker.send_bytes(json.dumps(short).encode())
        except OSError as error:
            logger.debug("nobody listens: %s", error)


_tellers: list[_Teller] = []  # at most one: the process's own


def _begin(speaker: Connection) -> None:
    end_with_parent()
    _tellers[:] = [_Teller(speaker)]


def _run_pickled(job: bytes) -> None:
    task, unique_id, forced, reason, workspace = pickle.loads(job)
    try:
        _refuse_other_identity(task, unique_id)
        with workspace:
            run_task(task, force=forced, reason=reason, planned=True, session=Session(listener=_tellers[0]))
    except BaseException as error:  # noqa: BLE001 - it is raised again, packed
        raise Parcel(error, repr(task)).with_traceback(error.__traceback__) from error.__cause__


def _refuse_other_identity(task: Task, unique_id: str) -> None:
    if task.unique_id != unique_id:
        raise IdentityError(
            f"{task!r} has the unique id {task.unique_id} in a worker process, but {unique_id} in the one that started it; "
            "its requires() or its parameters depend on the process"
        )
