"""Parameters that hold other tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from airflow_kart.identity.encoding import Identified
from airflow_kart.identity.lookup import LOOKED_UP, find_class
from airflow_kart.identity.names import logical_class_name, logical_module_name, require_present
from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf


class TaskInstanceParameter(Parameter[Any]):
    """A task: an upstream that the caller chooses.

    The task's unique id counts in the identity. As text a task is JSON: the class's logical name and the parameters.
    """

    holds_tasks = True
    expected_type: type | None

    if not TYPE_CHECKING:

        def __class_getitem__(cls, _task_class: object) -> type:
            """Return the class: gokart's ``TaskInstanceParameter[Train]`` names the task class for type checkers only."""
            return cls

    def __new__(cls, *, expected_type: type | None = None, default: object = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a task-valued parameter.

        Args:
            expected_type: class of which the given task must be an instance. Type checkers need only the annotation,
                ``features: TaskOnKart[pd.DataFrame]``.
            default: task where the caller gives none.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, expected_type=expected_type)

    def check_options(self) -> None:
        """Check the expected class."""
        if self.expected_type is not None and not isinstance(self.expected_type, type):
            raise ValueError(f"expected_type is {described(self.expected_type)}; give a class")

    def normalize(self, value: object) -> Any:
        """Return the task."""
        if not isinstance(value, Identified):
            hint = "; make an instance of it: add ()" if isinstance(value, type) and issubclass(value, Identified) else ""
            raise ValueError(f"give a task instance, not {described(value)}{hint}")
        if self.expected_type is not None and not isinstance(value, self.expected_type):
            require_present(type(value), value)
            raise ValueError(f"give a {self.expected_type.__name__}, not {described(value)}")
        return value

    def parse(self, text: str) -> Any:
        """Make the task from the text that :meth:`serialize` wrote; see :mod:`airflow_kart.identity.lookup`."""
        return self.from_json(json.loads(text))

    def serialize(self, value: object) -> str:
        """Return JSON text of the task's class and parameters."""
        return json.dumps(self.written(value), ensure_ascii=False)

    def from_json(self, value: object) -> Any:
        """Make the task from the JSON that :meth:`written` wrote; return a task, which a binding may hold, unchanged."""
        return self.normalize(value if isinstance(value, Identified) else _task_from(value))

    def written(self, value: Any) -> object:
        """Return JSON of the task's class and parameters, and of the tasks that the task holds."""
        return _task_as_json(value)

    def to_json(self, value: Any) -> Any:
        """Return the task's class and unique id."""
        return {"task": logical_class_name(type(value)), "unique_id": value.unique_id}

    def json_schema(self) -> dict[str, object]:
        """Return an ``object`` schema."""
        return {"type": "object"}

    def sample(self) -> object:
        """Refuse: the package cannot make up a task.

        Raises:
            ValueError: always.
        """
        raise ValueError("a template cannot stand for a task; give the task itself")

    def variation(self, value: Any) -> Any:
        """Return the same task: neither a form nor a template offers another."""
        return value


class _OptionalInstance(OptionalOf[Any], TaskInstanceParameter):
    """The common part of optional parameters of tasks: ``None`` is ``null`` in JSON."""

    def written(self, value: Any) -> object:
        """Return JSON of the tasks, ``null`` for ``None``."""
        return None if value is None else super().written(value)

    def variation(self, value: Any) -> Any:
        """Return the same tasks: neither a form nor a template offers others."""
        return value


class OptionalTaskInstanceParameter(_OptionalInstance):
    """A task, or ``None``; see :class:`TaskInstanceParameter`."""

    def __new__(cls, *, expected_type: type | None = None, default: object = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a parameter of a task or ``None``; see :class:`TaskInstanceParameter`."""
        return cls._declare(default, options, expected_type=expected_type)


class ListTaskInstanceParameter(TaskInstanceParameter):
    """A list of tasks, held as a tuple."""

    def __new__(  # type: ignore[misc]
        cls, *, expected_type: type | None = None, default: object = UNSET, **options: Unpack[Options]
    ) -> tuple[Any, ...]:
        """Declare a parameter of several tasks; see :class:`TaskInstanceParameter`."""
        return cls._declare(default, options, expected_type=expected_type)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> tuple[Any, ...]:
        """Return a tuple of tasks."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list of task instances, not {described(value)}")
        return tuple(TaskInstanceParameter.normalize(self, item) for item in value)

    def from_json(self, value: object) -> tuple[object, ...]:
        """Make the tasks from the JSON that :meth:`written` wrote; return tasks unchanged."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list of tasks, not {described(value)}")
        return self.normalize([item if isinstance(item, Identified) else _task_from(item) for item in value])

    def written(self, value: tuple[object, ...]) -> object:
        """Return JSON of the tasks."""
        return [_task_as_json(item) for item in value]

    def to_json(self, value: tuple[object, ...]) -> list[dict[str, str]]:
        """Return each task's class and unique id."""
        return [TaskInstanceParameter.to_json(self, item) for item in value]

    def json_schema(self) -> dict[str, object]:
        """Return an ``array`` schema."""
        return {"type": "array"}


class OptionalListTaskInstanceParameter(_OptionalInstance, ListTaskInstanceParameter):
    """A list of tasks, held as a tuple, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, expected_type: type | None = None, default: object = UNSET, **options: Unpack[Options]
    ) -> tuple[Any, ...] | None:
        """Declare a parameter of several tasks or ``None``; see :class:`TaskInstanceParameter`."""
        return cls._declare(default, options, expected_type=expected_type)  # type: ignore[no-any-return]


def _task_as_json(task: Any) -> dict[str, object]:
    written = {}
    for name, parameter in type(task).get_parameters().items():
        value = getattr(task, name)
        written[name] = parameter.written(value) if parameter.holds_tasks else parameter.serialize(value)
    return {
        "module": logical_module_name(type(task).__module__),
        "class": type(task).__qualname__,
        "parameters": written,
    }


def _task_from(written: object) -> object:
    parts = {"module": str, "class": str, "parameters": dict}
    if not isinstance(written, dict) or any(not isinstance(written.get(part), kind) for part, kind in parts.items()):
        raise ValueError(f"{described(written)} does not describe a task; give an object with module, class and parameters")
    found = find_class(written["module"], written["class"])
    if found is None or not issubclass(found, Identified):
        raise ValueError(f"there is no task class {written['module']}.{written['class']} here; {LOOKED_UP}")
    task_class: Any = found
    known = task_class.get_parameters()
    values = {
        name: known[name].read(text, task_class.__qualname__, name) if name in known else text
        for name, text in written["parameters"].items()
    }
    task: object = task_class(**values)
    return task
