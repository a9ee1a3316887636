"""Parameters that take one of a few plain values, or several of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, overload

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.number import FloatParameter, IntParameter
from airflow_kart.parameters.optional import OptionalOf
from airflow_kart.parameters.switch import BoolParameter
from airflow_kart.parameters.text import StrParameter

C = TypeVar("C", str, int, float, bool)
V = TypeVar("V")
Choice: TypeAlias = "str | int | float | bool"

_KINDS: dict[type, type[Parameter[Any]]] = {
    str: StrParameter,
    int: IntParameter,
    float: FloatParameter,
    bool: BoolParameter,
}


class _Choices(Parameter[V]):
    """The common part of choice parameters: the choices, all of one type, and the parameter of that type."""

    choices: tuple[Choice, ...]
    var_type: type | None
    one: Parameter[Any]

    def check_options(self) -> None:
        """Check that the choices are values of one type, and all different."""
        given: object = self.choices
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise ValueError(f"choices is {described(given)}; give a list of the values to choose from")
        self.choices = tuple(given)
        if not self.choices:
            raise ValueError("choices is empty; give the values to choose from")
        if self.var_type is None:
            self.var_type = type(self.choices[0])
        if self.var_type not in _KINDS:
            raise ValueError(f"choices are of {self.var_type!r}; give str, int, float or bool, or use EnumParameter")
        self.one = _KINDS[self.var_type]()
        for choice in self.choices:
            if type(choice) is not self.var_type or choice != choice:  # noqa: PLR0124 - nan is no choice
                raise ValueError(f"choices has {described(choice)}; give values of {self.var_type.__name__} only")
        self.choices = tuple(self.one.normalize(choice) for choice in self.choices)
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"choices has a value twice: {self._listed()}")

    def _chosen(self, value: object) -> Choice:
        chosen: Choice = self.one.normalize(value)
        if chosen not in self.choices:
            raise ValueError(f"{chosen!r} is no choice; choose one of {self._listed()}")
        return chosen

    def _written(self, text: str) -> Choice:
        return self._chosen(self.one.parse(text))

    def _schema(self) -> dict[str, object]:
        choices = [self.one.to_json(choice) for choice in self.choices]
        return {"type": sorted({_JSON_TYPES[type(choice)] for choice in choices}), "enum": choices}

    def _after(self, value: Choice) -> Choice:
        return self.choices[(self.choices.index(value) + 1) % len(self.choices)]

    def _listed(self) -> str:
        return ", ".join(map(repr, self.choices))


_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


class ChoiceParameter(_Choices[Any]):
    """One of a few values, all str, int, float or bool; as text, the text of the parameter of that type."""

    # Two overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> C: ...

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], default: C, var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> C: ...

    def __new__(
        cls, *, choices: Iterable[object], default: object = UNSET, var_type: type | None = None, **options: Unpack[Options]
    ) -> Any:
        """Declare a choice.

        Args:
            choices: the values to choose from.
            default: choice where the caller makes none.
            var_type: type of the choices; by default that of the first.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, choices=choices, var_type=var_type)

    def normalize(self, value: object) -> Any:
        """Return the chosen value."""
        return self._chosen(value)

    def parse(self, text: str) -> Any:
        """Read the chosen value."""
        return self._written(text)

    def serialize(self, value: Choice) -> str:
        """Return the value as text."""
        return self.one.serialize(value)

    def to_json(self, value: Choice) -> object:
        """Return the value itself."""
        return self.one.to_json(value)

    def json_schema(self) -> dict[str, object]:
        """Return a schema that lists the choices, which the trigger form shows as a drop-down."""
        return self._schema()

    def sample(self) -> Choice:
        """Return the first choice."""
        return self.choices[0]

    def variation(self, value: Choice) -> Choice:
        """Return the next choice, after the last the first."""
        return self._after(value)


class OptionalChoiceParameter(OptionalOf[Choice], ChoiceParameter):
    """One of a few values, or ``None``; see :class:`ChoiceParameter`."""

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> C | None: ...

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], default: C | None, var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> C | None: ...

    def __new__(
        cls, *, choices: Iterable[object], default: object = UNSET, var_type: type | None = None, **options: Unpack[Options]
    ) -> Any:
        """Declare a choice that may be ``None``; see :class:`ChoiceParameter`."""
        return cls._declare(default, options, choices=choices, var_type=var_type)

    def check_options(self) -> None:
        """Check the choices: empty text stands for ``None``, and so cannot be a choice."""
        super().check_options()
        if "" in self.choices:
            raise ValueError("choices has '', which as text stands for None; leave it out")


class ChoiceListParameter(_Choices["tuple[Any, ...]"]):
    """Some of a few values, in any order and number, held as a tuple; as text, comma-separated."""

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> tuple[C, ...]: ...

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], default: Sequence[C], var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> tuple[C, ...]: ...

    def __new__(
        cls, *, choices: Iterable[object], default: object = UNSET, var_type: type | None = None, **options: Unpack[Options]
    ) -> Any:
        """Declare a list of choices; see :class:`ChoiceParameter`."""
        return cls._declare(default, options, choices=choices, var_type=var_type)

    def check_options(self) -> None:
        """Check the choices, and that they can be told apart in a list."""
        super().check_options()
        texts = [self.one.serialize(choice) for choice in self.choices]
        if odd := [text for text in texts if "," in text or text.strip() != text or not text]:
            raise ValueError(f"the choices {', '.join(map(repr, odd))} cannot be written in a list with commas; change them")

    def normalize(self, value: object) -> tuple[Any, ...]:
        """Return a tuple of chosen values."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list or tuple of choices, not {described(value)}")
        return tuple(self._chosen(item) for item in value)

    def parse(self, text: str) -> tuple[Any, ...]:
        """Read comma-separated values."""
        return tuple(self._written(part.strip()) for part in text.split(",")) if text.strip() else ()

    def serialize(self, value: tuple[Choice, ...]) -> str:
        """Return the comma-separated values."""
        return ",".join(self.one.serialize(item) for item in value)

    def to_json(self, value: tuple[Choice, ...]) -> list[object]:
        """Return a list of the values."""
        return [self.one.to_json(item) for item in value]

    def from_json(self, value: object) -> tuple[Choice, ...]:
        """Read a list of values."""
        if not isinstance(value, list):
            raise ValueError(f"give a list of choices, not {described(value)}")
        return tuple(self._written(item) if isinstance(item, str) else self._chosen(item) for item in value)

    def json_schema(self) -> dict[str, object]:
        """Return an ``array`` schema, which the trigger form shows as a choice of several."""
        items = self._schema()
        return {"type": "array", "items": items, "examples": items["enum"]}

    def sample(self) -> tuple[Choice, ...]:
        """Return the first choice."""
        return self.choices[:1]

    def variation(self, value: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """Return a list one longer."""
        return (*value, self._after(value[-1]) if value else self.choices[0])


class OptionalChoiceListParameter(OptionalOf["tuple[Choice, ...]"], ChoiceListParameter):
    """Some of a few values, at least one, or ``None``; see :class:`ChoiceListParameter`."""

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, choices: Iterable[C], var_type: type[C] | None = None, **options: Unpack[Options]
    ) -> tuple[C, ...] | None: ...

    @overload
    def __new__(  # type: ignore[misc]
        cls,
        *,
        choices: Iterable[C],
        default: Sequence[C] | None,
        var_type: type[C] | None = None,
        **options: Unpack[Options],
    ) -> tuple[C, ...] | None: ...

    def __new__(
        cls, *, choices: Iterable[object], default: object = UNSET, var_type: type | None = None, **options: Unpack[Options]
    ) -> Any:
        """Declare a list of choices, or ``None``; see :class:`ChoiceParameter`."""
        return cls._declare(default, options, choices=choices, var_type=var_type)
