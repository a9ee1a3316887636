"""What a format promises: an object to bytes and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from airflow_kart.exceptions import FormatError

__all__ = ["Description", "Format", "Writable", "require_type", "type_name"]


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
    """

    @property
    def name(self) -> str:
        """The name that sidecars record."""
        ...

    def dump(self, obj: Any, stream: Any) -> None:
        """Write an object to a :class:`Writable` that is also an ``io.RawIOBase``."""
        ...

    def load(self, stream: BinaryIO) -> Any:
        """Read the object from a stream that can seek."""
        ...


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
