"""The checks of one target: not empty, column types, a schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_kart.artifacts.checks.column_types import wrong_columns
from airflow_kart.artifacts.checks.schema import of_columns, validated
from airflow_kart.exceptions import ColumnTypeError, EmptyDumpError
from airflow_kart.formats import Description

__all__ = ["Checks"]


@dataclass(frozen=True)
class Checks:
    """What a target asks of tables. Objects that are no tables are only asked for by a schema."""

    fail_on_empty: bool = False
    """Whether a table without rows may not be dumped."""
    column_types: Mapping[str, Any] = field(default_factory=dict)
    """The types of columns, by name; columns that a table does not have are not asked for."""
    schema: Any = None
    """A pandera schema or model, or anything with its ``validate``."""

    def before_dump(self, obj: Any) -> Any:
        """Return the object as it is to be written, which a schema may coerce.

        Raises:
            ColumnTypeError: a column is of another type.
            SchemaError: the object does not satisfy the schema.
        """
        return self._checked(obj, "dumped", self.schema)

    def after_load(self, obj: Any, columns: Sequence[str] | None = None) -> Any:
        """Return the object as it is to be handed out, which a schema may coerce.

        Args:
            obj: the object.
            columns: the columns of a table, where not all were loaded. They are asked for what a schema says of each by
                itself; the rest was asked for when the table was dumped.

        Raises:
            ColumnTypeError: a column is of another type.
            SchemaError: the object does not satisfy the schema.
        """
        return self._checked(obj, "loaded", self.schema if columns is None else of_columns(self.schema, columns))

    def written(self, description: Description) -> None:
        """Check what was written, before it is published.

        Raises:
            EmptyDumpError: it is a table without rows.
        """
        if self.fail_on_empty and description.rows == 0:
            raise EmptyDumpError(
                "the table has no rows, which fail_on_empty_dump refuses; look for what removed them, or set it to False"
            )

    def _checked(self, obj: Any, verb: str, schema: Any) -> Any:
        if isinstance(obj, Iterator):  # the parts of a table
            return (self._checked(part, verb, schema) for part in obj)
        if self.column_types and (wrong := wrong_columns(obj, self.column_types)):
            raise ColumnTypeError(
                f"the table that was {verb} has columns of other types than column_types says: {'; '.join(wrong)}"
            )
        return obj if schema is None else validated(obj, schema, verb)
