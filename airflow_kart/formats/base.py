"""The contract of a format: an object to bytes and back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, TypeGuard, cast, runtime_checkable

from typing_extensions import Buffer

from airflow_kart.exceptions import FormatError

READING: Mapping[str, bool] = {"recorded": False}
"""Metadata for a dataclass field that concerns reading only: no sidecar records the field."""


class Writable(Protocol):
    """A binary stream that a format writes to. The stream cannot seek; a format that fails half way may start again."""

    def write(self, data: Buffer, /) -> int | None:
        """Write bytes; return their number."""
        ...

    def restart(self) -> None:
        """Forget all bytes written so far."""
        ...


@dataclass(frozen=True)
class Description:
    """A sidecar's description of an object."""

    type: str
    """The object's class, as ``module.Class``."""
    rows: int | None = None
    """The number of rows of a table."""
    columns: dict[str, str] | None = None
    """The column types of a table, by name, in order."""


class Format(Protocol):
    """A way to write objects as bytes and to read them back.

    ``dump`` and ``load`` raise :class:`~airflow_kart.exceptions.FormatError` for an object or bytes of the wrong kind.
    A format with options is a frozen dataclass: the sidecar records the fields that differ from their defaults, and the
    artifact is read with the recorded fields. A field that concerns reading only has ``metadata=READING``.

    A format whose decoder is safe with any bytes has ``trusts_bytes = False``: large artifacts are then verified while
    they are decoded, which is faster. All others are verified before.
    """

    @property
    def name(self) -> str:
        """The name that sidecars record."""
        ...

    def dump(self, obj: Any, stream: Any) -> Description | None:
        """Write an object to a :class:`Writable` that is also an ``io.RawIOBase``.

        Returns:
            A description of the written object, where the object itself does not tell; else ``None``.
        """
        ...

    def load(self, stream: BinaryIO) -> Any:
        """Read the object from a stream that can seek."""
        ...


@runtime_checkable
class ReadsByType(Protocol):
    """A format that reads bytes differently, depending on the class of the dumped object."""

    def for_type(self, dumped: str) -> Format:
        """Return the format that reads the dumped object back as an object of its class.

        Args:
            dumped: the class of the dumped object, as :func:`type_name` gives it.
        """
        ...


@runtime_checkable
class ReadsByColumns(Protocol):
    """A format whose bytes do not tell the column types of a table."""

    def for_columns(self, columns: Mapping[str, str]) -> Format:
        """Return the format that reads the columns with their dumped types.

        Args:
            columns: the column types by name, in order, as :class:`Description` gives them.
        """
        ...


@runtime_checkable
class ReadsInParts(Protocol):
    """A format that can read an object part by part, without holding the rest."""

    def load_parts(self, stream: BinaryIO) -> Iterator[object]:
        """Read the parts in order, from a stream that can seek."""
        ...


@runtime_checkable
class LoadsColumns(Protocol):
    """A format that can read some columns of a table without decoding the rest."""

    def load_columns(self, stream: BinaryIO, columns: Sequence[str]) -> object:
        """Read columns, in the order of ``columns``, from a stream that can seek.

        Args:
            stream: holds the bytes.
            columns: the names of the columns, each once.

        Raises:
            FormatError: the table lacks a column, or the bytes are of the wrong kind.
        """
        ...


@runtime_checkable
class VerifiesColumns(LoadsColumns, Protocol):
    """A format whose bytes hold checksums that verify columns without the rest."""

    def verifies_columns(self, dumped: str) -> bool:
        """Whether :meth:`load_columns` verifies the bytes of the columns.

        Args:
            dumped: the class of the dumped object, as :func:`type_name` gives it.
        """
        ...


def reader_for(target_format: Format, dumped: str | None, columns: Mapping[str, str] | None = None) -> Format:
    """Return the format to read with, given the class of the dumped object and, for a table, its column types."""
    reader = target_format
    if dumped is not None and hasattr(reader, "for_type") and isinstance(reader, ReadsByType):  # the protocol alone is slow
        reader = reader.for_type(dumped)
    if columns is not None and isinstance(reader, ReadsByColumns):
        reader = reader.for_columns(columns)
    return reader


def trusts_bytes(target_format: Format) -> bool:
    """Whether a format's decoder relies on right bytes; damaged ones may end its process. True where the format is silent."""
    return bool(getattr(target_format, "trusts_bytes", True))


def options_of(target_format: Format) -> dict[str, object]:
    """Return the options of a format that differ from their defaults, as far as JSON has a form for them.

    An inner format's options are an object of their own.
    """
    given: dict[str, object] = {}
    for name, default in _options(type(target_format)).items():
        value = getattr(target_format, name)
        if _is_format(value):
            inner = options_of(value)
            if inner:
                given[name] = inner
        elif value != default and isinstance(value, (str, int, float, bool, type(None))):
            given[name] = value
    return given


def reading_options(target_format: object) -> dict[str, object]:
    """Return the plain options of a format that concern reading only, which no sidecar records; an inner format's in their place."""
    found: dict[str, object] = {}
    for name, field in getattr(target_format, "__dataclass_fields__", {}).items():
        value = getattr(target_format, name)
        if _is_format(value):
            found[name] = reading_options(value)
        elif not field.metadata.get("recorded", True) and isinstance(value, (str, int, float, Mapping)):
            found[name] = value
    return found


def with_options(target_format: Format, recorded: Mapping[str, object]) -> Format:
    """Return the format with a sidecar's recorded options in place of its own."""
    own = options_of(target_format)
    if own == recorded:
        return target_format
    changed: dict[str, object] = {}
    for name, default in _options(type(target_format)).items():
        value = getattr(target_format, name)
        if _is_format(value):
            inner = recorded.get(name)
            changed[name] = with_options(value, inner if isinstance(inner, Mapping) else {})
        elif name in recorded or name in own:
            changed[name] = recorded.get(name, default)
    return cast(Format, dataclasses.replace(cast(Any, target_format), **changed)) if changed else target_format


@functools.lru_cache(maxsize=256)
def _options(cls: type) -> Mapping[str, object]:
    """Return the defaults of the options that a sidecar records: all fields but the ones that concern reading only."""
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return {field.name: field.default for field in fields if field.init and field.metadata.get("recorded", True)}


def _is_format(value: object) -> TypeGuard[Format]:
    return dataclasses.is_dataclass(value) and hasattr(value, "dump") and hasattr(value, "load")


def require_type(obj: object, expected: type | tuple[type, ...], format_name: str, advice: str) -> None:
    """Refuse an object that a format cannot write, or would load as an object of another class.

    Args:
        obj: the object.
        expected: classes that the format writes. A subclass of a built-in class would come back as the built-in class.
        format_name: the format's name, for errors.
        advice: the end of the error, as in "dump a str".

    Raises:
        FormatError: the object is not of an expected class.
    """
    if not isinstance(obj, expected):
        raise FormatError(f"the {format_name} format cannot write a {type_name(obj)}; {advice}")
    if type(obj) is not (base := builtin_class(type(obj))):
        raise FormatError(f"the {format_name} format would load this {type_name(obj)} as a {base.__qualname__}; {advice}")


def builtin_class(cls: type) -> type:
    """Return the built-in class from which a class inherits, such as ``dict``; else the class itself."""
    return next((base for base in cls.__mro__[:-1] if base.__module__ == "builtins"), cls)


def type_name(obj: object) -> str:
    """Return an object's class as ``module.Class``."""
    return f"{type(obj).__module__}.{type(obj).__qualname__}"


FormatFactory = Callable[[], Format]
