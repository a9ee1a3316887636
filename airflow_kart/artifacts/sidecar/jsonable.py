"""Any value as JSON (RFC 8259), for documents that have to hold all values that a task puts into them."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value of JSON."""

_DEEPEST = 50


def encoded(value: object, *, in_order: bool = False) -> str:
    """Return any value as the text of one line of JSON.

    Args:
        value: what :func:`as_json` takes.
        in_order: whether to sort the keys of objects.
    """
    if type(value) in _EMPTY and not value:
        return _EMPTY[type(value)]
    encode = _ENCODE_IN_ORDER if in_order else _ENCODE
    try:
        return encode(value)
    except (TypeError, ValueError, RecursionError):  # a key, a number or a depth that JSON cannot express
        return encode(as_json(value, 1))


def as_json(value: object, depth: int = 0) -> Json:
    """Return a value as JSON's types: numpy's numbers as numbers, values without a JSON form as text."""
    if type(value) in _PLAIN:
        return value  # type: ignore[return-value]  # of JSON's own types
    for kind, convert in _SCALARS:
        if isinstance(value, kind):
            return convert(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(key): as_json(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [as_json(item, depth + 1) for item in value]
        if type(value).__module__ == "numpy" and callable(to_list := getattr(value, "tolist", None)):
            return as_json(to_list(), depth + 1)
    return _as_text(value)


_EMPTY: dict[type, str] = {type(None): "null", dict: "{}", list: "[]"}


def _encoder(*, sort_keys: bool) -> Callable[[object], str]:
    """Return ``JSONEncoder.encode``; where json has an encoder in C, without making that anew for each call."""
    encoder = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, sort_keys=sort_keys, default=as_json
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    text = getattr(json.encoder, "c_encode_basestring", None)
    if make is None or text is None:
        return encoder.encode
    pieces = make(None, as_json, text, None, encoder.key_separator, encoder.item_separator, sort_keys, False, False)
    return lambda value: "".join(pieces(value, 0))


_ENCODE, _ENCODE_IN_ORDER = _encoder(sort_keys=False), _encoder(sort_keys=True)
_PLAIN = frozenset({str, int, bool, type(None)})
# In this order: a bool is an int, and an enum may be a str.
_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Json]], ...] = (
    ((type(None), bool), lambda value: value),
    (enum.Enum, lambda value: value.name),
    (str, str.__str__),
    (int, int),
    (float, lambda value: float(value) if math.isfinite(value) else repr(float(value))),
    ((dt.date, dt.time), lambda value: value.isoformat()),
)


def _as_text(value: object) -> str:
    try:
        return str(value)  # whole: nobody recognises a part of a secret
    except Exception:  # noqa: BLE001 - a value's own __str__ may raise anything
        return f"<{type(value).__qualname__}>"
