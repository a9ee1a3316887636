"""Whether a value reads back from JSON equal and of its class."""

from __future__ import annotations

from typing import cast

from airflow_kart.exceptions import FormatError
from airflow_kart.formats.base import builtin_class

_SCALARS = frozenset({str, int, float, bool, type(None)})
_BECOMES = {tuple: "list", dict: "dict", list: "list", str: "str", int: "int", float: "float"}


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
    cls = type(value)
    if cls in _SCALARS:
        return None
    if cls is dict:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str:
                return f"the key {key!r} at {where} would become a str"
            if (found := _lossy(item, f"{where}.{key}")) is not None:
                return found
    elif cls is list:
        for index, item in enumerate(cast("list[object]", value)):
            if (found := _lossy(item, f"{where}[{index}]")) is not None:
                return found
    elif (base := builtin_class(cls)) in _BECOMES:
        return f"the {cls.__name__} at {where} would become a {_BECOMES[base]}"
    return None
