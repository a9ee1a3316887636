"""Whether a value reads back equal from JSON."""

from __future__ import annotations

from airflow_kart.exceptions import FormatError

__all__ = ["check_lossless"]


def check_lossless(value: object, format_name: str, where: str = "$") -> None:
    """Refuse a value that would change on its way through JSON.

    Args:
        value: any object; the encoder refuses values that have no form in JSON at all.
        format_name: the format's name, for the error.
        where: the value's place, as a JSON path.

    Raises:
        FormatError: the value would change.
    """
    try:
        found = _lossy(value, where)
    except RecursionError as error:
        raise FormatError(
            f"the {format_name} format cannot write this object: it is nested too deeply, or holds itself"
        ) from error
    if found is not None:
        raise FormatError(f"the {format_name} format would not read this object back equal: {found}; dump JSON values only")


def _lossy(value: object, where: str) -> str | None:
    """Return the place where a value would change, or ``None``."""
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
