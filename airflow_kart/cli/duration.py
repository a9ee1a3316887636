"""Durations on a command line."""

from __future__ import annotations

import argparse
import datetime as dt
import re

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_FORM = re.compile(r"(\d{1,5})\s*([dhms])", re.ASCII)


def duration(text: str) -> dt.timedelta:
    """Parse ``90m``, ``24h`` or ``7d``; argparse takes the function as a ``type``.

    Raises:
        argparse.ArgumentTypeError: the text is no duration.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write a number and d, h, m or s, such as 24h")
    return dt.timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment(text: str) -> dt.datetime | dt.timedelta:
    """Parse a duration, a date or a time; argparse takes the function as a ``type``. A time without a zone is of UTC.

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    if _FORM.fullmatch(text.strip()):
        return duration(text)
    try:
        found = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date or time, 2013-03-01T06:00, nor a duration, 7d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)


def duration_text(length: dt.timedelta) -> str:
    """Return a duration in its two largest units, ``1d 2h``, rounded down; a negative duration counts as zero."""
    left = max(0, int(length.total_seconds()))
    amounts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, seconds)
        amounts.append((amount, unit))
    first = next((place for place, (amount, _) in enumerate(amounts) if amount), len(amounts) - 1)
    shown = [amounts[first], *(pair for pair in amounts[first + 1 : first + 2] if pair[0])]
    return " ".join(f"{amount}{unit}" for amount, unit in shown)
