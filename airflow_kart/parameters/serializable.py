"""Parameters of objects that write themselves as text."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

from typing_extensions import Self, Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf


class Serializable(Protocol):
    """An object that writes itself as text and reads itself back. The names of the methods are gokart's."""

    def gokart_serialize(self) -> str:
        """Return the object as text. Only this text counts in a task's identity."""
        ...

    @classmethod
    def gokart_deserialize(cls, text: str, /) -> Self:
        """Return the object that the text stands for."""
        ...


S = TypeVar("S", bound=Serializable)


class SerializableParameter(Parameter[Any]):
    """A :class:`Serializable` object; as text, the result of ``gokart_serialize()``.

    A task holds a copy, made from the text. Don't change the copy.
    """

    object_type: type[Serializable]

    # Two overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(cls, *, object_type: type[S], **options: Unpack[Options]) -> S: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, object_type: type[S], default: S, **options: Unpack[Options]) -> S: ...  # type: ignore[misc]

    def __new__(cls, *, object_type: type[S], default: S = UNSET, **options: Unpack[Options]) -> S:  # type: ignore[misc]
        """Declare a parameter of an object of ``object_type``; see :class:`Options`."""
        return cls._declare(default, options, object_type=object_type)  # type: ignore[no-any-return]

    def check_options(self) -> None:
        """Check that the type has the two methods."""
        methods = ("gokart_serialize", "gokart_deserialize")
        found = self.object_type
        if not isinstance(found, type) or not all(callable(getattr(found, method, None)) for method in methods):
            raise ValueError(f"object_type is {described(found)}; give a class with gokart_serialize and gokart_deserialize")

    def normalize(self, value: object) -> Any:
        """Return a copy of the object, made from its text: as only the text counts in the id, the text must be enough.

        Raises:
            ValueError: the object is of another type, or its text reads back as an object of another text.
        """
        if not isinstance(value, self.object_type):
            raise ValueError(f"give a {self.object_type.__name__}, not {described(value)}")
        text = self.serialize(value)
        copy = self._read(text)
        if self.serialize(copy) != text:
            raise ValueError(
                f"{self._reader}({text!r}) returns an object whose gokart_serialize() is {self.serialize(copy)!r}; let it return the same text"
            )
        return copy

    def parse(self, text: str) -> Any:
        """Make the object of a text."""
        return self.normalize(self._read(text))

    def _read(self, text: str) -> Serializable:
        try:
            value: object = self.object_type.gokart_deserialize(text)
        except Exception as error:
            raise ValueError(f"{self._reader}({text!r}) failed: {type(error).__name__}: {error}") from error
        if not isinstance(value, self.object_type):
            raise ValueError(f"{self._reader}({text!r}) returned {described(value)}")
        return value

    @property
    def _reader(self) -> str:
        return f"{self.object_type.__name__}.gokart_deserialize"

    def serialize(self, value: Serializable) -> str:
        """Return the result of ``gokart_serialize()``."""
        try:
            text: object = value.gokart_serialize()
        except Exception as error:
            raise ValueError(f"{type(value).__name__}.gokart_serialize() failed: {type(error).__name__}: {error}") from error
        if not isinstance(text, str):
            raise ValueError(f"{type(value).__name__}.gokart_serialize() returned {described(text)}; return a str")
        return str.__str__(text)

    def sample(self) -> object:
        """Refuse: the package cannot make up an object.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"there is no sample of a {self.object_type.__name__}; give one: compile_value=...")

    def variation(self, value: object) -> object:
        """Refuse: the package cannot make up an object.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"there is no variation of a {type(value).__name__}")


class OptionalSerializableParameter(OptionalOf[Serializable], SerializableParameter):
    """A :class:`Serializable` object, or ``None``."""

    @overload
    def __new__(cls, *, object_type: type[S], **options: Unpack[Options]) -> S | None: ...  # type: ignore[misc]

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, object_type: type[S], default: S | None, **options: Unpack[Options]
    ) -> S | None: ...

    def __new__(  # type: ignore[misc]
        cls, *, object_type: type[S], default: S | None = UNSET, **options: Unpack[Options]
    ) -> S | None:
        """Declare a parameter of an object of ``object_type`` or ``None``; see :class:`Options`."""
        return cls._declare(default, options, object_type=object_type)  # type: ignore[no-any-return]
