"""Intervals of dates: days, weeks, months, years, and any other run of days."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.date import plain_date
from airflow_kart.parameters.optional import OptionalOf
from airflow_kart.stored import make

_DAY = dt.timedelta(days=1)
_TEXT = re.compile(
    r"(?P<year>\d{4})(-W(?P<week>\d\d)|-(?P<month>\d\d)(-(?P<day>\d\d)(-(?P<end>\d{4}-\d\d-\d\d))?)?)?", re.ASCII
)


@dataclass(frozen=True, order=True)
class DateInterval:
    """The days from ``start`` to the day before ``end``; iteration returns each day.

    The text is an ISO 8601 year (``2026``), month (``2026-03``), week (``2026-W12``) or day (``2026-03-17``) where one
    fits, and otherwise both dates, ``2026-03-17-2026-03-20``, as in luigi.

    Raises:
        ValueError: the interval holds no day, or an end is not a date.
    """

    start: dt.date
    end: dt.date
    """The first day after the interval."""

    def __post_init__(self) -> None:
        """Check the two dates."""
        object.__setattr__(self, "start", plain_date(self.start))
        object.__setattr__(self, "end", plain_date(self.end))
        if self.start >= self.end:
            raise ValueError(f"from {self.start} up to, but without, {self.end} there is no day; let the end be later")

    @classmethod
    def day(cls, day: dt.date) -> DateInterval:
        """Return the interval of one day."""
        return cls(day, day + _DAY)

    @classmethod
    def week(cls, year: int, week: int) -> DateInterval:
        """Return an ISO 8601 week, Monday to Sunday; the year is that of its Thursday."""
        monday = dt.date.fromisocalendar(year, week, 1)
        return cls(monday, monday + 7 * _DAY)

    @classmethod
    def month(cls, year: int, month: int) -> DateInterval:
        """Return a month."""
        return cls(dt.date(year, month, 1), dt.date(year + month // 12, month % 12 + 1, 1))

    @classmethod
    def year(cls, year: int) -> DateInterval:
        """Return a year."""
        return cls(dt.date(year, 1, 1), dt.date(year + 1, 1, 1))

    @classmethod
    def parse(cls, text: str) -> DateInterval:
        """Read the text of ``str()``.

        Raises:
            ValueError: the text is not an interval's.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise ValueError(
                f"{text!r} is not an interval of dates; write YYYY, YYYY-MM, YYYY-Www, YYYY-MM-DD or YYYY-MM-DD-YYYY-MM-DD"
            )
        year, week, month, day = (int(found[part] or 0) for part in ("year", "week", "month", "day"))
        if found["week"]:
            return cls.week(year, week)
        if found["end"]:
            return cls(dt.date(year, month, day), dt.date.fromisoformat(found["end"]))
        if found["day"]:
            return cls.day(dt.date(year, month, day))
        return cls.month(year, month) if found["month"] else cls.year(year)

    def next(self) -> DateInterval:
        """Return the following interval: as many months after whole months, else as many days."""
        if _is_first(self.start) and _is_first(self.end):
            months = self._months()
            last = self.end.year * 12 + self.end.month - 1 + months
            return DateInterval(self.end, dt.date(last // 12, last % 12 + 1, 1))
        return DateInterval(self.end, self.end + (self.end - self.start))

    def prev(self) -> DateInterval:
        """Return the preceding interval: as many months before whole months, else as many days."""
        if _is_first(self.start) and _is_first(self.end):
            first = self.start.year * 12 + self.start.month - 1 - self._months()
            return DateInterval(dt.date(first // 12, first % 12 + 1, 1), self.start)
        return DateInterval(self.start - (self.end - self.start), self.start)

    def canonical_form(self) -> tuple[str, object]:
        """Return the interval's form in the identity: its two dates."""
        return "date-interval", (self.start, self.end)

    def __reduce__(self) -> tuple[object, ...]:
        return make, ("DateInterval", self.start, self.end)

    def _months(self) -> int:
        return (self.end.year - self.start.year) * 12 + self.end.month - self.start.month

    def __iter__(self) -> Iterator[dt.date]:
        """Return the days in order."""
        return (self.start + index * _DAY for index in range(len(self)))

    def __len__(self) -> int:
        """Return the number of days."""
        return (self.end - self.start).days

    def __contains__(self, day: object) -> bool:
        """Whether a date is one of the days."""
        return isinstance(day, dt.date) and not isinstance(day, dt.datetime) and self.start <= day < self.end

    def __str__(self) -> str:
        """Return the shortest text: a year, a month, a week, a day, or both dates."""
        start, days = self.start, len(self)
        if _is_first(start) and _is_first(self.end):
            months = self._months()
            if months == 1:
                return start.isoformat()[:7]
            if months == 12 and start.month == 1:
                return start.isoformat()[:4]
        if days == 7 and start.weekday() == 0:
            year, week, _ = start.isocalendar()
            return f"{year:04d}-W{week:02d}"
        return start.isoformat() if days == 1 else f"{start.isoformat()}-{self.end.isoformat()}"


class DateIntervalParameter(Parameter[DateInterval]):
    """A :class:`DateInterval`; as text, a year, month, week, day or two dates."""

    def __new__(cls, *, default: DateInterval = UNSET, **options: Unpack[Options]) -> DateInterval:  # type: ignore[misc]
        """Declare an interval of dates; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> DateInterval:
        """Return the interval; of a subclass, a plain :class:`DateInterval`."""
        if not isinstance(value, DateInterval):
            raise ValueError(f"give a DateInterval, not {described(value)}")
        return value if type(value) is DateInterval else DateInterval(value.start, value.end)

    def parse(self, text: str) -> DateInterval:
        """Read a year, month, week, day or two dates."""
        return DateInterval.parse(text)

    def json_schema(self) -> dict[str, object]:
        """Return a ``string`` schema of the texts' forms."""
        day = r"\d{4}-\d{2}-\d{2}"
        return {"type": "string", "pattern": rf"^(\d{{4}}|\d{{4}}-\d{{2}}|\d{{4}}-W\d{{2}}|{day}|{day}-{day})$"}

    def sample(self) -> DateInterval:
        """Return a month."""
        return DateInterval.month(2021, 3)

    def variation(self, value: DateInterval) -> DateInterval:
        """Return the interval that follows, or where the calendar ends the one before."""
        try:
            return value.next()
        except (ValueError, OverflowError):
            return value.prev()


class OptionalDateIntervalParameter(OptionalOf[DateInterval], DateIntervalParameter):
    """A :class:`DateInterval`, or ``None``."""


def _is_first(day: dt.date) -> bool:
    return day.day == 1
