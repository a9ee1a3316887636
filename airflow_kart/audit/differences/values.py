"""One difference between two values, and the words and JSON for values that may be anything, odd ones included."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NamedTuple, cast

from airflow_kart.artifacts.sidecar.jsonable import Json
from airflow_kart.formats.base import type_name

_LONGEST = 200


class Delta(NamedTuple):
    """One difference between two values."""

    path: str
    change: str
    """``changed``; ``added``, only in the second; ``gone``, only in the first."""
    before: Json = None
    after: Json = None


def same(one: object, other: object) -> bool:
    """Whether two values are equal, of one class, ``nan`` being equal to itself; values that cannot be compared are not."""
    if one is other:
        return True
    with suppress(Exception):  # an __eq__ may raise, or return an array
        if type(one) is type(other) and bool(one == other):
            return True
        return bool(one != one) and bool(other != other) and type(one) is type(other)  # noqa: PLR0124 - only nan differs from itself
    return False


def shown(value: object) -> Json:
    """Return a value as JSON: numbers, texts and truth values as they are, any other as a short text."""
    plain: Any = value
    with suppress(Exception):  # of numpy's scalars
        if plain.ndim == 0:
            plain = plain.item()
    if plain is None or type(plain) in (bool, int) or (type(plain) is float and math.isfinite(plain)):
        return cast(Json, plain)
    return shortened(plain if type(plain) is str else words(value))


def words(value: object) -> str:
    """Return ``repr()``, or the class of an object whose ``repr()`` raises."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a repr may raise anything
        return f"<{type_name(value)}>"


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text, or its beginning."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def changed(path: str, before: object, after: object) -> Delta:
    """Return the difference of two values; of different classes that look alike the classes, too."""
    one, other = shown(before), shown(after)
    if type(before) is not type(after) and (one == other or not isinstance(before, (str, int, float, type(None)))):
        one, other = (f"{type_name(value)}: {text}" for value, text in ((before, one), (after, other)))
    return Delta(path, "changed", one, other)


def distance(one: Any, other: Any) -> dict[str, Json]:
    """Return the largest absolute and relative differences between two arrays of numbers of one shape."""
    import numpy as np

    with np.errstate(all="ignore"), suppress(TypeError, ValueError):  # arrays of texts have no distances
        wide = [array.astype("complex128" if array.dtype.kind == "c" else "float64") for array in (one, other)]
        apart = np.abs(wide[0] - wide[1])
        finite = np.isfinite(apart)
        if finite.any():
            relative = apart[finite] / np.maximum(np.abs(wide[0]), np.abs(wide[1]))[finite]
            return {"largest": shown(apart[finite].max()), "largest_relative": shown(np.nanmax(relative, initial=0.0))}
    return {}
