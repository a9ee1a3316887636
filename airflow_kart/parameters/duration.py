"""Parameters of durations."""

from __future__ import annotations

import datetime as dt
import re

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf

_UNITS = ("weeks", "days", "hours", "minutes", "seconds")
_NUMBER = r"(?P<{unit}>\d+)"
_SECONDS = r"(?P<seconds>\d+)([.,](?P<fraction>\d{1,6}))?"


def _worded() -> str:
    """Return a pattern of ``1 w 2 days 3h``: the longer unit first, each by its first letter or its name."""
    parts = []
    for unit in _UNITS:
        number = _SECONDS if unit == "seconds" else _NUMBER.format(unit=unit)
        parts.append(rf"({number}\s*{unit[0]}({unit[1:-1]}s?)?(\s+|(?=\d)|$))?")
    return "".join(parts)


def _iso() -> str:
    """Return a pattern of ISO 8601 durations, without years and months, which have no fixed length."""
    time = "".join(rf"({_NUMBER.format(unit=unit)}{unit[0]})?" for unit in ("hours", "minutes"))
    return rf"P({_NUMBER.format(unit='weeks')}W|({_NUMBER.format(unit='days')}D)?(T(?=\d){time}({_SECONDS}S)?)?)"


_FORMS = [re.compile(form, re.ASCII | re.IGNORECASE) for form in (_SECONDS, _iso(), _worded())]


class TimeDeltaParameter(Parameter[dt.timedelta]):
    """A ``datetime.timedelta``; as text seconds (``90``), words (``1 day 2 hours``, ``1 d 2 h``) or ISO 8601 (``P1DT2H``).

    A sign before the text counts for the whole text. :meth:`serialize` writes ``0 w 1 d 2 h 0 m 0 s``.
    """

    def __new__(cls, *, default: dt.timedelta = UNSET, **options: Unpack[Options]) -> dt.timedelta:  # type: ignore[misc]
        """Declare a duration; see :class:`Options`."""
        return cls._declare(default, options)  # type: ignore[no-any-return]

    def normalize(self, value: object) -> dt.timedelta:
        """Return a plain ``datetime.timedelta``, also of a pandas timedelta and a pendulum duration.

        Raises:
            ValueError: the value is no timedelta, or has a fraction of a microsecond.
        """
        if not isinstance(value, dt.timedelta):
            raise ValueError(f"give a datetime.timedelta, not {described(value)}")
        plain = dt.timedelta.__add__(value, dt.timedelta(0))
        if plain != value:
            raise ValueError(
                f"{described(value)} has a fraction of a microsecond; give {plain!r}, or count nanoseconds as an int"
            )
        return plain

    def parse(self, text: str) -> dt.timedelta:
        """Read seconds, words or ISO 8601."""
        body = text.strip()
        sign = -1 if body.startswith("-") else 1
        body = body[1:].lstrip() if body.startswith(("-", "+")) else body
        for form in _FORMS:
            found = form.fullmatch(body)
            if found is not None and any(found.groups()):
                parts = found.groupdict()
                amounts = {unit: int(parts.get(unit) or 0) for unit in _UNITS}
                fraction = (parts.get("fraction") or "").ljust(6, "0")
                return sign * dt.timedelta(**amounts, microseconds=int(fraction))
        raise ValueError(f"{text!r} is not a duration; write seconds, 1 day 2 hours, or P1DT2H")

    def serialize(self, value: dt.timedelta) -> str:
        """Return weeks, days, hours, minutes and seconds."""
        size = abs(value)
        minutes, seconds = divmod(size.seconds, 60)
        fraction = f".{size.microseconds:06d}" if size.microseconds else ""
        text = f"{size.days // 7} w {size.days % 7} d {minutes // 60} h {minutes % 60} m {seconds}{fraction} s"
        return f"-{text}" if value < dt.timedelta(0) else text

    def sample(self) -> dt.timedelta:
        """Return a day."""
        return dt.timedelta(days=1)

    def variation(self, value: dt.timedelta) -> dt.timedelta:
        """Return a duration of other days, hours, minutes and seconds."""
        shift = dt.timedelta(days=9, hours=1, minutes=1, seconds=1)
        return value + shift if value < dt.timedelta(days=999) else value - shift


class OptionalTimeDeltaParameter(OptionalOf[dt.timedelta], TimeDeltaParameter):
    """A ``datetime.timedelta``, or ``None``."""
