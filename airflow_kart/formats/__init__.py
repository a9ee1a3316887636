"""How objects become bytes: one format per extension, in a registry that users may add to."""

from __future__ import annotations

from airflow_kart.formats.base import (
    Description,
    Format,
    ReadsByType,
    ReadsInParts,
    Writable,
    options_of,
    reader_for,
    with_options,
)
from airflow_kart.formats.description import describe
from airflow_kart.formats.registry import format_for, register_format, registered_extensions

__all__ = [
    "Description",
    "Format",
    "ReadsByType",
    "ReadsInParts",
    "Writable",
    "describe",
    "format_for",
    "options_of",
    "reader_for",
    "register_format",
    "registered_extensions",
    "with_options",
]
