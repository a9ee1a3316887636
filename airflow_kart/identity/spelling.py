"""How a class's name is spelled in ids of Airflow, and the words for a name that nothing has."""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """Return a class's name in the style of Airflow ids: ``flight_delays`` for ``FlightDelays``."""
    return _UNFIT.sub("_", _HUMP.sub("_", name)).lower()


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, if one is close."""
    import difflib  # for errors only: it takes milliseconds to load

    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def unmatched(name: object, known: Iterable[str]) -> str:
    """Return the words of an error: a name matches no task."""
    known = sorted(known)
    close = closest(name, known) if isinstance(name, str) else None
    hint = f"; did you mean {close}?" if close else ""
    return f"no task matches {name!r}; there are {', '.join(known)}{hint}"
