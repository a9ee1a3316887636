"""Parameters that hold other tasks."""

from __future__ import annotations

import json
from typing import Any

from typing_extensions import Unpack

from airflow_kart.identity.encoding import Identified
from airflow_kart.identity.names import find_class, logical_class_name, logical_module_name
from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

__all__ = [
    "ListTaskInstanceParameter",
    "OptionalListTaskInstanceParameter",
    "OptionalTaskInstanceParameter",
    "TaskInstanceParameter",
]


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

    def check_options(self) -> None:
        """Check the expected class."""
        if self.expected_type is not None and not isinstance(self.expected_type, type):
            raise ValueError(f"expected_type is {described(self.expected_type)}; give a class")

    def normalize(self, value: Any) -> Any:
        """Return the task."""
        if not isinstance(value, Identified):
            hint = "; make an instance of it: add ()" if isinstance(value, type) and issubclass(value, Identified) else ""
            raise ValueError(f"give a task instance, not {described(value)}{hint}")
        if self.expected_type is not None and not isinstance(value, self.expected_type):
            raise ValueError(f"give a {self.expected_type.__name__}, not {described(value)}")
        return value

    def parse(self, text: str) -> Any:
        """Make the task that :meth:`serialize` wrote; its class's module is imported where it is not loaded."""
        return self.from_json(json.loads(text))

    def serialize(self, value: Any) -> str:
        """Return JSON text of the task's class and parameters."""
        return json.dumps(self.written(value), ensure_ascii=False)

    def from_json(self, value: Any) -> Any:
        """Make the task that :meth:`written` describes; a task, as a binding may have one, stands for itself."""
        return self.normalize(value if isinstance(value, Identified) else _task_from(value))

    def written(self, value: Any) -> Any:
        """Return JSON of the task's class and parameters, those of tasks inside included."""
        return _task_as_json(value)

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


class _OptionalInstance(OptionalOf[Any], TaskInstanceParameter):
    """What optional parameters of tasks share: ``None`` is written as ``null``."""

    def written(self, value: Any) -> Any:
        """Return JSON of what is held, ``null`` for ``None``."""
        return None if value is None else super().written(value)

    def variation(self, value: Any) -> Any:
        """Return the same: no form and no template offers another."""
        return value


class OptionalTaskInstanceParameter(_OptionalInstance):
    """A task, or ``None``; see :class:`TaskInstanceParameter`."""

    def __new__(cls, *, expected_type: type | None = None, default: Any = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a parameter of a task or ``None``; see :class:`TaskInstanceParameter`."""
        return cls._declare(default, options, expected_type=expected_type)


class ListTaskInstanceParameter(TaskInstanceParameter):
    """A list of tasks, kept as a tuple."""

    def __new__(  # type: ignore[misc]
        cls, *, expected_type: type | None = None, default: Any = UNSET, **options: Unpack[Options]
    ) -> tuple[Any, ...]:
        """Declare a parameter of several tasks; see :class:`TaskInstanceParameter`."""
        return cls._declare(default, options, expected_type=expected_type)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple of tasks."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list of task instances, not {described(value)}")
        return tuple(TaskInstanceParameter.normalize(self, item) for item in value)

    def from_json(self, value: Any) -> tuple[Any, ...]:
        """Make the tasks that :meth:`written` describes; tasks stand for themselves."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list of tasks, not {described(value)}")
        return self.normalize([item if isinstance(item, Identified) else _task_from(item) for item in value])

    def written(self, value: tuple[Any, ...]) -> Any:
        """Return JSON of the tasks."""
        return [_task_as_json(item) for item in value]

    def to_json(self, value: tuple[Any, ...]) -> Any:
        """Return each task's class and unique id."""
        return [TaskInstanceParameter.to_json(self, item) for item in value]

    def json_schema(self) -> dict[str, Any]:
        """Return an ``array`` schema."""
        return {"type": "array"}


class OptionalListTaskInstanceParameter(_OptionalInstance, ListTaskInstanceParameter):
    """A list of tasks, kept as a tuple, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, expected_type: type | None = None, default: Any = UNSET, **options: Unpack[Options]
    ) -> tuple[Any, ...] | None:
        """Declare a parameter of several tasks or ``None``; see :class:`TaskInstanceParameter`."""
        return cls._declare(default, options, expected_type=expected_type)  # type: ignore[no-any-return]


def _task_as_json(task: Any) -> dict[str, Any]:
    written = {}
    for name, parameter in type(task).get_parameters().items():
        value = getattr(task, name)
        written[name] = parameter.written(value) if parameter.holds_tasks else parameter.serialize(value)
    return {
        "module": logical_module_name(type(task).__module__),
        "class": type(task).__qualname__,
        "parameters": written,
    }


def _task_from(written: Any) -> Any:
    parts = {"module": str, "class": str, "parameters": dict}
    if not isinstance(written, dict) or any(not isinstance(written.get(part), kind) for part, kind in parts.items()):
        raise ValueError(f"{described(written)} does not describe a task: it needs module, class and parameters")
    task_class: Any = find_class(written["module"], written["class"])
    if task_class is None or not issubclass(task_class, Identified):
        raise ValueError(f"there is no task class {written['module']}.{written['class']} here")
    known = task_class.get_parameters()
    values = {
        name: known[name].read(text, task_class.__qualname__, name) if name in known else text
        for name, text in written["parameters"].items()
    }
    return task_class(**values)
