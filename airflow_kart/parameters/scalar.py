"""Parameters of one plain value: text, numbers, switches."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from typing import Any

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described

__all__ = ["BoolParameter", "FloatParameter", "IntParameter", "StrParameter"]

_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)


class StrParameter(Parameter[str]):
    """A ``str``."""

    def __new__(cls, *, default: str = UNSET, **options: Unpack[Options]) -> str:  # type: ignore[misc]
        """Declare a text parameter; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class _Ranged(Parameter[Any]):
    """A number with optional inclusive bounds."""

    min_value: float | None
    max_value: float | None

    def _within_bounds(self, value: Any) -> Any:
        if self.min_value is not None and not value >= self.min_value:
            raise ValueError(f"{value!r} is below the smallest allowed value, {self.min_value}")
        if self.max_value is not None and not value <= self.max_value:
            raise ValueError(f"{value!r} is above the largest allowed value, {self.max_value}")
        return value

    def _schema(self, json_type: str) -> dict[str, Any]:
        bounds = {"minimum": self.min_value, "maximum": self.max_value}
        return {"type": json_type, **{key: bound for key, bound in bounds.items() if bound is not None}}

    def sample(self) -> Any:
        """Return the bound nearest to 1, or 1."""
        at_least = 1 if self.min_value is None else max(1, self.min_value)
        return self.normalize(at_least if self.max_value is None else min(at_least, self.max_value))

    def variation(self, value: Any) -> Any:
        """Return a number near, within the bounds."""
        for other in (value + 1, value - 1, self.min_value, self.max_value):
            if other is not None and other != value:
                with contextlib.suppress(ValueError):
                    return self.normalize(other)
        return value


class IntParameter(_Ranged):
    """An ``int``, optionally within inclusive bounds. ``True`` and ``3.0`` are not ints."""

    def __new__(  # type: ignore[misc]
        cls,
        *,
        default: int = UNSET,
        min_value: int | None = None,
        max_value: int | None = None,
        **options: Unpack[Options],
    ) -> int:
        """Declare a whole number; the bounds are inclusive. See :class:`Options`."""
        return cls._declare(default, options, min_value=min_value, max_value=max_value)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> int:
        """Return a plain int (numpy's integers become one)."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise ValueError(f"give an int, not {described(value)}")
        return self._within_bounds(int(value))  # type: ignore[no-any-return]

    def parse(self, text: str) -> int:
        """Read decimal digits with an optional sign."""
        if not _WHOLE_NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is not a whole number")
        return self.normalize(int(text))

    def to_json(self, value: int) -> int:
        """Return the int itself."""
        return value

    def json_schema(self) -> dict[str, Any]:
        """Return an ``integer`` schema with the bounds."""
        return self._schema("integer")


class FloatParameter(_Ranged):
    """A ``float``, optionally within inclusive bounds; an int becomes one."""

    def __new__(  # type: ignore[misc]
        cls,
        *,
        default: float = UNSET,
        min_value: float | None = None,
        max_value: float | None = None,
        **options: Unpack[Options],
    ) -> float:
        """Declare a number; the bounds are inclusive. See :class:`Options`."""
        return cls._declare(default, options, min_value=min_value, max_value=max_value)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> float:
        """Return a plain float."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"give a float, not {described(value)}")
        return self._within_bounds(float(value))  # type: ignore[no-any-return]

    def parse(self, text: str) -> float:
        """Read what ``float()`` reads, ``nan`` and ``inf`` included."""
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        return self.normalize(number)

    def serialize(self, value: float) -> str:
        """Return the shortest text that reads back as the same float."""
        return repr(value)

    def to_json(self, value: float) -> float | str:
        """Return the float, or ``nan`` and ``inf`` as text, since JSON has no such numbers."""
        return value if math.isfinite(value) else repr(value)

    def json_schema(self) -> dict[str, Any]:
        """Return a ``number`` schema with the bounds, which takes ``nan`` and ``inf`` as text."""
        return {**self._schema("number"), "type": ["number", "string"], "pattern": r"^(nan|-?inf)$"}


class BoolParameter(Parameter[bool]):
    """A ``bool``; as text, ``true`` or ``false``."""

    def __new__(cls, *, default: bool = UNSET, **options: Unpack[Options]) -> bool:  # type: ignore[misc]
        """Declare a switch; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> bool:
        """Return the bool; nothing else is taken for one."""
        if not isinstance(value, bool):
            raise ValueError(f"give True or False, not {described(value)}")
        return value

    def parse(self, text: str) -> bool:
        """Read ``true`` or ``false`` in any case."""
        word = text.strip().lower()
        if word not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return word == "true"

    def serialize(self, value: bool) -> str:
        """Return ``true`` or ``false``."""
        return "true" if value else "false"

    def to_json(self, value: bool) -> bool:
        """Return the bool itself."""
        return value

    def json_schema(self) -> dict[str, Any]:
        """Return a ``boolean`` schema."""
        return {"type": "boolean"}

    def sample(self) -> bool:
        """Return ``False``."""
        return False

    def variation(self, value: bool) -> bool:
        """Return the other one."""
        return not value
