"""What an optional parameter is: another one that also takes ``None``, which as text is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described

__all__ = ["OptionalOf"]

V = TypeVar("V")


class OptionalOf(Parameter[V]):
    """Lets ``None`` through, and leaves every other value to the parameter class that comes after it.

    Declare it before that class: ``class OptionalDateParameter(OptionalOf[dt.date], DateParameter)``. Where that class
    has options of its own, its ``__new__`` is declared anew, so that type checkers see them.
    """

    def __new__(cls, *, default: V | None = UNSET, **options: Unpack[Options]) -> V | None:  # type: ignore[misc]
        """Declare a parameter that may be ``None``; it is required unless a default is given. See :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> Any:
        """Return ``None``, or the value in its one form; one that is written as empty text is refused."""
        if value is None:
            return None
        normalized = super().normalize(value)
        if not self.holds_tasks and super().serialize(normalized) == "":
            raise ValueError(f"{described(value)} and None are both empty as text; give None")
        return normalized

    def parse(self, text: str) -> Any:
        """Read empty text as ``None``, other text as the value."""
        return super().parse(text) if text else None

    def serialize(self, value: Any) -> str:
        """Return the value as text, empty for ``None``."""
        return "" if value is None else super().serialize(value)

    def to_json(self, value: Any) -> Any:
        """Return the value as JSON, ``null`` for ``None``."""
        return None if value is None else super().to_json(value)

    def from_json(self, value: Any) -> Any:
        """Read ``null`` as ``None``, other JSON as the value."""
        return None if value is None else super().from_json(value)

    def json_schema(self) -> dict[str, Any]:
        """Return the value's schema, which takes ``null`` too: the trigger form lets the field be empty."""
        return _nullable(super().json_schema())

    def variation(self, value: Any) -> Any:
        """Return another value, for ``None`` the sample."""
        return super().sample() if value is None else super().variation(value)


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "type" not in schema:
        return {"anyOf": [dict(schema), {"type": "null"}]}
    types = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
    nullable = {**schema, "type": [*types, "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
