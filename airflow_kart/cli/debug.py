"""``debug``: run one task of a pipeline here, with the inputs of production, and stop in the user's code."""

from __future__ import annotations

import argparse
import bdb
import inspect
import logging
import pdb  # noqa: T100 - the command is for debugging
import sys
import tempfile
from types import CodeType, FrameType, TracebackType
from typing import Any

from airflow_kart.audit.verification.fresh import scratch_of
from airflow_kart.cli.failure import command, described, innermost
from airflow_kart.cli.pipeline import Pipeline, named_in
from airflow_kart.cli.pipelines import pipelines
from airflow_kart.cli.run import FAILED, words_again
from airflow_kart.exceptions import ConfigurationError, is_own
from airflow_kart.runtime.inputs import inputs_of
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.seed import seed_of
from airflow_kart.runtime.session import Session
from airflow_kart.runtime.skipping import is_skip
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.outputs import load_nested, needed_targets
from airflow_kart.tasks.redaction import Redaction

_HEAD = 5
_MOST_TEXT = 2000


def debug_task(workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Run a task in a scratch directory; stop in pdb where the task fails, or where it begins. Return 1 if it failed."""
    pipeline, task = _named_task(pipelines(workspace, arguments), arguments.task)
    make = command("run", *words_again(arguments), "--only")
    with pipeline.workspace as production:
        inputs_of(task, Session(how_to_make=lambda one: f"{make} {one.unique_id}"), hashed=False)  # or raise
        print(f"{task!r}  {task.unique_id[:8]}")
        for _, required, target in needed_targets(task):
            print(f"  from {required!r}  {target.located().uri}")
    if not arguments.verbose:
        logging.disable(logging.INFO)
    debugger = _Debugger(task)
    with tempfile.TemporaryDirectory(prefix="kart-debug-") as directory, scratch_of(production, directory):
        print(f"  it writes to {directory}, which is removed at the end, and nowhere else")
        if arguments.trace:
            debugger.stop_at_start()
        try:
            run_task(task, force=True, reason="for its debugger")
        except bdb.BdbQuit:
            return 0
        except Exception as error:  # noqa: BLE001 - whatever run() raises
            sys.settrace(None)
            if is_skip(error):
                print(f"the task asks to be skipped: {error}")
                return 0
            print(described(error, task, whole=arguments.verbose))
            debugger.examine(error)
            return FAILED
        finally:
            sys.settrace(None)
        print(f"the task did not fail; its random numbers had the seed {seed_of(task)}; its value:")
        print(Redaction(task).text(_head(load_nested(task.output()))))
    return 0


def _named_task(found: list[Pipeline], name: str) -> tuple[Pipeline, Task]:
    named = named_in(found, name)
    tasks = {unique_id: pipeline.graph.nodes[unique_id].task for pipeline, unique_id in named}
    if len(tasks) > 1:
        lines = [f"  {unique_id[:8]}  {task!r}" for unique_id, task in tasks.items()]
        raise ConfigurationError(f"{name} names {len(tasks)} tasks; name one of them:\n" + "\n".join(lines))
    pipeline, unique_id = named[0]
    return pipeline, tasks[unique_id]


class _Debugger(pdb.Pdb):
    """pdb, in the user's frames: neither steps into this package nor shows frames of it."""

    def __init__(self, task: Task) -> None:
        super().__init__(skip=["airflow_kart", "airflow_kart.*"], nosigint=True)
        self._task = task
        self._run: CodeType | None = getattr(inspect.unwrap(type(task).run), "__code__", None)
        self._begun = True

    def stop_at_start(self) -> None:
        """Trace this thread from now on, and stop at the first line of ``run()``."""
        self._begun = False
        self.reset()
        self.set_step()
        sys.settrace(self.trace_dispatch)

    def user_line(self, frame: FrameType) -> None:
        """Stop at a line; before the first line of ``run()``, go on."""
        if self._begun or frame.f_code is self._run:
            self._begun = True
            super().user_line(frame)

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        """Stop at the first line of a function rather than at its call."""

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """Stop at a return, once ``run()`` has begun."""
        if self._begun:
            super().user_return(frame, return_value)

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        """Stop at an exception, once ``run()`` has begun."""
        if self._begun:
            super().user_exception(frame, exc_info)

    def examine(self, error: BaseException) -> None:
        """Stop where an error was raised, in the innermost frame of the user's code; ``up`` and ``down`` lead to others."""
        self.reset()
        self.interaction(None, error.__traceback__)

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """Return the frames from the task's ``run()`` on, and the number of the one to stop in."""
        stack, _ = super().get_stack(f, t)
        own = [pair for pair in stack if pair[0] is f or not is_own(pair[0].f_code.co_filename)]
        first = next((number for number, (frame, _) in enumerate(own) if frame.f_code is self._run), 0)
        shown = own[first:] or stack
        return shown, len(shown) - 1 if f is not None else innermost([frame for frame, _ in shown], self._task) or 0


def _head(value: Any) -> str:
    """Return the first rows of a table, or the beginning of another object's text."""
    if hasattr(value, "head") and hasattr(value, "columns"):
        return str(value.head(_HEAD))
    text = repr(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
