"""Parameters of several values: lists, tuples and dicts of JSON values."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast, overload

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.frozen import Frozen, FrozenDict, Json, freeze, thaw
from airflow_kart.parameters.optional import OptionalOf
from airflow_kart.parameters.schema import check_schema, check_value

V = TypeVar("V")
T = TypeVar("T", bound="tuple[Any, ...]")


class JsonOptions(Options, total=False):
    """The options of a parameter of JSON values."""

    schema: Mapping[str, object] | None
    """A JSON Schema that the values must satisfy."""


class _JsonParameter(Parameter[V]):
    """A parameter whose text is JSON."""

    schema: Mapping[str, object] | None = None
    _options = JsonOptions

    def check_options(self) -> None:
        """Check the JSON Schema."""
        if self.schema is not None:
            self.schema = check_schema(self.schema)

    def _check(self, frozen: Frozen) -> None:
        if self.schema is not None:
            check_value(thaw(frozen), self.schema)

    def _sampled(self, value: object) -> V:
        try:
            return self.normalize(value)
        except ValueError as error:
            raise ValueError("there is no sample that satisfies the schema; give one: compile_value=...") from error

    def parse(self, text: str) -> V:
        """Read JSON text."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is not JSON ({error})") from None
        return self.normalize(value)

    def serialize(self, value: V) -> str:
        """Return JSON text."""
        return json.dumps(self.to_json(value), ensure_ascii=False)

    def to_json(self, value: V) -> Json:
        """Return plain lists and dicts."""
        return thaw(cast("Frozen", value))  # as normalize() made it


class ListParameter(_JsonParameter["tuple[Any, ...]"]):
    """A list of JSON values, held as a tuple; inner lists and dicts are immutable too."""

    def __new__(cls, *, default: Sequence[V] = UNSET, **options: Unpack[JsonOptions]) -> tuple[V, ...]:  # type: ignore[misc]
        """Declare a list; see :class:`JsonOptions`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> tuple[Any, ...]:
        """Return a tuple of frozen values."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list or tuple, not {described(value)}")
        frozen = freeze(value)
        self._check(frozen)
        return frozen

    def json_schema(self) -> dict[str, object]:
        """Return the ``array`` schema; without ``schema=`` the trigger form shows a JSON editor, as items may be anything."""
        if self.schema is not None:
            return {"type": "array", **self.schema}
        return {"type": "array", "items": {"type": ["string", "number", "boolean", "null", "array", "object"]}}

    def sample(self) -> tuple[object, ...]:
        """Return the empty list. Where the schema refuses the empty list, the declaration needs ``compile_value=``."""
        return self._sampled(())

    def variation(self, value: tuple[object, ...]) -> tuple[object, ...]:
        """Return a list one longer."""
        return self.normalize((*value, value[-1] if value else "sample"))


class OptionalListParameter(OptionalOf["tuple[object, ...]"], ListParameter):
    """A list of JSON values, held as a tuple, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Sequence[V] | None = UNSET, **options: Unpack[JsonOptions]
    ) -> tuple[V, ...] | None:
        """Declare a list or ``None``; see :class:`ListParameter`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class TupleParameter(ListParameter):
    """A tuple of JSON values, inner tuples included; as text, JSON or a Python literal."""

    # Two overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(cls, **options: Unpack[JsonOptions]) -> tuple[Any, ...]: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, default: T, **options: Unpack[JsonOptions]) -> T: ...  # type: ignore[misc]

    def __new__(cls, *, default: object = UNSET, **options: Unpack[JsonOptions]) -> Any:
        """Declare a tuple; see :class:`ListParameter`."""
        return cls._declare(default, options)

    def parse(self, text: str) -> tuple[Any, ...]:
        """Read JSON text, or a Python literal: ``((12, 3), (4, 15))``."""
        try:
            value = json.loads(text)
        except ValueError:
            try:
                value = ast.literal_eval(text.strip())
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise ValueError(f"{text!r} is neither JSON nor a tuple as Python writes it") from None
        return self.normalize(value)


class OptionalTupleParameter(OptionalOf["tuple[object, ...]"], TupleParameter):
    """A tuple of JSON values, or ``None``; see :class:`TupleParameter`."""

    @overload
    def __new__(cls, **options: Unpack[JsonOptions]) -> tuple[Any, ...] | None: ...  # type: ignore[misc]

    @overload
    def __new__(cls, *, default: T | None, **options: Unpack[JsonOptions]) -> T | None: ...  # type: ignore[misc]

    def __new__(cls, *, default: object = UNSET, **options: Unpack[JsonOptions]) -> Any:
        """Declare a tuple or ``None``; see :class:`ListParameter`."""
        return cls._declare(default, options)


class DictParameter(_JsonParameter[FrozenDict]):
    """A dict of JSON values by str, held as a :class:`FrozenDict` with sorted keys: their order is not part of the identity."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Mapping[str, V] = UNSET, **options: Unpack[JsonOptions]
    ) -> Mapping[str, V]:
        """Declare a dict; see :class:`JsonOptions`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> FrozenDict:
        """Return a frozen dict."""
        if not isinstance(value, Mapping):
            raise ValueError(f"give a dict, not {described(value)}")
        frozen = freeze(value)
        self._check(frozen)
        return frozen

    def json_schema(self) -> dict[str, object]:
        """Return an ``object`` schema, which the trigger form shows as a JSON editor."""
        return {"type": "object", **(self.schema or {})}

    def sample(self) -> FrozenDict:
        """Return the empty dict. Where the schema refuses the empty dict, the declaration needs ``compile_value=``."""
        return self._sampled({})

    def variation(self, value: FrozenDict) -> FrozenDict:
        """Return the dict with one key more."""
        return self.normalize({**value, "sample": "sample"})


class OptionalDictParameter(OptionalOf[FrozenDict], DictParameter):
    """A dict of JSON values by str, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Mapping[str, V] | None = UNSET, **options: Unpack[JsonOptions]
    ) -> Mapping[str, V] | None:
        """Declare a dict or ``None``; see :class:`DictParameter`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]
