"""Parameters of text."""

from __future__ import annotations

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter
from airflow_kart.parameters.optional import OptionalOf


class StrParameter(Parameter[str]):
    """A ``str``."""

    def __new__(cls, *, default: str = UNSET, **options: Unpack[Options]) -> str:  # type: ignore[misc]
        """Declare a text parameter; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]


class OptionalParameter(OptionalOf[str]):
    """A ``str`` that is not empty, or ``None``."""


class OptionalStrParameter(OptionalOf[str], StrParameter):
    """A ``str`` that is not empty, or ``None``."""
