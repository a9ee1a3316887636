"""The least that a target needs of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Owner"]


class Owner:
    """A task as the owner of targets, with nothing but an id."""

    def __init__(self, unique_id: str = "a" * 32) -> None:
        self.unique_id = unique_id

    def describe(self, input_checksums: Mapping[str, str]) -> dict[str, Any]:
        return {"task": {"unique_id": self.unique_id}}

    def object_metadata(self) -> dict[str, str]:
        return {}

    def redact(self, text: str) -> str:
        return text
