"""The checks of one target: not empty, column types, a schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_kart.artifacts.checks.column_types import wrong_columns
from airflow_kart.artifacts.checks.schema import Schema, of_columns, validated
from airflow_kart.exceptions import ColumnTypeError, EmptyDumpError
from airflow_kart.formats import Description


@dataclass(frozen=True)
class Checks:
    """The checks of one target. All are for tables; a schema may validate other objects too."""

    fail_on_empty: bool = False
    """Whether dumping a table without rows is an error."""
    column_types: Mapping[str, object] = field(default_factory=dict)
    """The expected types of columns, by name; names that a table lacks are ignored."""
    schema: Schema | None = None
    """A pandera schema or model, or another object with pandera's ``validate``."""

    def before_dump(self, obj: object) -> object:
        """Return the object to write, which a schema may have coerced.

        Raises:
            ColumnTypeError: a column is of another type.
            SchemaError: the object does not satisfy the schema.
        """
        return self._checked(obj, "dumped", self.schema)

    def after_load(self, obj: object, columns: Sequence[str] | None = None) -> object:
        """Return the object to hand out, which a schema may have coerced.

        Args:
            obj: the object.
            columns: the loaded columns, where they are not the whole table. The schema's checks of single columns apply;
                the dump has passed the others.

        Raises:
            ColumnTypeError: a column is of another type.
            SchemaError: the object does not satisfy the schema.
        """
        return self._checked(obj, "loaded", self.schema if columns is None else of_columns(self.schema, columns))

    def written(self, description: Description) -> None:
        """Check the description of the written bytes, before their publication.

        Raises:
            EmptyDumpError: the table has no rows.
        """
        if self.fail_on_empty and description.rows == 0:
            raise EmptyDumpError(
                "the table has no rows, which fail_on_empty_dump refuses; look for what removed them, or set it to False"
            )

    def _checked(self, obj: object, verb: str, schema: Schema | None) -> object:
        if isinstance(obj, Iterator):  # the parts of a large table
            return (self._checked(part, verb, schema) for part in obj)
        if self.column_types and (wrong := wrong_columns(obj, self.column_types)):
            raise ColumnTypeError(
                f"the table that was {verb} has columns of other types than column_types says: {'; '.join(wrong)}"
            )
        return obj if schema is None else validated(obj, schema, verb)
