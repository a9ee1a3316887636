"""A task class's documentation in the Airflow UI."""

from __future__ import annotations

import inspect

from airflow_kart.identity.names import logical_class_name
from airflow_kart.tasks.model import Task


def class_documentation(cls: type[Task]) -> str:
    """Return a class's docstring, name and parameters as Markdown; the same for every run."""
    parts = [inspect.cleandoc(cls.__doc__)] if cls.__doc__ else []
    parts.append(f"Class `{logical_class_name(cls)}`")
    rows = [
        f"- `{name}`{'' if parameter.significant else ' (not significant)'}: {parameter.description}"
        for name, parameter in cls.get_parameters().items()
        if parameter.description
    ]
    if rows:
        parts.append("\n".join(rows))
    return "\n\n".join(parts)
