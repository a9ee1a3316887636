"""Text encodings by name, without loss of a character."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from typing_extensions import Buffer

from airflow_kart.exceptions import ConfigurationError, FormatError

if TYPE_CHECKING:
    from airflow_kart.formats.archive import Writes


def check_encoding(encoding: str, format_name: str) -> None:
    """Refuse a name that is no text encoding.

    Raises:
        ConfigurationError: Python knows no text encoding of this name.
    """
    try:
        "".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{format_name} got encoding={encoding!r}, which Python does not know; give one such as 'utf-8' or 'cp932'"
        ) from error


def encode(text: str, encoding: str) -> bytes:
    """Return text as bytes that read back as the same text.

    Raises:
        FormatError: the encoding has no form for a character.
    """
    try:
        data = text.encode(encoding)
        kept = codecs.lookup(encoding).name == "utf-8" or data.decode(encoding) == text
    except UnicodeError as error:
        reason = "; it holds half of a surrogate pair" if "surrogate" in str(error) else ""
        raise FormatError(f"the text cannot be written as {encoding.upper()} ({error}){reason}") from error
    if not kept:
        raise FormatError(f"the text would not read back equal from {encoding.upper()}; choose encoding='utf-8'")
    return data


def decode(data: bytes, encoding: str) -> str:
    """Return bytes as text.

    Raises:
        FormatError: the bytes are not of this encoding.
    """
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        raise FormatError(f"the bytes are not {encoding.upper()} text ({error})") from error


class EncodingStream:
    """A stream that takes UTF-8 and writes another encoding.

    Args:
        stream: takes the encoded bytes.
        encoding: the encoding to write.
    """

    def __init__(self, stream: Writes, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._from_utf8 = codecs.getincrementaldecoder("utf-8")()
        self._encoder = codecs.getincrementalencoder(encoding)()
        self._check = codecs.getincrementaldecoder(encoding)()

    def write(self, data: Buffer, /) -> int:
        """Write UTF-8 text; a character may come in several pieces.

        Raises:
            FormatError: the encoding has no form for a character.
        """
        content = bytes(data)
        text = self._from_utf8.decode(content)
        try:
            encoded = self._encoder.encode(text)
            kept = self._check.decode(encoded) == text
        except UnicodeError as error:
            raise FormatError(
                f"the table cannot be written as {self._encoding.upper()} ({error}); choose encoding='utf-8'"
            ) from error
        if not kept:
            raise FormatError(f"the table would not read back equal from {self._encoding.upper()}; choose encoding='utf-8'")
        self._stream.write(encoded)
        return len(content)
