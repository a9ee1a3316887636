"""Text."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import READING, Writable, require_type
from airflow_kart.formats.encoding import check_encoding, decode, encode


@dataclass(frozen=True)
class TextFormat:
    r"""A ``str``, unchanged, newlines included; or a list of ``str``, each as a line.

    Each line ends with ``\n``, the last one too. A list of lines comes back as a list.

    Args:
        encoding: of the text, as Python names it.
    """

    encoding: str = "utf-8"
    lines: bool = field(default=False, repr=False, metadata=READING)
    """Whether to load a list of lines; :meth:`for_type` sets this field."""

    name = "text"
    trusts_bytes = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_encoding(self.encoding, "TextFormat")

    def for_type(self, dumped: str) -> TextFormat:
        """Return the format that loads lines where lines were dumped."""
        return replace(self, lines=dumped == "builtins.list")

    def dump(self, obj: object, stream: Writable) -> None:
        """Write a str or a list of them."""
        require_type(obj, (str, list), self.name, "dump a str, or a list of str")
        if isinstance(obj, list):
            for number, line in enumerate(obj):
                require_type(line, str, f"{self.name} (line {number + 1})", "dump a str, or a list of str")
                if "\n" in line:
                    raise FormatError(f"line {number + 1} holds a newline and would come back as two; dump one str instead")
            obj = "".join(f"{line}\n" for line in obj)
        stream.write(encode(cast(str, obj), self.encoding))

    def load(self, stream: BinaryIO) -> str | list[str]:
        """Read a str or a list of them."""
        text = decode(stream.read(), self.encoding)
        if not self.lines:
            return text
        if text and not text.endswith("\n"):
            raise FormatError(
                f"the bytes are no whole lines of {codecs.lookup(self.encoding).name} text: the last one has no end"
            )
        return text.split("\n")[:-1]
