"""The captions of tasks in views: title, state, parameters."""

from __future__ import annotations

import json

from airflow_kart.artifacts.sidecar.jsonable import Json, as_json
from airflow_kart.parameters import ParameterVisibility
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.nesting import KeyPath
from airflow_kart.views.survey import SurveyedTask


def title(task: Task) -> str:
    """Return a task's class and short unique id."""
    return f"{one_line(type(task).__name__)}[{short_id(task)}]"


def short_id(task: Task) -> str:
    """Return the first eight digits of a task's unique id."""
    return task.unique_id[:8]


def state_texts(task: SurveyedTask) -> list[str]:
    """Return ``complete`` with the task's duration, then what else a reader should know, or ``missing`` with the reason."""
    if not task.complete:
        return [f"missing: {one_line(task.reason)}"]
    state = "complete" if task.seconds is None else f"complete, {_duration(task.seconds)}"
    return [state, one_line(task.note)] if task.note else [state]


def key_text(path: KeyPath) -> str:
    """Return the keys that lead to a required task, ``train[0]``; empty where ``requires()`` returns the task itself."""
    first, *rest = path or ("",)
    return one_line(str(first) + "".join(f"[{key!r}]" for key in rest))


def public_parameters(task: Task) -> dict[str, Json]:
    """Return a task's parameters as JSON, without the private ones; a task among them is its class and unique id."""
    return {
        name: as_json(parameter.to_json(getattr(task, name)))
        for name, parameter in task.get_parameters().items()
        if parameter.visibility is not ParameterVisibility.PRIVATE
    }


def parameter_texts(task: Task, longest: int) -> list[str]:
    """Return a task's parameters but the private ones, each as ``name=value`` in at most ``longest`` characters."""
    texts = []
    for name, value in public_parameters(task).items():
        held = getattr(task, name) if task.get_parameters()[name].holds_tasks else None
        if held is None:
            text = as_text(value)
        else:
            text = ", ".join(title(one) for one in held) if isinstance(held, tuple) else title(held)
        whole = f"{name}={text}"
        texts.append(whole if len(whole) <= longest else f"{whole[: longest - 3]}...")
    return texts


def as_text(value: object) -> str:
    """Return a JSON value as one line."""
    return one_line(json.dumps(value, ensure_ascii=False))


def one_line(text: str) -> str:
    """Return a text on one line: unprintable characters become Python escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
