"""Parameters of moments: a date with a time, without a zone or with one."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import ClassVar

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - these moments have no zone
_SHIFT = dt.timedelta(days=593, hours=5, minutes=7, seconds=11)
_ZONED = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:[.,]\d+)?(?:(Z)|([+-]\d\d):?(\d\d)(:\d\d)?)", re.ASCII | re.IGNORECASE
)


class DateSecondParameter(Parameter[dt.datetime]):
    """A ``datetime.datetime`` without a zone, to the second; as text, ``YYYY-MM-DDTHHMMSS`` (ISO 8601).

    The value is the given moment without fractions of a second, or with an ``interval`` the interval's first second.
    """

    interval: int
    start: dt.datetime
    unit: ClassVar[dt.timedelta] = dt.timedelta(seconds=1)
    text_form: ClassVar[str] = "YYYY-MM-DDTHHMMSS"
    text_pattern: ClassVar[str] = r"(\d{4})-(\d{2})-(\d{2})T(\d{2})(?::?(\d{2})){2}"

    def __new__(  # type: ignore[misc]
        cls, *, default: dt.datetime = UNSET, interval: int = 1, start: dt.datetime = EPOCH, **options: Unpack[Options]
    ) -> dt.datetime:
        """Declare a moment.

        Args:
            default: moment where the caller gives none.
            interval: length of an interval, in hours, minutes or seconds. A given moment stands for the interval that
                contains the moment.
            start: a moment at which an interval starts.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, interval=interval, start=start)  # type: ignore[no-any-return]

    def check_options(self) -> None:
        """Check the interval and its start."""
        if isinstance(self.interval, bool) or not isinstance(self.interval, int) or self.interval < 1:
            raise ValueError(f"interval is {described(self.interval)}; give a whole number above zero")
        _ = self.unit * self.interval
        try:
            self.start = _without_zone(self.start)
        except ValueError as error:
            raise ValueError(f"start: {error}") from error

    def normalize(self, value: object) -> dt.datetime:
        """Return the start of the moment's interval, as a plain datetime."""
        moment = _without_zone(value)
        return moment - (moment - self.start) % (self.unit * self.interval)

    def parse(self, text: str) -> dt.datetime:
        """Read the text of :meth:`serialize`, with or without colons in the time."""
        if re.fullmatch(self.text_pattern, text.strip(), re.ASCII) is None:
            raise ValueError(f"{text!r} is not a date and time; write it as {self.text_form}")
        digits = re.sub(r"\D", "", text)
        parts = [int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, len(digits), 2))]
        return self.normalize(dt.datetime(*parts))  # type: ignore[arg-type]  # noqa: DTZ001 - and no zone

    def serialize(self, value: dt.datetime) -> str:
        """Return the text, ``T`` between date and time and no colons."""
        return value.isoformat().replace(":", "")[: len(self.text_form)]

    def json_schema(self) -> dict[str, object]:
        """Return a ``string`` schema of the text's form; a ``date-time`` field would add a zone."""
        times = r"(:?\d{2})" * ((len(self.text_form) - len("YYYY-MM-DDTHH")) // 2)
        return {"type": "string", "pattern": rf"^\d{{4}}-\d{{2}}-\d{{2}}T\d{{2}}{times}$"}

    def sample(self) -> dt.datetime:
        """Return a moment in the middle of an hour, day, week, month and year, or the start of its interval."""
        return self.normalize(dt.datetime(2021, 3, 17, 10, 23, 41))  # noqa: DTZ001 - and no zone

    def variation(self, value: dt.datetime) -> dt.datetime:
        """Return a moment of another interval, hour, day, month and year."""
        with contextlib.suppress(OverflowError):
            shift = _SHIFT + self.unit * self.interval
            return self.normalize(value + shift if value.year < 9000 else value - shift)
        return value


class OptionalDateSecondParameter(OptionalOf[dt.datetime], DateSecondParameter):
    """A ``datetime.datetime`` without a zone, to the second, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls,
        *,
        default: dt.datetime | None = UNSET,
        interval: int = 1,
        start: dt.datetime = EPOCH,
        **options: Unpack[Options],
    ) -> dt.datetime | None:
        """Declare a moment or ``None``; see :class:`DateSecondParameter`."""
        return cls._declare(default, options, interval=interval, start=start)  # type: ignore[no-any-return]


class DateMinuteParameter(DateSecondParameter):
    """A ``datetime.datetime`` without a zone, to the minute; as text, ``YYYY-MM-DDTHHMM``."""

    unit = dt.timedelta(minutes=1)
    text_form = "YYYY-MM-DDTHHMM"
    text_pattern = r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):?(\d{2})"


class OptionalDateMinuteParameter(OptionalDateSecondParameter, DateMinuteParameter):
    """A ``datetime.datetime`` without a zone, to the minute, or ``None``."""


class DateHourParameter(DateSecondParameter):
    """A ``datetime.datetime`` without a zone, to the hour; as text, ``YYYY-MM-DDTHH``."""

    unit = dt.timedelta(hours=1)
    text_form = "YYYY-MM-DDTHH"
    text_pattern = r"(\d{4})-(\d{2})-(\d{2})T(\d{2})"


class OptionalDateHourParameter(OptionalDateSecondParameter, DateHourParameter):
    """A ``datetime.datetime`` without a zone, to the hour, or ``None``."""


class ZonedDateSecondParameter(Parameter[dt.datetime]):
    """A ``datetime.datetime`` with its offset from UTC, to the second; as text, ``YYYY-MM-DDTHH:MM:SS+HH:MM``.

    The instant counts in the identity, the offset does not.
    """

    def __new__(cls, *, default: dt.datetime = UNSET, **options: Unpack[Options]) -> dt.datetime:  # type: ignore[misc]
        """Declare a moment with a zone; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> dt.datetime:
        """Return the second the moment is in, with a fixed offset in place of a zone's rules, as text keeps no more."""
        if not isinstance(value, dt.datetime):
            raise ValueError(f"give a datetime.datetime, not {described(value)}")
        offset = value.utcoffset()
        if offset is None:
            raise ValueError(f"{value.isoformat()} has no zone; add one: .replace(tzinfo=...)")
        local = dt.datetime(*value.timetuple()[:6])  # noqa: DTZ001 - the zone is added below
        if offset % dt.timedelta(minutes=1):  # of times before time zones; ISO 8601 has no text for them
            local, offset = local - offset, dt.timedelta(0)
        return local.replace(tzinfo=dt.timezone(offset))

    def parse(self, text: str) -> dt.datetime:
        """Read ISO 8601 with an offset or ``Z``; fractions of a second are dropped."""
        found = _ZONED.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is not a date and time with a zone; write it as YYYY-MM-DDTHH:MM:SS+HH:MM")
        date, minute, second, utc, hours, minutes, seconds = found.groups()
        offset = "+00:00" if utc else f"{hours}:{minutes}{seconds or ''}"
        return self.normalize(dt.datetime.fromisoformat(f"{date}T{minute}{second or ':00'}{offset}"))

    def serialize(self, value: dt.datetime) -> str:
        """Return ISO 8601 with the offset."""
        return value.isoformat()

    def json_schema(self) -> dict[str, object]:
        """Return a ``date-time`` schema, which the trigger form shows as a calendar with a clock."""
        return {"type": "string", "format": "date-time"}

    def sample(self) -> dt.datetime:
        """Return a moment in the middle of an hour, day, week, month and year."""
        return dt.datetime(2021, 3, 17, 10, 23, 41, tzinfo=dt.timezone.utc)

    def variation(self, value: dt.datetime) -> dt.datetime:
        """Return a moment of another hour, day, month and year."""
        return value + _SHIFT if value.year < 9000 else value - _SHIFT


class OptionalZonedDateSecondParameter(OptionalOf[dt.datetime], ZonedDateSecondParameter):
    """A ``datetime.datetime`` with its offset from UTC, to the second, or ``None``."""


def _without_zone(value: object) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise ValueError(f"give a datetime.datetime, not {described(value)}")
    if value.tzinfo is not None:
        raise ValueError(f"{value.isoformat()} has a zone; give local time without one, or use ZonedDateSecondParameter")
    return dt.datetime(*value.timetuple()[:6])  # noqa: DTZ001 - a plain one, pendulum's become one, to the second
