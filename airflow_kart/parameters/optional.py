"""Optional parameters: another parameter that also takes ``None``, whose text is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described

V = TypeVar("V")


class OptionalOf(Parameter[V]):
    """Lets ``None`` through, and leaves every other value to the next base class.

    Put this class before the parameter class: ``class OptionalDateParameter(OptionalOf[dt.date], DateParameter)``. If
    the parameter class has options of its own, declare ``__new__`` anew, so that type checkers see the options.
    """

    def __new__(cls, *, default: V | None = UNSET, **options: Unpack[Options]) -> V | None:  # type: ignore[misc]
        """Declare a parameter that may be ``None``. Without a default the parameter is required. See :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> Any:
        """Return ``None``, or the normalised value. A value whose text is empty is an error."""
        if value is None:
            return None
        normalized = super().normalize(value)
        if not self.holds_tasks and super().serialize(normalized) == "":
            raise ValueError(f"{described(value)} and None are both empty as text; give None")
        return normalized

    def parse(self, text: str) -> Any:
        """Read empty text as ``None``, other text as the value."""
        return super().parse(text) if text else None

    def serialize(self, value: V | None) -> str:
        """Return the value as text, empty for ``None``."""
        return "" if value is None else super().serialize(value)

    def to_json(self, value: V | None) -> Any:
        """Return the value as JSON, ``null`` for ``None``."""
        return None if value is None else super().to_json(value)

    def from_json(self, value: object) -> Any:
        """Read ``null`` as ``None``, other JSON as the value."""
        return None if value is None else super().from_json(value)

    def json_schema(self) -> dict[str, object]:
        """Return the value's schema, with ``null`` allowed: the trigger form accepts an empty field."""
        return _nullable(super().json_schema())

    def variation(self, value: Any) -> Any:
        """Return another value, for ``None`` the sample."""
        return super().sample() if value is None else super().variation(value)


def _nullable(schema: Mapping[str, object]) -> dict[str, object]:
    kind, choices = schema.get("type"), schema.get("enum")
    if kind is None:
        return {"anyOf": [dict(schema), {"type": "null"}]}
    nullable = {**schema, "type": [*(kind if isinstance(kind, list) else [kind]), "null"]}
    if isinstance(choices, list):
        nullable["enum"] = [*choices, None]
    return nullable
