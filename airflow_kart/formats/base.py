"""What a format promises: an object to bytes and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, runtime_checkable

from airflow_kart.exceptions import FormatError

__all__ = [
    "Description",
    "Format",
    "FormatFactory",
    "ReadsByType",
    "ReadsInParts",
    "Writable",
    "options_of",
    "reader_for",
    "require_type",
    "type_name",
    "with_options",
]


class Writable(Protocol):
    """A binary stream a format writes to. It cannot seek; formats that fail half way may start again."""

    def write(self, data: Any, /) -> int:
        """Write bytes."""
        ...

    def restart(self) -> None:
        """Forget what was written."""
        ...


@dataclass(frozen=True)
class Description:
    """What a sidecar says of an object."""

    type: str
    """The object's class, as ``module.Class``."""
    rows: int | None = None
    """How many rows a table has."""
    columns: dict[str, str] | None = None
    """The column types of a table, by name, in order."""


class Format(Protocol):
    """A way to write objects as bytes and to read them back.

    ``dump`` and ``load`` raise :class:`~airflow_kart.exceptions.FormatError` for an object or bytes of the wrong kind.
    A format with options is a frozen dataclass: sidecars record the fields that were given, and an artifact is read
    with those it was written with. A field that concerns reading only has ``metadata={"recorded": False}``.
    """

    @property
    def name(self) -> str:
        """The name that sidecars record."""
        ...

    def dump(self, obj: Any, stream: Any) -> Description | None:
        """Write an object to a :class:`Writable` that is also an ``io.RawIOBase``.

        Returns:
            What was written, where the object itself does not tell; else ``None``.
        """
        ...

    def load(self, stream: BinaryIO) -> Any:
        """Read the object from a stream that can seek."""
        ...


@runtime_checkable
class ReadsByType(Protocol):
    """A format that reads bytes differently, depending on what was dumped."""

    def for_type(self, dumped: str) -> Format:
        """Return the format that reads what was dumped back as what it was.

        Args:
            dumped: the class of the dumped object, as :func:`type_name` gives it.
        """
        ...


@runtime_checkable
class ReadsInParts(Protocol):
    """A format that can read an object part by part, without holding the rest."""

    def load_parts(self, stream: BinaryIO) -> Iterator[Any]:
        """Read the parts in order, from a stream that can seek."""
        ...


def reader_for(target_format: Format, dumped: str) -> Format:
    """Return the format to read with, given the class of what was dumped."""
    return target_format.for_type(dumped) if isinstance(target_format, ReadsByType) else target_format


def options_of(target_format: Format) -> dict[str, Any]:
    """Return the options of a format that differ from their defaults, as far as JSON has a form for them."""
    given = {name: getattr(target_format, name) for name in _options(target_format)}
    return {
        name: value
        for name, value in given.items()
        if value != _options(target_format)[name] and isinstance(value, (str, int, float, bool, type(None)))
    }


def with_options(target_format: Format, recorded: Mapping[str, Any]) -> Format:
    """Return the format with the options that a sidecar recorded in place of its own."""
    own = options_of(target_format)
    if own == recorded:
        return target_format
    defaults = _options(target_format)
    changed = {name: defaults[name] for name in own}
    changed.update({name: value for name, value in recorded.items() if name in defaults})
    any_format: Any = target_format
    replaced: Format = dataclasses.replace(any_format, **changed) if changed else target_format
    return replaced


def _options(target_format: Any) -> dict[str, Any]:
    """Return the defaults of the options that a sidecar records: all but those that concern reading only."""
    fields = dataclasses.fields(target_format) if dataclasses.is_dataclass(target_format) else ()
    return {field.name: field.default for field in fields if field.init and field.metadata.get("recorded", True)}


def require_type(obj: object, expected: type | tuple[type, ...], format_name: str, advice: str) -> None:
    """Refuse an object that a format cannot write.

    Raises:
        FormatError: the object is not of an expected type.
    """
    if not isinstance(obj, expected):
        raise FormatError(f"the {format_name} format cannot write a {type_name(obj)}; {advice}")


def type_name(obj: object) -> str:
    """Return an object's class as ``module.Class``."""
    return f"{type(obj).__module__}.{type(obj).__qualname__}"


FormatFactory = Callable[[], Format]
