"""The encoding of a parameter's value: everything that ``run()`` can see of the value counts.

The canonical encoding takes equal values for one: a list and a tuple, a dict in any order, ``0.0`` and ``-0.0``, one
instant in two zones. ``run()`` can tell them apart. Most parameters of this package normalise their values; the offset
of a moment stays, and a user's own parameter may keep anything. So a value that is not in its canonical form counts with
its appearance: its differences from the canonical form. A value in its canonical form has no differences, and so its
canonical encoding. Objects with ``canonical_form()`` or ``gokart_serialize()`` count by the result of that method only.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import TypeAlias
from uuid import UUID

from airflow_kart.identity.encoding import TaskEncoder, encode, tagged
from airflow_kart.identity.names import is_own

_CANONICAL = frozenset({type(None), bool, int, str, bytes, dt.date, dt.timedelta, UUID})
"""Types all of whose values are in their canonical form."""
_Difference: TypeAlias = "tuple[object, ...]"


def encode_parameter(value: object, task: TaskEncoder | None = None) -> bytes:
    """Return the encoding of a parameter's value: canonical, and followed by the value's appearance if that differs.

    Args:
        value: as for :func:`~airflow_kart.identity.encoding.encode`.
        task: as for :func:`~airflow_kart.identity.encoding.encode`.

    Raises:
        IdentityError: the value, or a part of the value, has no canonical form.
    """
    canonical = encode(value, task)
    if type(value) in _CANONICAL:
        return canonical
    appearance = [encode(part) for part in _appearance(value, task)]
    return tagged(b"a", b"".join([canonical, *appearance])) if appearance else canonical


def _appearance(value: object, task: TaskEncoder | None, path: _Difference = ()) -> Iterator[_Difference]:
    """Return the differences from the canonical form, each with the path of the part that differs."""
    own = _OWN.get(type(value))
    if own is not None:
        difference = own(value)
        if difference is not None:
            yield (*path, difference)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from _of_collection(value, task, path)
    elif isinstance(value, Mapping):
        yield from _of_mapping(value, task, path)
    elif isinstance(value, _SUBCLASSABLE) and not isinstance(value, (enum.Enum, Path)):
        yield (*path, _type_name(value))
        if isinstance(value, (dt.datetime, dt.time)) and (difference := _of_time(value)) is not None:
            yield (*path, difference)


def _of_collection(value: Collection[object], task: TaskEncoder | None, path: _Difference) -> Iterator[_Difference]:
    if type(value) not in (tuple, frozenset):
        yield (*path, _type_name(value))
    ordered = isinstance(value, (list, tuple))
    keys = {b"%d" % index if ordered else encode(item, task): item for index, item in enumerate(value)}
    for key in keys if ordered else sorted(keys):
        yield from _appearance(keys[key], task, (*path, key))


def _of_mapping(value: Mapping[object, object], task: TaskEncoder | None, path: _Difference) -> Iterator[_Difference]:
    if not is_own(type(value)):  # FrozenDict is the canonical mapping
        yield (*path, _type_name(value))
    texts = [key for key in value if type(key) is str]
    keys: Mapping[object, bytes] = {} if len(texts) == len(value) else {key: encode(key, task) for key in value}
    in_order: list[object] = sorted(keys, key=keys.__getitem__) if keys else [*sorted(texts)]
    if list(value) != in_order:
        yield (*path, "order", *(keys.get(key, key) for key in value))
    for key in in_order:
        if keys:
            yield from _appearance(key, task, (*path, b"key", keys[key]))
        yield from _appearance(value[key], task, (*path, b"value", keys.get(key, key)))


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _of_float(value: float) -> str | None:
    return "-0.0" if value == 0.0 and math.copysign(1.0, value) < 0 else None


def _of_decimal(value: Decimal) -> str | None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return None  # the canonical encoding is the whole text
    plain = digits == (0,) and not sign and exponent == 0
    return None if plain or (digits[0] != 0 and digits[-1] != 0) else str(value)


def _of_time(value: dt.datetime | dt.time) -> tuple[object, ...] | None:
    """Return the zone as far as ``run()`` sees it, and which of two equal times of the clock a value is."""
    offset, zone = value.utcoffset(), value.tzinfo
    if zone is None or (type(zone) is dt.timezone and not offset and zone.tzname(None) == "UTC"):
        return (value.fold,) if value.fold else None
    name = getattr(zone, "key", None) or value.tzname()
    return value.fold, offset, type(zone).__name__, name


_SUBCLASSABLE = (dt.date, dt.time, dt.timedelta, PurePath)
_OWN: dict[type, Callable[..., object]] = {
    **dict.fromkeys(_CANONICAL, lambda _: None),
    float: _of_float,
    Decimal: _of_decimal,
    dt.datetime: _of_time,
    dt.time: _of_time,
}
