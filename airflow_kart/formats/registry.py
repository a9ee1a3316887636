"""Which format an extension stands for."""

from __future__ import annotations

import importlib
import posixpath
from typing import Any, cast

from airflow_kart.exceptions import UnknownFormatError
from airflow_kart.formats.base import Format, FormatFactory

__all__ = ["format_for", "register_format", "registered_extensions"]

# Extension to the class that handles it, as module:class until first used: most need a heavy library.
_FORMATS: dict[str, str | FormatFactory] = {
    ".csv": "airflow_kart.formats.table:CsvFormat",
    ".json": "airflow_kart.formats.text:JsonFormat",
    ".parquet": "airflow_kart.formats.table:ParquetFormat",
    ".pickle": "airflow_kart.formats.pickle:PickleFormat",
    ".pkl": "airflow_kart.formats.pickle:PickleFormat",
    ".png": "airflow_kart.formats.image:PngFormat",
    ".txt": "airflow_kart.formats.text:TextFormat",
}


def register_format(extension: str, factory: FormatFactory, *, replace: bool = False) -> None:
    """Make an extension known, for targets made after this.

    Args:
        extension: with its dot, ``".onnx"``.
        factory: class, or function without arguments, that gives the :class:`Format`.
        replace: whether an extension that is known already may be given a new format.

    Raises:
        UnknownFormatError: the extension has no dot, or is known already.
    """
    key = extension.lower()
    if not key.startswith(".") or "/" in key:
        raise UnknownFormatError(f"{extension!r} is not an extension; write it with its dot, as '.onnx'")
    if key in _FORMATS and not replace:
        raise UnknownFormatError(f"{extension} has a format already; pass replace=True to give it another")
    _FORMATS[key] = factory


def registered_extensions() -> list[str]:
    """Return the known extensions, sorted."""
    return sorted(_FORMATS)


def format_for(path: str) -> Format:
    """Return the format of a path's extension.

    Raises:
        UnknownFormatError: the extension is unknown.
    """
    extension = posixpath.splitext(path)[1].lower()
    factory = _FORMATS.get(extension)
    if factory is None:
        raise UnknownFormatError(
            f"{path!r} ends with {extension or 'no extension'}, which no format handles; use one of "
            f"{', '.join(registered_extensions())}, or add yours with airflow_kart.formats.register_format"
        )
    if isinstance(factory, str):
        module, name = factory.split(":")
        loaded: Any = getattr(importlib.import_module(module), name)
        factory = _FORMATS[extension] = cast(FormatFactory, loaded)
    return factory()
