"""Parameters that are on or off."""

from __future__ import annotations

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf


class BoolParameter(Parameter[bool]):
    """A ``bool``; as text, ``true`` or ``false``."""

    if_missing = "; where luigi's default is meant, declare it: BoolParameter(default=False)"

    def __new__(cls, *, default: bool = UNSET, **options: Unpack[Options]) -> bool:  # type: ignore[misc]
        """Declare a switch; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> bool:
        """Return the bool. Every other value is an error."""
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

    def json_schema(self) -> dict[str, object]:
        """Return a ``boolean`` schema."""
        return {"type": "boolean"}

    def sample(self) -> bool:
        """Return ``False``."""
        return False

    def variation(self, value: bool) -> bool:
        """Return the other one."""
        return not value


class ExplicitBoolParameter(BoolParameter):
    """gokart's name for a ``bool`` whose value is always explicit, as that of :class:`BoolParameter` is."""


class OptionalBoolParameter(OptionalOf[bool], BoolParameter):
    """A ``bool``, or ``None``."""
