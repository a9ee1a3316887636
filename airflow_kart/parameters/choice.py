"""Parameters that take one of a few values."""

from __future__ import annotations

import enum as enumeration
from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from airflow_kart.exceptions import ParameterError
from airflow_kart.parameters.base import UNSET, Options, Parameter, described

__all__ = ["EnumParameter"]

E = TypeVar("E", bound=enumeration.Enum)


class EnumParameter(Parameter[Any]):
    """A member of an ``enum.Enum``; as text, its name."""

    enum: type[enumeration.Enum]

    # Two overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(cls, *, enum: type[E], **options: Unpack[Options]) -> E: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, enum: type[E], default: E, **options: Unpack[Options]) -> E: ...  # type: ignore[misc]

    def __new__(cls, *, enum: type[E], default: E = UNSET, **options: Unpack[Options]) -> E:  # type: ignore[misc]
        """Declare a choice between the members of ``enum``; see :class:`Options`."""
        if not (isinstance(enum, type) and issubclass(enum, enumeration.Enum)) or not len(enum):
            raise ParameterError(f"EnumParameter needs an Enum class with members, not {described(enum)}")
        return cls._declare(default, options, enum=enum)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> enumeration.Enum:
        """Return the member."""
        if not isinstance(value, self.enum) or value.name not in self.enum.__members__:
            raise ValueError(f"give a {self.enum.__name__}, one of {self._names()}, not {described(value)}")
        return value

    def parse(self, text: str) -> enumeration.Enum:
        """Read a member's name."""
        try:
            return self.enum[text.strip()]
        except KeyError:
            raise ValueError(f"{text!r} is no {self.enum.__name__}; choose one of {self._names()}") from None

    def serialize(self, value: enumeration.Enum) -> str:
        """Return the member's name."""
        return value.name

    def json_schema(self) -> dict[str, Any]:
        """Return a schema that lists the names, which the trigger form shows as a drop-down."""
        return {"type": "string", "enum": [member.name for member in self.enum]}

    def sample(self) -> enumeration.Enum:
        """Return the first member."""
        return next(iter(self.enum))

    def variation(self, value: enumeration.Enum) -> enumeration.Enum:
        """Return the next member, after the last the first."""
        members = list(self.enum)
        return members[(members.index(value) + 1) % len(members)]

    def _names(self) -> str:
        return ", ".join(member.name for member in self.enum)
