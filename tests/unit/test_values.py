"""Values are frozen: nobody changes a value that somebody else holds."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import pytest

FILLED_STEP_BY_STEP = {"Tally", "_IndexFile", "_Binding", "_ReadFile", "_Visit", "Skips"}
"""Dataclasses that one function or one walk fills; all other dataclasses are values."""


@pytest.mark.parametrize(
    "district", ["artifacts", "formats", "identity", "locks", "parameters", "runtime", "storage", "tasks"]
)
def test_values_are_frozen(district: str) -> None:
    package = importlib.import_module(f"airflow_kart.{district}")
    modules = [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    found = [value for module in modules for value in vars(module).values() if dataclasses.is_dataclass(value)]
    changing = {value.__qualname__ for value in found if isinstance(value, type) and not value.__dataclass_params__.frozen}  # type: ignore[attr-defined]
    assert changing <= FILLED_STEP_BY_STEP
    assert found
