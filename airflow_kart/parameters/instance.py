"""Parameters that hold other tasks."""

from __future__ import annotations

import json
from typing import Any

from typing_extensions import Unpack

from airflow_kart.identity import is_identifiable
from airflow_kart.modules import find_class, logical_class_name, logical_module_name
from airflow_kart.parameters.base import UNSET, Options, Parameter, described

__all__ = ["ListTaskInstanceParameter", "TaskInstanceParameter"]


class TaskInstanceParameter(Parameter[Any]):
    """A task, as an upstream that the caller chooses.

    It counts in the identity by its own unique id. As text it is JSON: the class's logical name and its parameters.
    """

    holds_tasks = True
    expected_type: type | None

    def __new__(cls, *, expected_type: type | None = None, default: Any = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a task-valued parameter.

        Args:
            expected_type: class the task must be an instance of, checked when the task is made. Type checkers
                check the annotation, ``features: TaskOnKart[pd.DataFrame]``, without it.
            default: task where none is given.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, expected_type=expected_type)

    def normalize(self, value: Any) -> Any:
        """Return the task."""
        if not is_identifiable(value):
            hint = (
                "; make an instance of it: add ()" if isinstance(value, type) and hasattr(value, "parameter_digest") else ""
            )
            raise ValueError(f"give a task instance, not {described(value)}{hint}")
        if self.expected_type is not None and not isinstance(value, self.expected_type):
            raise ValueError(f"give a {self.expected_type.__name__}, not {described(value)}")
        return value

    def parse(self, text: str) -> Any:
        """Make the task that :meth:`serialize` wrote; its class's module is imported where it is not loaded."""
        return self.normalize(_task_from(json.loads(text)))

    def serialize(self, value: Any) -> str:
        """Return JSON text of the task's class and parameters."""
        return json.dumps(_task_as_json(value), ensure_ascii=False)

    def to_json(self, value: Any) -> Any:
        """Return the task's class and unique id."""
        return {"task": logical_class_name(type(value)), "unique_id": value.unique_id}

    def json_schema(self) -> dict[str, Any]:
        """Return an ``object`` schema."""
        return {"type": "object"}

    def sample(self) -> Any:
        """There is no task to make up.

        Raises:
            ValueError: always.
        """
        raise ValueError("a template cannot stand for a task; give the task itself")

    def variation(self, value: Any) -> Any:
        """Return the same task: no form and no template offers another."""
        return value


class ListTaskInstanceParameter(TaskInstanceParameter):
    """A list of tasks, kept as a tuple."""

    def normalize(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple of tasks."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list of task instances, not {described(value)}")
        return tuple(TaskInstanceParameter.normalize(self, item) for item in value)

    def parse(self, text: str) -> tuple[Any, ...]:
        """Make the tasks that :meth:`serialize` wrote."""
        return self.normalize([_task_from(item) for item in json.loads(text)])

    def serialize(self, value: tuple[Any, ...]) -> str:
        """Return JSON text of the tasks."""
        return json.dumps([_task_as_json(item) for item in value], ensure_ascii=False)

    def to_json(self, value: tuple[Any, ...]) -> Any:
        """Return each task's class and unique id."""
        return [TaskInstanceParameter.to_json(self, item) for item in value]

    def json_schema(self) -> dict[str, Any]:
        """Return an ``array`` schema."""
        return {"type": "array"}


def _task_as_json(task: Any) -> dict[str, Any]:
    parameters = type(task).get_parameters()
    return {
        "module": logical_module_name(type(task).__module__),
        "class": type(task).__qualname__,
        "parameters": {name: parameter.serialize(getattr(task, name)) for name, parameter in parameters.items()},
    }


def _task_from(written: Any) -> Any:
    if not isinstance(written, dict) or {"module", "class", "parameters"} - written.keys():
        raise ValueError(f"{described(written)} does not describe a task: it needs module, class and parameters")
    task_class: Any = find_class(written["module"], written["class"])
    if task_class is None or not hasattr(task_class, "parameter_digest"):
        raise ValueError(f"there is no task class {written['module']}.{written['class']} here")
    return task_class.from_text(written["parameters"])
