"""Parameters of the members of an enum: one of them, or several."""

from __future__ import annotations

import enum as enumeration
from collections.abc import Sequence
from typing import TypeVar, overload

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

E = TypeVar("E", bound=enumeration.Enum)
V = TypeVar("V")


class _Members(Parameter[V]):
    """The common part of parameters of an enum's members: the enum."""

    enum: type[enumeration.Enum]

    def check_options(self) -> None:
        """Check that the enum is one, with members."""
        if not (isinstance(self.enum, type) and issubclass(self.enum, enumeration.Enum)) or not len(self.enum):
            raise ValueError(f"it needs an Enum class with members, not {described(self.enum)}")

    def _member(self, value: object) -> enumeration.Enum:
        if not isinstance(value, self.enum) or value.name not in self.enum.__members__:
            raise ValueError(f"give a {self.enum.__name__}, one of {self._names()}, not {described(value)}")
        return value

    def _named(self, text: str) -> enumeration.Enum:
        try:
            return self.enum[text.strip()]
        except KeyError:
            raise ValueError(f"{text!r} is no {self.enum.__name__}; choose one of {self._names()}") from None

    def _after(self, value: enumeration.Enum) -> enumeration.Enum:
        members = list(self.enum)
        return members[(members.index(value) + 1) % len(members)]

    def _names(self) -> str:
        return ", ".join(member.name for member in self.enum)


class EnumParameter(_Members[enumeration.Enum]):
    """A member of an ``enum.Enum``; as text, its name."""

    # Two overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(cls, *, enum: type[E], **options: Unpack[Options]) -> E: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, enum: type[E], default: E, **options: Unpack[Options]) -> E: ...  # type: ignore[misc]

    def __new__(cls, *, enum: type[E], default: E = UNSET, **options: Unpack[Options]) -> E:  # type: ignore[misc]
        """Declare a choice between the members of ``enum``; see :class:`Options`."""
        return cls._declare(default, options, enum=enum)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> enumeration.Enum:
        """Return the member."""
        return self._member(value)

    def parse(self, text: str) -> enumeration.Enum:
        """Read a member's name."""
        return self._named(text)

    def serialize(self, value: enumeration.Enum) -> str:
        """Return the member's name."""
        return value.name

    def json_schema(self) -> dict[str, object]:
        """Return a schema that lists the names, which the trigger form shows as a drop-down."""
        return {"type": "string", "enum": [member.name for member in self.enum]}

    def sample(self) -> enumeration.Enum:
        """Return the first member."""
        return next(iter(self.enum))

    def variation(self, value: enumeration.Enum) -> enumeration.Enum:
        """Return the next member, after the last the first."""
        return self._after(value)


class OptionalEnumParameter(OptionalOf[enumeration.Enum], EnumParameter):
    """A member of an ``enum.Enum``, or ``None``."""

    @overload
    def __new__(cls, *, enum: type[E], **options: Unpack[Options]) -> E | None: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, enum: type[E], default: E | None, **options: Unpack[Options]) -> E | None: ...  # type: ignore[misc]

    def __new__(cls, *, enum: type[E], default: E | None = UNSET, **options: Unpack[Options]) -> E | None:  # type: ignore[misc]
        """Declare a choice between the members of ``enum`` and ``None``; see :class:`Options`."""
        return cls._declare(default, options, enum=enum)  # type: ignore[no-any-return]


class EnumListParameter(_Members["tuple[enumeration.Enum, ...]"]):
    """Members of an ``enum.Enum``, held as a tuple; as text, their comma-separated names."""

    @overload
    def __new__(cls, *, enum: type[E], **options: Unpack[Options]) -> tuple[E, ...]: ...  # type: ignore[misc]

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, enum: type[E], default: Sequence[E], **options: Unpack[Options]
    ) -> tuple[E, ...]: ...

    def __new__(  # type: ignore[misc]
        cls, *, enum: type[E], default: Sequence[E] = UNSET, **options: Unpack[Options]
    ) -> tuple[E, ...]:
        """Declare a list of members of ``enum``, in any order and number; see :class:`Options`."""
        return cls._declare(default, options, enum=enum)  # type: ignore[no-any-return]

    def check_options(self) -> None:
        """Check the enum, and that its names can be told apart in a list."""
        super().check_options()
        if odd := [name for name in self.enum.__members__ if "," in name or name.strip() != name or not name]:
            raise ValueError(f"the names {', '.join(map(repr, odd))} cannot be written in a list with commas; change them")

    def normalize(self, value: object) -> tuple[enumeration.Enum, ...]:
        """Return a tuple of members."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list or tuple of {self.enum.__name__}, not {described(value)}")
        return tuple(self._member(item) for item in value)

    def parse(self, text: str) -> tuple[enumeration.Enum, ...]:
        """Read comma-separated names."""
        return tuple(self._named(name) for name in text.split(",")) if text.strip() else ()

    def serialize(self, value: tuple[enumeration.Enum, ...]) -> str:
        """Return the comma-separated names."""
        return ",".join(member.name for member in value)

    def to_json(self, value: tuple[enumeration.Enum, ...]) -> list[str]:
        """Return a list of names."""
        return [member.name for member in value]

    def from_json(self, value: object) -> tuple[enumeration.Enum, ...]:
        """Read a list of names; return members, which a binding may hold, unchanged."""
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, (str, self.enum)) for item in value):
            raise ValueError(f"give a list of names of {self.enum.__name__}, not {described(value)}")
        return tuple(self._member(item) if isinstance(item, self.enum) else self._named(item) for item in value)

    def json_schema(self) -> dict[str, object]:
        """Return an ``array`` schema, which the trigger form shows as a choice of several."""
        names = [member.name for member in self.enum]
        return {"type": "array", "items": {"type": "string", "enum": names}, "examples": names}

    def sample(self) -> tuple[enumeration.Enum, ...]:
        """Return the first member."""
        return (next(iter(self.enum)),)

    def variation(self, value: tuple[enumeration.Enum, ...]) -> tuple[enumeration.Enum, ...]:
        """Return a list one longer."""
        return (*value, self._after(value[-1]) if value else next(iter(self.enum)))


class OptionalEnumListParameter(OptionalOf["tuple[enumeration.Enum, ...]"], EnumListParameter):
    """Members of an ``enum.Enum``, at least one, or ``None``."""

    @overload
    def __new__(cls, *, enum: type[E], **options: Unpack[Options]) -> tuple[E, ...] | None: ...  # type: ignore[misc]

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, enum: type[E], default: Sequence[E] | None, **options: Unpack[Options]
    ) -> tuple[E, ...] | None: ...

    def __new__(  # type: ignore[misc]
        cls, *, enum: type[E], default: Sequence[E] | None = UNSET, **options: Unpack[Options]
    ) -> tuple[E, ...] | None:
        """Declare a list of members of ``enum``, or ``None``; see :class:`Options`."""
        return cls._declare(default, options, enum=enum)  # type: ignore[no-any-return]
