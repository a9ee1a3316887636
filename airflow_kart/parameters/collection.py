"""Parameters of several values: lists, tuples and dicts of JSON values."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.frozen import FrozenDict, freeze, thaw
from airflow_kart.parameters.optional import OptionalOf
from airflow_kart.parameters.schema import check_schema, check_value

__all__ = [
    "DictParameter",
    "ListParameter",
    "OptionalDictParameter",
    "OptionalListParameter",
    "OptionalTupleParameter",
    "TupleParameter",
]

V = TypeVar("V")
T = TypeVar("T", bound="tuple[Any, ...]")


class _JsonParameter(Parameter[Any]):
    """A parameter that is written as JSON text."""

    schema: Mapping[str, Any] | None

    def check_options(self) -> None:
        """Check that the schema is one."""
        if self.schema is not None:
            self.schema = check_schema(self.schema)

    def _fitting(self, value: Any) -> Any:
        frozen = freeze(value)
        if self.schema is not None:
            check_value(thaw(frozen), self.schema)
        return frozen

    def _sampled(self, value: Any) -> Any:
        try:
            return self.normalize(value)
        except ValueError as error:
            raise ValueError("there is no sample that satisfies the schema; give one: compile_value=...") from error

    def parse(self, text: str) -> Any:
        """Read JSON text."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is not JSON ({error})") from None
        return self.normalize(value)

    def serialize(self, value: Any) -> str:
        """Return JSON text."""
        return json.dumps(thaw(value), ensure_ascii=False)

    def to_json(self, value: Any) -> Any:
        """Return plain lists and dicts."""
        return thaw(value)


class ListParameter(_JsonParameter):
    """A list of JSON values, kept as a tuple; lists and dicts inside are frozen too."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Sequence[V] = UNSET, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> tuple[V, ...]:
        """Declare a list.

        Args:
            default: list where none is given.
            schema: JSON Schema that the list must satisfy.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, schema=schema)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple of frozen values."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list or tuple, not {described(value)}")
        frozen: tuple[Any, ...] = self._fitting(value)
        return frozen

    def json_schema(self) -> dict[str, Any]:
        """Return an ``array`` schema; without one of its own the trigger form shows a JSON editor, as items may be anything."""
        if self.schema is not None:
            return {"type": "array", **self.schema}
        return {"type": "array", "items": {"type": ["string", "number", "boolean", "null", "array", "object"]}}

    def sample(self) -> tuple[Any, ...]:
        """Return the empty list; a schema that refuses it needs a compile value."""
        sample: tuple[Any, ...] = self._sampled(())
        return sample

    def variation(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a list one longer."""
        return self.normalize((*value, value[-1] if value else "sample"))


class OptionalListParameter(OptionalOf[Any], ListParameter):
    """A list of JSON values, kept as a tuple, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Sequence[V] | None = UNSET, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> tuple[V, ...] | None:
        """Declare a list or ``None``; see :class:`ListParameter`."""
        return cls._declare(default, options, schema=schema)  # type: ignore[no-any-return]


class TupleParameter(ListParameter):
    """A tuple of JSON values, tuples inside it included; as text, JSON, or a tuple as Python writes it."""

    # Two overloads, as pyright checks a __new__ that returns a type variable only through them.
    @overload
    def __new__(  # type: ignore[misc]
        cls, *, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> tuple[Any, ...]: ...

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, default: T, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> T: ...

    def __new__(cls, *, default: Any = UNSET, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Any:
        """Declare a tuple; see :class:`ListParameter`."""
        return cls._declare(default, options, schema=schema)

    def parse(self, text: str) -> tuple[Any, ...]:
        """Read JSON text, or a tuple as Python writes it: ``((12, 3), (4, 15))``."""
        try:
            value = json.loads(text)
        except ValueError:
            try:
                value = ast.literal_eval(text.strip())
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise ValueError(f"{text!r} is neither JSON nor a tuple as Python writes it") from None
        return self.normalize(value)


class OptionalTupleParameter(OptionalOf[Any], TupleParameter):
    """A tuple of JSON values, or ``None``; see :class:`TupleParameter`."""

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> tuple[Any, ...] | None: ...

    @overload
    def __new__(  # type: ignore[misc]
        cls, *, default: T | None, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> T | None: ...

    def __new__(cls, *, default: Any = UNSET, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]) -> Any:
        """Declare a tuple or ``None``; see :class:`ListParameter`."""
        return cls._declare(default, options, schema=schema)


class DictParameter(_JsonParameter):
    """A dict of JSON values by str, kept as a :class:`FrozenDict`. The order of its keys is not part of its identity."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Mapping[str, V] = UNSET, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> Mapping[str, V]:
        """Declare a dict.

        Args:
            default: dict where none is given.
            schema: JSON Schema that the dict must satisfy.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, schema=schema)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> FrozenDict:
        """Return a frozen dict."""
        if not isinstance(value, Mapping):
            raise ValueError(f"give a dict, not {described(value)}")
        frozen: FrozenDict = self._fitting(value)
        return frozen

    def json_schema(self) -> dict[str, Any]:
        """Return an ``object`` schema, which the trigger form shows as a JSON editor."""
        return {"type": "object", **(self.schema or {})}

    def sample(self) -> FrozenDict:
        """Return the empty dict; a schema that refuses it needs a compile value."""
        sample: FrozenDict = self._sampled({})
        return sample

    def variation(self, value: FrozenDict) -> FrozenDict:
        """Return the dict with one key more."""
        return self.normalize({**value, "sample": "sample"})


class OptionalDictParameter(OptionalOf[Any], DictParameter):
    """A dict of JSON values by str, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Mapping[str, V] | None = UNSET, schema: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> Mapping[str, V] | None:
        """Declare a dict or ``None``; see :class:`DictParameter`."""
        return cls._declare(default, options, schema=schema)  # type: ignore[no-any-return]
