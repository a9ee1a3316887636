"""A task's label: the few values that tell the task apart from others of its class, such as ``day=2024-05-06``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol


class Labelled(Protocol):
    """A task, as far as labels go."""

    @classmethod
    def get_parameters(cls) -> Mapping[str, Any]:
        """Return the parameters by name."""
        ...


_MOST_VALUES = 4
_MOST_TASKS = 16
_LONGEST = 120


def label(task: Labelled) -> str:
    """Return the significant public values that differ from their defaults: the task's own, then those of tasks that it holds.

    A class without such values shows its own defaults. Equal values of several tasks appear once. A value of a held task has
    the name of the way there, ``actual.day``, where the plain name stands for another value.
    """
    found: dict[str, str] = {}
    ways = deque[tuple[str, Labelled]]([("", task)])
    for _ in range(_MOST_TASKS):
        if not ways or len(found) >= _MOST_VALUES:
            break
        way, one = ways.popleft()
        for name, text in _values(one, telling=True).items():
            plain = "[" not in way and found.get(name, text) == text
            found.setdefault(name if plain else f"{way}{name}", text)
        for name, parameter in one.get_parameters().items():
            held: Any = vars(one).get(name) if parameter.holds_tasks else None
            if isinstance(held, tuple):
                ways.extend((f"{way}{name}[0].", first) for first in held[:1])
            elif held:
                ways.append((f"{way}{name}.", held))
    shown = ", ".join(f"{name}={text}" for name, text in [*(found or _values(task, telling=False)).items()][:_MOST_VALUES])
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def class_and_label(task: Labelled) -> str:
    """Return a task in short: ``Features(day=2024-05-06)``."""
    return f"{type(task).__qualname__}({label(task) or '...'})"


def _values(task: Labelled, *, telling: bool) -> dict[str, str]:
    """Return the texts of a task's significant public values; with ``telling`` only of those that are no defaults."""
    values: dict[str, str] = {}
    for name, parameter in task.get_parameters().items():
        if parameter.significant and not parameter.is_private and not parameter.holds_tasks:
            text = parameter.shown(vars(task).get(name))
            if not telling or parameter.required or text != parameter.shown(parameter.default):
                values[name] = text
    return values
