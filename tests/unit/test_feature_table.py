"""The table of gokart's and luigi's features: it leaves nothing out, and every test it names is there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import gokart
import gokart.target
import gokart.testing
import gokart.tree.task_info
import luigi
import luigi.parameter
import pytest

TESTS = Path(__file__).parents[1]
TEXT = Path(TESTS.parent, "docs", "gokart.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| luigi |") and not line.startswith("| gokart |")
]
VERDICTS = {"same", "better", "left out", "open", "new"}


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return found | {f"{cls.name}::{node.name}" for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)}


def test_every_row_says_what_became_of_the_feature() -> None:
    rows = [row for row in ROWS if row[1] != "here"]
    assert len(rows) > 70
    assert [row for row in rows if len(row) != 4 or row[1] not in VERDICTS] == []


@pytest.mark.parametrize("test", sorted({test for row in ROWS for test in re.findall(r"`(test_\w+\.py[\w:]*)`", row[-1])}))
def test_the_tests_it_names_are_there(test: str) -> None:
    name, _, inside = test.partition("::")
    files = [file for file in TESTS.rglob(name) if file.is_file()]
    assert files, f"there is no {name}"
    assert not inside or any(inside in names_in(file) for file in files), f"{name} has no {inside}"


def test_what_is_here_has_a_test() -> None:
    assert [row[0] for row in ROWS if row[1] in ("same", "better", "new") and "test_" not in row[-1]] == []


def own_names(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_") and name.upper() != name}


def public_features() -> set[str]:
    """What a user of gokart and luigi can name."""
    parameters = {
        name
        for name, value in vars(luigi.parameter).items()
        if inspect.isclass(value)
        and issubclass(value, luigi.Parameter)
        and not name.startswith("_")
        and value.__module__ == "luigi.parameter"
    }
    return (
        parameters
        | set(gokart.__all__)
        | set(gokart.testing.__all__)
        | own_names(gokart.TaskOnKart)
        | own_names(gokart.target.TargetOnKart)
        | {"make_task_info_as_table", "dump_task_info_table", "dump_task_info_tree", "WrapperTask", "ExternalTask", "Config"}
    )


NOT_FEATURES = {
    "TaskOnKart", "try_to_run_test_for_empty_data_frame",  # the class itself; the inside of test_run
    # luigi's bases of parameters that nobody declares
    "OptionalParameterMixin",
}  # fmt: skip


def test_it_leaves_nothing_out() -> None:
    words = set(re.findall(r"\w+", TEXT))
    assert sorted(public_features() - words - NOT_FEATURES) == []
