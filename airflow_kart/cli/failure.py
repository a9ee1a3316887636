"""A task that failed: the words of its error, and the frames of the user's code."""

from __future__ import annotations

import linecache
import shlex
import traceback
from collections.abc import Sequence
from types import FrameType

from airflow_kart.identity.lookup import is_file_of_project
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.redaction import Redaction


def innermost(frames: Sequence[FrameType], task: Task | None = None) -> int | None:
    """Return the number of the innermost frame of the project's code, else that of ``run()``; ``None`` where there is neither."""
    own = [number for number, frame in enumerate(frames) if is_file_of_project(frame.f_code.co_filename)]
    run = [n for n, frame in enumerate(frames) if frame.f_code.co_name == "run" and frame.f_locals.get("self") is task]
    return next(iter([*own[-1:], *run[-1:]]), None)


def described(error: BaseException, task: Task | None, *, whole: bool = False) -> str:
    """Return an error in few lines: what it is, and the place in the user's code; without secrets.

    Args:
        error: the error.
        task: the task whose secrets are left out.
        whole: with the traceback.
    """
    lines = ["".join(traceback.format_exception(error) if whole else traceback.format_exception_only(error)).rstrip()]
    steps = list(traceback.walk_tb(error.__traceback__))
    place = innermost([frame for frame, _ in steps], task)
    if place is not None:
        (frame, line), file = steps[place], steps[place][0].f_code.co_filename
        lines.append(f"  {file}:{line}, in {getattr(frame.f_code, 'co_qualname', frame.f_code.co_name)}")
        lines += [f"    {text}" for text in (linecache.getline(file, line).strip(),) if text]
    text = "\n".join(lines)
    return text if task is None else Redaction(task).text(text)


def command(*words: str) -> str:
    """Return a command line of this package."""
    return shlex.join(["airflow-kart", *words])
