"""Configuration files."""

from __future__ import annotations

import configparser
import io
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import READING, Writable, require_type
from airflow_kart.formats.encoding import check_encoding, decode, encode

_PARSERS: dict[str, type[configparser.RawConfigParser]] = {
    "configparser.ConfigParser": configparser.ConfigParser,
    "configparser.RawConfigParser": configparser.RawConfigParser,
}


@dataclass(frozen=True)
class IniFormat:
    """A configuration file: a ``str`` or a ``configparser.ConfigParser``; each comes back equal and of its class.

    Args:
        encoding: of the text, as Python names it.
    """

    encoding: str = "utf-8"
    parser: str | None = field(default=None, repr=False, metadata=READING)
    """The class of the parser to load; :meth:`for_type` sets this field."""

    name = "ini"
    trusts_bytes = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_encoding(self.encoding, "IniFormat")

    def for_type(self, dumped: str) -> IniFormat:
        """Return the format that loads a parser where the dumped object was a parser."""
        return replace(self, parser=dumped if dumped in _PARSERS else None)

    def dump(self, obj: object, stream: Writable) -> None:
        """Write a str or a parser."""
        require_type(obj, (str, configparser.RawConfigParser), self.name, "dump a str or a configparser.ConfigParser")
        stream.write(encode(obj if isinstance(obj, str) else _text(cast(configparser.RawConfigParser, obj)), self.encoding))

    def load(self, stream: BinaryIO) -> str | configparser.RawConfigParser:
        """Read a str or a parser."""
        text = decode(stream.read(), self.encoding)
        if self.parser is None:
            return text
        try:
            return _parsed(text, _PARSERS[self.parser])
        except (configparser.Error, ValueError, AttributeError) as error:
            raise FormatError(f"the bytes are no configuration file ({error})") from error


def _text(parser: configparser.RawConfigParser) -> str:
    """Return a parser's content as text.

    Raises:
        FormatError: the text would not read back equal: the parser tells keys in capitals apart, for example.
    """
    name = f"{type(parser).__module__}.{type(parser).__qualname__}"
    if name not in _PARSERS:
        raise FormatError(f"the ini format cannot write a {name}; dump a configparser.ConfigParser, or its text as a str")
    text = io.StringIO()
    try:
        parser.write(text)
        kept = _content(_parsed(text.getvalue(), _PARSERS[name])) == _content(parser)
    except (configparser.Error, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"the ini format cannot write this parser ({error}); {_ADVICE}") from error
    if not kept:
        raise FormatError(f"the ini format would not read this parser back equal; {_ADVICE}")
    return text.getvalue()


_ADVICE = "make it a ConfigParser of default options with keys in small letters, or dump its text as a str"


def _parsed(text: str, cls: type[configparser.RawConfigParser]) -> configparser.RawConfigParser:
    parser = cls(allow_no_value=True)
    parser.read_string(text)
    return parser


def _content(parser: configparser.RawConfigParser) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Return sections and interpolated values, in order; the defaults are the first section."""
    content: list[tuple[str, list[tuple[str, str | None]]]] = [("", list(parser.defaults().items()))]
    content.extend((section, list(parser.items(section))) for section in parser.sections())
    return content
