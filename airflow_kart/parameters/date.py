"""Parameters of dates: a day, a month, a year."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import ClassVar

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

EPOCH = dt.date(1970, 1, 1)


def plain_date(value: object) -> dt.date:
    """Return a plain ``datetime.date``, also of a pendulum date. A datetime is an error: its day depends on the zone.

    Raises:
        ValueError: the value is not a date.
    """
    if isinstance(value, dt.datetime):
        raise ValueError(f"give a date, not the datetime {value.isoformat()}; call .date() on it")
    if not isinstance(value, dt.date):
        raise ValueError(f"give a datetime.date, not {described(value)}")
    return dt.date(value.year, value.month, value.day)


class DateParameter(Parameter[dt.date]):
    """A ``datetime.date``; as text, ``YYYY-MM-DD`` (ISO 8601).

    With an ``interval`` of several days the value is the first day of the interval around the given day.
    """

    interval: int
    start: dt.date
    text_form: ClassVar[str] = "YYYY-MM-DD"
    text_pattern: ClassVar[str] = r"(\d{4})-(\d{2})-(\d{2})"
    longest_unit: ClassVar[int] = 1
    """Days of the longest unit: day, month or year."""

    def __new__(  # type: ignore[misc]
        cls, *, default: dt.date = UNSET, interval: int = 1, start: dt.date = EPOCH, **options: Unpack[Options]
    ) -> dt.date:
        """Declare a date.

        Args:
            default: date where the caller gives none.
            interval: length of an interval, in days, months or years. A given date stands for the interval that contains the date.
            start: a date at which an interval starts.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, interval=interval, start=start)  # type: ignore[no-any-return]

    def check_options(self) -> None:
        """Check the interval and its start."""
        if isinstance(self.interval, bool) or not isinstance(self.interval, int) or self.interval < 1:
            raise ValueError(f"interval is {described(self.interval)}; give a whole number above zero")
        try:
            self.start = plain_date(self.start)
        except ValueError as error:
            raise ValueError(f"start: {error}") from error

    def normalize(self, value: object) -> dt.date:
        """Return the first day of the date's interval, as a plain date."""
        return self.first_day(plain_date(value))

    def first_day(self, day: dt.date) -> dt.date:
        """Return the first day of a day's interval."""
        return day - dt.timedelta(days=(day - self.start).days % self.interval)

    def parse(self, text: str) -> dt.date:
        """Read the text of :meth:`serialize`."""
        found = re.fullmatch(self.text_pattern, text.strip(), re.ASCII)
        if found is None:
            raise ValueError(f"{text!r} is not a date; write it as {self.text_form}")
        year, month, day = (*map(int, found.groups()), 1, 1)[:3]
        return self.normalize(dt.date(year, month, day))

    def serialize(self, value: dt.date) -> str:
        """Return ``YYYY-MM-DD``."""
        return value.isoformat()

    def json_schema(self) -> dict[str, object]:
        """Return a ``date`` schema, which the trigger form shows as a calendar."""
        return {"type": "string", "format": "date"}

    def sample(self) -> dt.date:
        """Return a day in the middle of a week, month and year, or the first day of its interval."""
        return self.normalize(dt.date(2021, 3, 17))

    def variation(self, value: dt.date) -> dt.date:
        """Return a day of another interval, week, month and year."""
        with contextlib.suppress(OverflowError):
            shift = dt.timedelta(days=593 + (self.interval - 1) * self.longest_unit)
            return self.normalize(value + shift if value < dt.date(9000, 1, 1) else value - shift)
        return value


class OptionalDateParameter(OptionalOf[dt.date], DateParameter):
    """A ``datetime.date``, or ``None``; see :class:`DateParameter`."""

    def __new__(  # type: ignore[misc]
        cls, *, default: dt.date | None = UNSET, interval: int = 1, start: dt.date = EPOCH, **options: Unpack[Options]
    ) -> dt.date | None:
        """Declare a date or ``None``; see :class:`DateParameter`."""
        return cls._declare(default, options, interval=interval, start=start)  # type: ignore[no-any-return]


class MonthParameter(DateParameter):
    """A month, as the ``datetime.date`` of its first day; as text, ``YYYY-MM``. Any day of the month stands for it."""

    text_form = "YYYY-MM"
    text_pattern = r"(\d{4})-(\d{2})"
    longest_unit = 31

    def first_day(self, day: dt.date) -> dt.date:
        """Return the first day of the month, or of the first month of the interval."""
        months = (day.year - self.start.year) * 12 + day.month - self.start.month
        first = day.year * 12 + day.month - 1 - months % self.interval
        return dt.date(first // 12, first % 12 + 1, 1)

    def serialize(self, value: dt.date) -> str:
        """Return ``YYYY-MM``."""
        return value.isoformat()[:7]

    def json_schema(self) -> dict[str, object]:
        """Return a ``string`` schema of the text's form."""
        return {"type": "string", "pattern": r"^\d{4}-\d{2}$"}


class OptionalMonthParameter(OptionalDateParameter, MonthParameter):
    """A month, as the ``datetime.date`` of its first day, or ``None``."""


class YearParameter(DateParameter):
    """A year, as the ``datetime.date`` of its first day; as text, ``YYYY``. Any day of the year stands for it."""

    text_form = "YYYY"
    text_pattern = r"(\d{4})"
    longest_unit = 366

    def first_day(self, day: dt.date) -> dt.date:
        """Return the first day of the year, or of the first year of the interval."""
        return dt.date(day.year - (day.year - self.start.year) % self.interval, 1, 1)

    def serialize(self, value: dt.date) -> str:
        """Return ``YYYY``."""
        return value.isoformat()[:4]

    def json_schema(self) -> dict[str, object]:
        """Return a ``string`` schema of the text's form."""
        return {"type": "string", "pattern": r"^\d{4}$"}


class OptionalYearParameter(OptionalDateParameter, YearParameter):
    """A year, as the ``datetime.date`` of its first day, or ``None``."""
