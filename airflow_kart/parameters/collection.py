"""Parameters of several values: lists and dicts of JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.frozen import FrozenDict, freeze, thaw

__all__ = ["DictParameter", "ListParameter"]

V = TypeVar("V")


class _JsonParameter(Parameter[Any]):
    """A parameter that is written as JSON text."""

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

    def __new__(cls, *, default: Sequence[V] = UNSET, **options: Unpack[Options]) -> tuple[V, ...]:  # type: ignore[misc]
        """Declare a list; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> tuple[Any, ...]:
        """Return a tuple of frozen values."""
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"give a list or tuple, not {described(value)}")
        frozen: tuple[Any, ...] = freeze(value)
        return frozen

    def json_schema(self) -> dict[str, Any]:
        """Return an ``array`` schema, which the trigger form shows as a JSON editor since items may be of any type."""
        return {"type": "array", "items": {"type": ["string", "number", "boolean", "null", "array", "object"]}}

    def sample(self) -> tuple[Any, ...]:
        """Return the empty list."""
        return ()

    def variation(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a list one longer."""
        return (*value, value[-1] if value else "sample")


class DictParameter(_JsonParameter):
    """A dict of JSON values by str, kept as a :class:`FrozenDict`. The order of its keys is not part of its identity."""

    def __new__(cls, *, default: Mapping[str, V] = UNSET, **options: Unpack[Options]) -> Mapping[str, V]:  # type: ignore[misc]
        """Declare a dict; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> FrozenDict:
        """Return a frozen dict."""
        if not isinstance(value, Mapping):
            raise ValueError(f"give a dict, not {described(value)}")
        frozen: FrozenDict = freeze(value)
        return frozen

    def json_schema(self) -> dict[str, Any]:
        """Return an ``object`` schema, which the trigger form shows as a JSON editor."""
        return {"type": "object"}

    def sample(self) -> FrozenDict:
        """Return the empty dict."""
        return FrozenDict()

    def variation(self, value: FrozenDict) -> FrozenDict:
        """Return the dict with one key more."""
        return FrozenDict({**value, "sample": "sample"})
