"""The format of each extension."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import posixpath
from typing import Any, cast

from airflow_kart.exceptions import ConfigurationError, UnknownFormatError
from airflow_kart.formats.base import Format, FormatFactory
from airflow_kart.formats.table_kind import TableKind

# Extension to the class or function that makes its format, as module:name until first use: most need a heavy library.
_FORMATS: dict[str, str | FormatFactory] = {
    ".csv": "airflow_kart.formats.tables.csv:CsvFormat",
    ".feather": "airflow_kart.formats.tables.feather:FeatherFormat",
    ".gz": "airflow_kart.formats.gzip:GzipFormat",
    ".ini": "airflow_kart.formats.ini:IniFormat",
    ".jpeg": "airflow_kart.formats.image:JpegFormat",
    ".jpg": "airflow_kart.formats.image:JpegFormat",
    ".json": "airflow_kart.formats.json:JsonFormat",
    ".ndjson": "airflow_kart.formats.json:NdjsonFormat",
    ".npy": "airflow_kart.formats.numpy:NumpyFormat",
    ".npz": "airflow_kart.formats.numpy:NpzFormat",
    ".parquet": "airflow_kart.formats.tables.parquet:ParquetFormat",
    ".pickle": "airflow_kart.formats.pickle:PickleFormat",
    ".pkl": "airflow_kart.formats.pickle:PickleFormat",
    ".png": "airflow_kart.formats.image:PngFormat",
    ".tsv": "airflow_kart.formats.tables.csv:tsv_format",
    ".txt": "airflow_kart.formats.text:TextFormat",
    ".xml": "airflow_kart.formats.xml:XmlFormat",
    ".zip": "airflow_kart.formats.zip:ZipFormat",
}
_GZIP = ".gz"
# Extensions whose content gzip makes smaller; a .gz after another extension, or none, is text.
_COMPRESSIBLE = frozenset({".csv", ".ini", ".json", ".ndjson", ".npy", ".pickle", ".pkl", ".tsv", ".txt", ".xml"})


def register_format(extension: str, factory: FormatFactory, *, replace: bool = False) -> None:
    """Register a format for an extension, for targets made after this call.

    Args:
        extension: with its dot, ``".onnx"``; several dots are fine, ``".tar.gz"``.
        factory: class, or function without arguments, that gives the :class:`Format`.
        replace: replace the registered format of a known extension.

    Raises:
        UnknownFormatError: the extension has no dot, or has a format already.
    """
    key = extension.lower()
    if not key.startswith(".") or "/" in key:
        raise UnknownFormatError(f"{extension!r} is not an extension; write it with its dot, as '.onnx'")
    if _is_known(key) and not replace:
        raise UnknownFormatError(f"{extension} has a format already; pass replace=True to give it another")
    _FORMATS[key] = factory


def registered_extensions() -> list[str]:
    """Return the known extensions, sorted."""
    return sorted(
        [*_FORMATS, *(f"{extension}{_GZIP}" for extension in _COMPRESSIBLE if f"{extension}{_GZIP}" not in _FORMATS)]
    )


def split_extension(path: str) -> tuple[str, str]:
    """Return a path without its extension, and its longest registered extension, spelled as in the path.

    An unknown extension is the last suffix, and may be empty: ``("a/b", ".csv.gz")``, ``("a.b", ".xyz")``, ``("a", "")``.
    """
    folder, slash, name = path.rpartition("/")
    stem, _, last = name.rpartition(".")
    if stem and "." not in stem and _is_known(f".{last}".lower()):  # nearly all are like this
        return f"{folder}{slash}{stem}", f".{last}"
    for place, character in enumerate(name):
        if character == "." and place and _is_known(name[place:].lower()):
            return f"{folder}{slash}{name[:place]}", name[place:]
    return posixpath.splitext(path)


def format_for(path: str, kind: TableKind | None = None) -> Format:
    """Return the format of a path's extension.

    Args:
        path: any path.
        kind: the library whose tables to load, where the format holds tables; by default that of the dumped table.

    Raises:
        UnknownFormatError: the extension is unknown.
    """
    extension = split_extension(path)[1].lower()
    if not _is_known(extension):
        raise UnknownFormatError(
            f"{path!r} ends with {extension or 'no extension'}, which no format handles; use one of "
            f"{', '.join(registered_extensions())}, or add yours with airflow_kart.formats.register_format"
        )
    found = _make(extension)
    return found if kind is None else of_kind(found, kind)


def format_named(name: str, path: str) -> Format:
    """Return the format that a sidecar names: the one of the path's extension, or else any registered one of the name.

    Raises:
        UnknownFormatError: no registered format has the name.
    """
    for extension in (split_extension(path)[1].lower(), *registered_extensions()):
        if _is_known(extension):
            with contextlib.suppress(ImportError, ConfigurationError):
                found = _make(extension)
                if found.name == name:
                    return found
    raise UnknownFormatError(
        f"{path!r} was written in the format {name}, which is not registered here; load it by its task, or register the format "
        "with airflow_kart.formats.register_format"
    )


def _is_known(extension: str) -> bool:
    return extension in _FORMATS or (extension.endswith(_GZIP) and extension.removesuffix(_GZIP) in _COMPRESSIBLE)


def _make(extension: str) -> Format:
    factory = _FORMATS.get(extension)
    if factory is None:
        from airflow_kart.formats.gzip import GzipFormat

        return GzipFormat(inner=_make(extension.removesuffix(_GZIP)))
    if isinstance(factory, str):
        module, name = factory.split(":")
        loaded: Any = getattr(importlib.import_module(module), name)
        factory = _FORMATS[extension] = cast(FormatFactory, loaded)
    return factory()


def of_kind(target_format: Format, kind: TableKind) -> Format:
    """Return a format that loads tables of this kind; a format without tables, or with a kind, stays the same."""
    given: Any = target_format
    names: frozenset[str] = frozenset(getattr(given, "__dataclass_fields__", ()))
    if "kind" in names and given.kind is None:
        given = dataclasses.replace(given, kind=kind)
    elif "inner" in names:
        given = dataclasses.replace(given, inner=of_kind(given.inner, kind))
    found: Format = given
    return found
