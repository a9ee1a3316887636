"""Validation of tables by pandera, or by another object with the same ``validate``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, get_args, get_origin

from airflow_kart.exceptions import ConfigurationError, SchemaError
from airflow_kart.formats import table_kind_of

_LONGEST_TEXT = 2000
_MOST_CASES = 10


class Schema(Protocol):
    """A pandera schema or model, or another object that validates tables."""

    def validate(self, obj: Any, /, *, lazy: bool) -> object:
        """Return the object, which the schema may have coerced, or raise."""
        ...


def require_schema(schema: object) -> Schema | None:
    """Return the schema of a target, if the object is one, or ``None`` for none.

    Raises:
        ConfigurationError: the object has no ``validate``.
    """
    if schema is not None and not callable(getattr(schema, "validate", None)):
        raise ConfigurationError(f"schema is {schema!r}; give a pandera schema or model, or an object with validate(frame)")
    return cast("Schema | None", schema)


def schema_in(annotation: object) -> Schema | None:
    """Return the schema of a type such as pandera's ``DataFrame[Features]``, or ``None`` for other types."""
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if not isinstance(origin, type) or table_kind_of(origin) is None or len(arguments) != 1:
        return None
    schema: Schema | None = arguments[0] if callable(getattr(arguments[0], "validate", None)) else None
    return schema


def of_columns(schema: Schema | None, columns: Sequence[str]) -> Schema | None:
    """Return a schema with the checks of single columns only, or ``None`` if the schema cannot be divided.

    Checks across columns are left out.

    Args:
        schema: as for :func:`validated`, or ``None``.
        columns: the names of the columns.
    """
    to_schema = getattr(schema, "to_schema", None)
    whole: Any = to_schema() if callable(to_schema) else schema
    if not isinstance(getattr(whole, "columns", None), Mapping) or not hasattr(whole, "select_columns"):
        return None
    kept = [
        name
        for name, column in whole.columns.items()
        if str(name) in columns or (column.regex and any(re.match(str(name), one) for one in columns))
    ]
    part: Any = whole.select_columns(kept)  # a copy
    part.checks, part.parsers, part.ordered = [], [], False
    if not set(part.unique or ()) <= set(columns):
        part.unique = None
    for column in part.columns.values():
        column.checks = [check for check in column.checks if check.groupby is None]
    divided: Schema = part
    return divided


def validated(obj: object, schema: Schema, verb: str) -> object:
    """Validate an object and return the result, which the schema may have coerced; collect all violations.

    Args:
        obj: usually a pandas or polars frame.
        schema: a pandera ``DataFrameSchema`` or ``DataFrameModel``, or another object with ``validate(obj, lazy=True)``.
        verb: the participle for the error: ``dumped`` or ``loaded``.

    Raises:
        SchemaError: the object does not satisfy the schema.
    """
    try:
        return schema.validate(obj, lazy=True)
    except Exception as error:
        name = getattr(schema, "name", None) or getattr(schema, "__name__", None) or type(schema).__name__
        raise SchemaError(
            f"the {type(obj).__name__} that was {verb} does not satisfy the schema {name}: {_words(error)}"
        ) from error


def _words(error: Exception) -> str:
    """Return the first violations, which pandera keeps as a table of its own, or else the error's text."""
    cases: Any = getattr(error, "failure_cases", None)
    try:
        rows = cases.to_dicts() if hasattr(cases, "to_dicts") else cases.to_dict("records")
    except Exception:  # noqa: BLE001 - another library's error, of any shape
        return f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]
    lines = [_line(row) for row in rows[:_MOST_CASES]]
    more = f"; and {len(rows) - _MOST_CASES} more" if len(rows) > _MOST_CASES else ""
    return ("; ".join(lines) + more)[:_LONGEST_TEXT]


def _line(case: dict[str, Any]) -> str:
    where = f"column {case.get('column')}" if case.get("column") is not None else "the frame"
    at = f" at row {case['index']}" if case.get("index") is not None else ""
    return f"{where}{at}: {case.get('failure_case')!r} fails {case.get('check')}"
