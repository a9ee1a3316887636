"""Formats turn objects into bytes and back: one format per extension, in a registry that users may add to.

Every encoding of an artifact lives here. Formats write to a stream and know no store, no target and no task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kart.formats.base import (
    READING,
    Description,
    Format,
    LoadsColumns,
    ReadsByColumns,
    ReadsByType,
    ReadsInParts,
    VerifiesColumns,
    Writable,
    options_of,
    reader_for,
    trusts_bytes,
    with_options,
)
from airflow_kart.formats.description import describe
from airflow_kart.formats.registry import (
    format_for,
    format_named,
    of_kind,
    register_format,
    registered_extensions,
    split_extension,
)
from airflow_kart.formats.table_kind import TableKind, table_kind_of
from airflow_kart.idioms.late import late

if TYPE_CHECKING:
    from airflow_kart.formats.gzip import GzipFormat
    from airflow_kart.formats.image import JpegFormat, PngFormat
    from airflow_kart.formats.ini import IniFormat
    from airflow_kart.formats.json import JsonFormat, NdjsonFormat
    from airflow_kart.formats.numpy import NpzFormat, NumpyFormat
    from airflow_kart.formats.pickle import PickleFormat
    from airflow_kart.formats.tables.csv import CsvFormat
    from airflow_kart.formats.tables.feather import FeatherFormat
    from airflow_kart.formats.tables.parquet import ParquetFormat
    from airflow_kart.formats.text import TextFormat
    from airflow_kart.formats.xml import XmlFormat
    from airflow_kart.formats.zip import ZipFormat

__all__ = [
    "READING",
    "CsvFormat",
    "Description",
    "FeatherFormat",
    "Format",
    "GzipFormat",
    "IniFormat",
    "JpegFormat",
    "JsonFormat",
    "LoadsColumns",
    "NdjsonFormat",
    "NpzFormat",
    "NumpyFormat",
    "ParquetFormat",
    "PickleFormat",
    "PngFormat",
    "ReadsByColumns",
    "ReadsByType",
    "ReadsInParts",
    "TableKind",
    "TextFormat",
    "VerifiesColumns",
    "Writable",
    "XmlFormat",
    "ZipFormat",
    "describe",
    "format_for",
    "format_named",
    "of_kind",
    "options_of",
    "reader_for",
    "register_format",
    "registered_extensions",
    "split_extension",
    "table_kind_of",
    "trusts_bytes",
    "with_options",
]

# The module of each format, imported at first use.
_HOMES = {
    "CsvFormat": ".tables.csv",
    "FeatherFormat": ".tables.feather",
    "GzipFormat": ".gzip",
    "IniFormat": ".ini",
    "JpegFormat": ".image",
    "JsonFormat": ".json",
    "NdjsonFormat": ".json",
    "NpzFormat": ".numpy",
    "NumpyFormat": ".numpy",
    "ParquetFormat": ".tables.parquet",
    "PickleFormat": ".pickle",
    "PngFormat": ".image",
    "TextFormat": ".text",
    "XmlFormat": ".xml",
    "ZipFormat": ".zip",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = late(__name__, _HOMES, __all__)
