"""How objects become bytes: one format per extension, in a registry that users may add to."""

from __future__ import annotations

from airflow_kart.formats.base import Description, Format, Writable
from airflow_kart.formats.description import describe
from airflow_kart.formats.registry import format_for, register_format, registered_extensions

__all__ = ["Description", "Format", "Writable", "describe", "format_for", "register_format", "registered_extensions"]
