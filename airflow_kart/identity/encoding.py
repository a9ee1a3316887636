"""Canonical encoding of values, and unique ids.

A unique id names the result of a task. The id is the BLAKE2b digest (16 bytes, RFC 7693) of a canonical encoding. The
encoding is typed (``1``, ``True``, ``1.0`` and ``"1"`` differ), length-prefixed (no two values share an encoding),
order-free for dicts and sets, and tagged with its domain and version. Only the values count: not the time, the process,
the hash seed or the import order.

Never change an id: the order of a dict, a list in place of a tuple, the time zone of an instant, comments in the code.
A new version of the encoding, below, changes every id, and the golden vectors of the tests.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

from airflow_kart.exceptions import IdentityError
from airflow_kart.identity.names import plain_class_name

_UNIQUE_ID_DOMAIN = b"airflow-kart/unique-id/1"
_PARAMETERS_DOMAIN = b"airflow-kart/parameters/1"


class Identified:
    """Base class of tasks: an encoding contains a task by one of its digests, not by the task's attributes."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def unique_id(self) -> str:
            """The id of the artifact that the task produces."""
            ...

        @property
        def parameter_digest(self) -> bytes:
            """The digest of the task's class and all its parameters."""
            ...


class Canonical(Protocol):
    """A value of a user's type that describes itself for the encoding."""

    def canonical_form(self) -> tuple[str, object]:
        """Return a name for the kind of value, unique to the kind, and a value that has a canonical encoding."""
        ...


TaskEncoder = Callable[[Identified], bytes]


def unique_id(class_name: str, code_version: str | None, parameters: bytes, requirements: bytes) -> str:
    """Return the unique id of a task as 32 hex digits.

    Args:
        class_name: logical name of the task's class.
        code_version: the version of the task's code, if the version counts in the identity.
        parameters: the encoded significant parameters, of :func:`encode_items`.
        requirements: encoded structure of ``requires()``, with unique ids for tasks.
    """
    parts = [_name(class_name), encode(code_version), parameters, requirements]
    return digest(_UNIQUE_ID_DOMAIN, parts).hex()


def parameter_digest(class_name: str, parameters: bytes) -> bytes:
    """Return the digest of equal tasks: class and all parameters, without ``requires()``."""
    return digest(_PARAMETERS_DOMAIN, [_name(class_name), parameters])


def digest(domain: bytes, parts: Iterable[bytes]) -> bytes:
    """Return the 16-byte BLAKE2b digest of encodings under a domain tag."""
    return hashlib.blake2b(b"".join([_domain(domain), *parts]), digest_size=16).digest()


def encode(value: object, task: TaskEncoder | None = None) -> bytes:
    """Return the canonical encoding of a value.

    Args:
        value: ``None``, bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal, UUID, path, enum
            member, task, task class, an object with ``canonical_form()`` or ``gokart_serialize()``, or any nesting of
            list, tuple, dict, set and frozenset of these.
        task: encodes a task inside the value; by default by its unique id.

    Raises:
        IdentityError: the value, or a part of the value, has no canonical form.
    """
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    if isinstance(value, Identified):
        return task(value) if task is not None else encode_id(value.unique_id)
    if isinstance(value, (list, tuple)):
        return tagged(b"l", b"".join([encode(item, task) for item in value]))
    if isinstance(value, Mapping):
        items = sorted((encode(key, task), encode(item, task)) for key, item in value.items())
        return tagged(b"m", b"".join([part for pair in items for part in pair]))
    if isinstance(value, (set, frozenset)):
        return tagged(b"S", b"".join(sorted(encode(item, task) for item in value)))
    if isinstance(value, enum.Enum):
        return tagged(b"e", _text(plain_class_name(type(value))) + _text(value.name))
    for base, scalar in _SUBCLASSABLE.items():
        if isinstance(value, base):
            _require_exact(value)
            return scalar(value)
    return _encode_own_type(value, task)


def _encode_own_type(value: object, task: TaskEncoder | None) -> bytes:
    """Return the encoding of a task class, or of a value that describes itself."""
    if isinstance(value, type) and issubclass(value, Identified):
        return tagged(b"k", _text(plain_class_name(value)))
    if hasattr(type(value), "canonical_form"):
        kind, form = cast(Canonical, value).canonical_form()
        return tagged(b"o", _text(kind) + encode(form, task))
    if hasattr(type(value), "gokart_serialize"):
        return tagged(b"z", _text(cast(Any, value).gokart_serialize()))
    raise IdentityError(
        f"a {type(value).__module__}.{type(value).__qualname__} has no canonical form; use None, bool, int, float, str, "
        "bytes, dates and times, timedelta, Decimal, UUID, paths, enum members, tasks, task classes, or lists, dicts and sets "
        "of these; or give it a method canonical_form()"
    )


def encode_id(task_id: str | bytes) -> bytes:
    """Return the encoding of a task by one of its digests."""
    return tagged(b"t", task_id.encode() if isinstance(task_id, str) else task_id)


def encode_items(items: Mapping[str, bytes]) -> bytes:
    """Return the encoding of encoded values by name."""
    return tagged(b"m", b"".join([_name(name) + items[name] for name in sorted(items)]))


def tagged(tag: bytes, content: bytes) -> bytes:
    """Return content with its tag and its length in front."""
    return b"%b%d:%b" % (tag, len(content), content)


@functools.lru_cache(maxsize=8)
def _domain(domain: bytes) -> bytes:
    return tagged(b"D", domain)


@functools.lru_cache(maxsize=4096)
def _name(name: str) -> bytes:
    """Return the encoding of a class's or a parameter's name, which all tasks of a class share."""
    return _text(name)


def _text(value: str) -> bytes:
    return tagged(b"s", value.encode("utf-8", "surrogatepass"))


def _float(value: float) -> bytes:
    if math.isnan(value):
        value = math.nan  # one of the many
    return b"f:" + struct.pack(">d", value + 0.0)  # + 0.0: the two zeros are equal, so they have one form


def _datetime(value: dt.datetime) -> bytes:
    offset, local = value.utcoffset(), _without_zone(value)
    if offset is None:
        return tagged(b"c", local.isoformat().encode())
    # Counted by hand: in UTC, the first and the last hours of the calendar lie outside it.
    instant = local - dt.datetime(1, 1, 1) - offset  # noqa: DTZ001 - the zone is the offset
    return tagged(b"C", b"%d" % (instant // dt.timedelta(microseconds=1)))


def _without_zone(value: dt.datetime) -> dt.datetime:
    """Return the time of the clock as a plain datetime: subclasses calculate in ways of their own."""
    date_and_time = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return dt.datetime(*date_and_time)  # noqa: DTZ001 - the zone is left out on purpose


def _decimal(value: Decimal) -> bytes:
    if not value.is_finite():
        return tagged(b"x", str(value).encode())
    sign, digits, exponent = value.as_tuple()
    number = "".join(map(str, digits)).lstrip("0")
    significant = number.rstrip("0")
    power = int(exponent) + len(number) - len(significant) if significant else 0
    return tagged(b"x", f"{'-' if sign and significant else ''}{significant or '0'}e{power}".encode())


def _require_exact(value: object) -> None:
    """Refuse a value of a subclass that is finer than its base class: nanoseconds, as pandas has them.

    Raises:
        IdentityError: the encoding would leave out a part of the value.
    """
    plain: object = value
    try:
        if isinstance(value, dt.datetime):
            plain = _without_zone(value).replace(tzinfo=value.tzinfo)
        elif isinstance(value, dt.timedelta):
            plain = dt.timedelta(value.days, value.seconds, value.microseconds)
        exact = plain == value
    except (TypeError, ValueError):
        exact = False
    if not exact:
        raise IdentityError(f"{value!r} is no whole number of microseconds; round the value, or count nanoseconds as an int")


def _timedelta(value: dt.timedelta) -> bytes:
    return tagged(b"w", b"%d,%d,%d" % (value.days, value.seconds, value.microseconds))


_SCALARS: dict[type, Callable[..., bytes]] = {
    type(None): lambda _: b"n",
    bool: lambda value: b"b1" if value else b"b0",
    int: lambda value: tagged(b"i", b"%x" % value),  # Python limits the digits of decimals
    float: _float,
    str: _text,
    bytes: lambda value: tagged(b"y", value),
    dt.date: lambda value: tagged(b"d", value.isoformat().encode()),
    dt.datetime: _datetime,
    dt.time: lambda value: tagged(b"h", value.isoformat().encode()),
    dt.timedelta: _timedelta,
    Decimal: _decimal,
    UUID: lambda value: tagged(b"u", value.bytes),
}
# Subclasses that add behaviour, not value: pendulum's dates and times, paths of every flavour.
_SUBCLASSABLE: dict[type, Callable[..., bytes]] = {
    dt.datetime: _datetime,
    dt.date: _SCALARS[dt.date],
    dt.time: _SCALARS[dt.time],
    dt.timedelta: _timedelta,
    PurePath: lambda value: tagged(b"p", value.as_posix().encode("utf-8", "surrogatepass")),
}
