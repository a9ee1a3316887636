"""What a preview shows: texts that are short, without control characters, and hostile, so that templates escape them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Request:
    """What a sidecar says of an artifact's bytes."""

    format: str
    bytes: int
    rows: int | None = None
    columns: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column: name, type, and statistics of the rows that were read."""

    name: str
    type: str
    missing: int = 0
    is_number: bool = False
    low: str = ""
    high: str = ""
    mean: str = ""
    distinct: int = 0
    """The number of different texts; 0 where nobody counted."""
    top: list[tuple[str, int]] = field(default_factory=list)
    """The most frequent texts, with their numbers of rows."""
    bars: list[int] = field(default_factory=list)
    """Rows in each of equal intervals between the least number and the largest."""


@dataclass(frozen=True)
class Preview:
    """What can be shown of an artifact."""

    kind: Literal["table", "text", "image", "facts", "nothing"] = "nothing"
    note: str = ""
    """A sentence: why there is nothing, or what is left out."""
    rows: int | None = None
    """Rows of the whole table, as the file or the sidecar says."""
    counted: int = 0
    """Rows that the statistics count."""
    columns: list[Column] = field(default_factory=list)
    more_columns: int = 0
    cells: list[list[str | None]] = field(default_factory=list)
    """The first rows; ``None`` for a missing value."""
    text: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)


def plain(text: str, longest: int = 200, kept: str = "") -> str:
    """Return the beginning of a text; characters that cannot be seen, or that turn the direction of writing, as escapes.

    Args:
        text: any text.
        longest: the number of characters to return.
        kept: control characters that stay.
    """
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(one if one.isprintable() or one in kept else one.encode("unicode_escape").decode() for one in cut)
