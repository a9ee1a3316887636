"""Parameters of dates."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described

__all__ = ["DateParameter"]

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class DateParameter(Parameter[dt.date]):
    """A ``datetime.date``; as text, ``YYYY-MM-DD`` (ISO 8601)."""

    def __new__(cls, *, default: dt.date = UNSET, **options: Unpack[Options]) -> dt.date:  # type: ignore[misc]
        """Declare a date; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: Any) -> dt.date:
        """Return a plain date (pendulum's become one). A datetime is refused: which day it is depends on its zone."""
        if isinstance(value, dt.datetime):
            raise ValueError(f"give a date, not the datetime {value.isoformat()}; call .date() on it")
        if not isinstance(value, dt.date):
            raise ValueError(f"give a datetime.date, not {described(value)}")
        return dt.date(value.year, value.month, value.day)

    def parse(self, text: str) -> dt.date:
        """Read ``YYYY-MM-DD``."""
        if not _ISO_DATE.fullmatch(text.strip()):
            raise ValueError(f"{text!r} is not a date; write it as YYYY-MM-DD")
        return dt.date.fromisoformat(text.strip())

    def serialize(self, value: dt.date) -> str:
        """Return ``YYYY-MM-DD``."""
        return value.isoformat()

    def json_schema(self) -> dict[str, Any]:
        """Return a ``date`` schema, which the trigger form shows as a calendar."""
        return {"type": "string", "format": "date"}

    def sample(self) -> dt.date:
        """Return a day that is no edge of a week, month or year."""
        return dt.date(2021, 3, 17)

    def variation(self, value: dt.date) -> dt.date:
        """Return a day of another week, month and year."""
        shift = dt.timedelta(days=593)
        return value + shift if value < dt.date(9000, 1, 1) else value - shift
