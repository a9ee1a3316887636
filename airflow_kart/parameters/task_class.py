"""Parameters of task classes."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from airflow_kart.identity.encoding import Identified
from airflow_kart.identity.lookup import LOOKED_UP, find_class_named
from airflow_kart.identity.names import plain_class_name
from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

K = TypeVar("K", bound=type)


class TaskParameter(Parameter[type]):
    """A task class, of which a task makes tasks of its own; as text, the class's logical name.

    The logical name counts in the identity.
    """

    expected_type: type | None

    # Overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(cls, **options: Unpack[Options]) -> Any: ...

    @overload
    def __new__(cls, *, default: K, **options: Unpack[Options]) -> K: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, expected_type: K, **options: Unpack[Options]) -> K: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, expected_type: K, default: K, **options: Unpack[Options]) -> K: ...  # type: ignore[misc]

    def __new__(cls, *, expected_type: object = None, default: object = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a parameter of a task class.

        Args:
            expected_type: the given class must be this class or a subclass.
            default: task class where the caller gives none.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, expected_type=expected_type)

    def check_options(self) -> None:
        """Check the expected class."""
        if self.expected_type is not None and not isinstance(self.expected_type, type):
            raise ValueError(f"expected_type is {described(self.expected_type)}; give a class")

    def normalize(self, value: object) -> type:
        """Return the class."""
        if not isinstance(value, type) or not issubclass(value, Identified):
            hint = f"; give its class, {type(value).__name__}" if isinstance(value, Identified) else ""
            raise ValueError(f"give a task class, not {described(value)}{hint}")
        if self.expected_type is not None and not issubclass(value, self.expected_type):
            raise ValueError(f"give {self.expected_type.__name__} or a subclass of it, not {value.__qualname__}")
        return value

    def parse(self, text: str) -> type:
        """Find the class of a logical name; see :mod:`airflow_kart.identity.lookup`."""
        found = find_class_named(text.strip())
        if found is None:
            raise ValueError(
                f"there is no task class {text!r} here; write its module and name, as package.module.Class, and {LOOKED_UP}"
            )
        return self.normalize(found)

    def serialize(self, value: type) -> str:
        """Return the class's logical name."""
        return plain_class_name(value)

    def json_schema(self) -> dict[str, object]:
        """Return a ``string`` schema."""
        return {"type": "string", "minLength": 1}

    def sample(self) -> type:
        """Refuse: the package cannot make up a class.

        Raises:
            ValueError: always.
        """
        raise ValueError("there is no sample of a task class; give one: compile_value=...")

    def variation(self, value: type) -> type:
        """Refuse: the package cannot make up a class.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"there is no variation of the class {value.__qualname__}")


class OptionalTaskParameter(OptionalOf[type], TaskParameter):
    """A task class, or ``None``; see :class:`TaskParameter`."""

    @overload
    def __new__(cls, **options: Unpack[Options]) -> Any: ...

    @overload
    def __new__(cls, *, default: K | None, **options: Unpack[Options]) -> K | None: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, expected_type: K, **options: Unpack[Options]) -> K | None: ...  # type: ignore[misc]

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, expected_type: K, default: K | None, **options: Unpack[Options]
    ) -> K | None: ...

    def __new__(cls, *, expected_type: object = None, default: object = UNSET, **options: Unpack[Options]) -> Any:
        """Declare a parameter of a task class or ``None``; see :class:`TaskParameter`."""
        return cls._declare(default, options, expected_type=expected_type)
