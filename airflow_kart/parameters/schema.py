"""JSON Schemas that authors give for their lists and dicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_kart.parameters.base import described
from airflow_kart.parameters.frozen import Json, freeze, thaw


def check_schema(schema: object) -> dict[str, Json]:
    """Return a copy of a JSON Schema: of draft 2020-12 unless its ``$schema`` names another draft.

    Raises:
        ValueError: ``schema`` is not a JSON Schema.
    """
    from jsonschema import SchemaError

    if not isinstance(schema, Mapping):
        raise ValueError(f"schema is {described(schema)}; give a JSON Schema as a dict")
    own = thaw(freeze(schema))
    try:
        _validator(own).check_schema(own)
    except SchemaError as error:
        raise ValueError(f"schema is not a JSON Schema: at {error.json_path}, {error.message}") from error
    return own


def check_value(value: Json, schema: Mapping[str, object]) -> None:
    """Check plain lists and dicts against a JSON Schema.

    Raises:
        ValueError: the value does not satisfy the schema.
    """
    from jsonschema import ValidationError
    from jsonschema.exceptions import best_match

    error: ValidationError | None = best_match(_validator(schema)(schema).iter_errors(value))
    if error is not None:
        raise ValueError(f"the value does not satisfy its schema: at {error.json_path}, {error.message}")


def _validator(schema: Mapping[str, object]) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    return validator_for(schema, default=Draft202012Validator)
