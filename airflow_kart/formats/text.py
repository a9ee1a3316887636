"""Text and JSON."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import Writable, require_type

__all__ = ["JsonFormat", "TextFormat"]


class TextFormat:
    """A ``str`` as UTF-8, written and read as it is, newlines included."""

    name = "text"

    def dump(self, obj: Any, stream: Writable) -> None:
        """Write a str."""
        require_type(obj, str, self.name, "dump a str")
        stream.write(_utf8(obj))

    def load(self, stream: BinaryIO) -> str:
        """Read a str."""
        try:
            return stream.read().decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"the bytes are not UTF-8 text ({error})") from error


class JsonFormat:
    """A JSON value (RFC 8259), as indented UTF-8. What would not read back equal, such as a tuple or an int key, is refused."""

    name = "json"

    def dump(self, obj: Any, stream: Writable) -> None:
        """Write a JSON value."""
        try:
            text = json.dumps(obj, ensure_ascii=False, indent=2, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise FormatError(f"the json format cannot write this object ({error}); dump JSON values only") from error
        if (where := _lossy(obj, "$")) is not None:
            raise FormatError(f"the json format would not read this object back equal: {where}; dump JSON values only")
        stream.write(_utf8(text) + b"\n")

    def load(self, stream: BinaryIO) -> Any:
        """Read a JSON value."""
        try:
            return json.loads(stream.read())
        except (ValueError, RecursionError) as error:
            raise FormatError(f"the bytes are not JSON ({error})") from error


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"the text cannot be written as UTF-8 ({error}); it holds half of a surrogate pair") from error


def _lossy(value: object, where: str) -> str | None:
    """Return where a value would change on its way through JSON, or ``None``."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                return f"the key {key!r} at {where} would become a str"
            if (found := _lossy(item, f"{where}.{key}")) is not None:
                return found
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if (found := _lossy(item, f"{where}[{index}]")) is not None:
                return found
    elif isinstance(value, tuple):
        return f"the tuple at {where} would become a list"
    return None
