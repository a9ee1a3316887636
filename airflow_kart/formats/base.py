"""What a format promises: an object to bytes and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, runtime_checkable

from airflow_kart.exceptions import FormatError

__all__ = [
    "READING",
    "Description",
    "Format",
    "FormatFactory",
    "LoadsColumns",
    "ReadsByColumns",
    "ReadsByType",
    "ReadsInParts",
    "VerifiesColumns",
    "Writable",
    "options_of",
    "reader_for",
    "require_type",
    "type_name",
    "with_options",
]


READING: Mapping[str, Any] = {"recorded": False}
"""The metadata of a dataclass field that concerns reading only, so that no sidecar records it."""


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
    with those it was written with. A field that concerns reading only has ``metadata=READING``.
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
class ReadsByColumns(Protocol):
    """A format whose bytes do not say of what types the columns of a table are."""

    def for_columns(self, columns: Mapping[str, str]) -> Format:
        """Return the format that reads the columns as those that were dumped.

        Args:
            columns: the column types by name, in order, as :class:`Description` gives them.
        """
        ...


@runtime_checkable
class ReadsInParts(Protocol):
    """A format that can read an object part by part, without holding the rest."""

    def load_parts(self, stream: BinaryIO) -> Iterator[Any]:
        """Read the parts in order, from a stream that can seek."""
        ...


@runtime_checkable
class LoadsColumns(Protocol):
    """A format that can read some columns of a table without decoding the rest."""

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> Any:
        """Read columns, in the order asked for, from a stream that can seek.

        Args:
            stream: where the bytes are.
            columns: their names, each once.

        Raises:
            FormatError: there is no such column, or the bytes are of the wrong kind.
        """
        ...


@runtime_checkable
class VerifiesColumns(LoadsColumns, Protocol):
    """A format whose bytes hold checksums by which columns can be verified without the rest."""

    def verifies_columns(self, dumped: str) -> bool:
        """Whether :meth:`load_columns` verifies what it reads of an artifact.

        Args:
            dumped: the class of the dumped object, as :func:`type_name` gives it.
        """
        ...


def reader_for(target_format: Format, dumped: str | None, columns: Mapping[str, str] | None = None) -> Format:
    """Return the format to read with, given the class of what was dumped, and the column types where it was a table."""
    reader = target_format
    if dumped is not None and isinstance(reader, ReadsByType):
        reader = reader.for_type(dumped)
    if columns is not None and isinstance(reader, ReadsByColumns):
        reader = reader.for_columns(columns)
    return reader


def options_of(target_format: Format) -> dict[str, Any]:
    """Return the options of a format that differ from their defaults, as far as JSON has a form for them.

    The options of a format inside it are an object of their own.
    """
    given: dict[str, Any] = {}
    for name, default in _options(target_format).items():
        value = getattr(target_format, name)
        if _is_format(value):
            inner = options_of(value)
            if inner:
                given[name] = inner
        elif value != default and isinstance(value, (str, int, float, bool, type(None))):
            given[name] = value
    return given


def with_options(target_format: Format, recorded: Mapping[str, Any]) -> Format:
    """Return the format with the options that a sidecar recorded in place of its own."""
    own = options_of(target_format)
    if own == recorded:
        return target_format
    changed: dict[str, Any] = {}
    for name, default in _options(target_format).items():
        value = getattr(target_format, name)
        if _is_format(value):
            inner = recorded.get(name)
            changed[name] = with_options(value, inner if isinstance(inner, Mapping) else {})
        elif name in recorded or name in own:
            changed[name] = recorded.get(name, default)
    any_format: Any = target_format
    replaced: Format = dataclasses.replace(any_format, **changed) if changed else target_format
    return replaced


def _options(target_format: Any) -> dict[str, Any]:
    """Return the defaults of the options that a sidecar records: all but those that concern reading only."""
    fields = dataclasses.fields(target_format) if dataclasses.is_dataclass(target_format) else ()
    return {field.name: field.default for field in fields if field.init and field.metadata.get("recorded", True)}


def _is_format(value: object) -> bool:
    return dataclasses.is_dataclass(value) and hasattr(value, "dump") and hasattr(value, "load")


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
