"""What type checkers see of the public face, without a plugin: mypy --strict and pyright, over right and wrong uses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
RIGHT = Path(__file__).with_name("right.py")
WRONG = Path(__file__).with_name("wrong.py")
USES = [RIGHT, WRONG]
MARKER = "# wrong"


@dataclass(frozen=True)
class Complaint:
    """One error of a type checker."""

    file: Path
    line: int
    """Counted from 1."""
    message: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(PROJECT)}:{self.line}: {self.message}"


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_right_uses_are_accepted_and_exactly_the_wrong_ones_reported(checker: str) -> None:
    complaints = {"mypy": check_with_mypy, "pyright": check_with_pyright}[checker]()
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith(MARKER)}
    reported = {found.line for found in complaints if found.file == WRONG}
    unreported = [f"{number}: {lines[number - 1].strip()}" for number in sorted(marked - reported)]
    unexpected = [str(found) for found in complaints if found.file != WRONG or found.line not in marked]
    assert len(marked) >= 25
    assert (unreported, unexpected) == ([], [])


def check_with_mypy() -> list[Complaint]:
    """Run ``mypy --strict``, over the examples too: `make check` runs it over the package and the tests only."""
    command = [sys.executable, "-m", "mypy", "--strict", "--output", "json"]  # with the cache of `make check`
    found = [json.loads(line) for line in output_of([*command, *map(str, [*USES, PROJECT / "example_dags"])]).splitlines()]
    return [
        Complaint((PROJECT / one["file"]).resolve(), one["line"], one["message"])
        for one in found
        if one["severity"] == "error"
    ]


def check_with_pyright() -> list[Complaint]:
    """Run ``pyright`` with the project's settings; `make check` runs it over the package and the examples."""
    pyright = Path(sys.executable).with_name("pyright")
    command = [str(pyright), "--pythonpath", sys.executable, "--outputjson"]
    report = json.loads(output_of([*command, *map(str, USES)]))
    assert report["summary"]["filesAnalyzed"] == len(USES)
    return [
        Complaint(Path(one["file"]).resolve(), one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]


def output_of(command: list[str]) -> str:
    """Return what a type checker prints; it must get as far as checking, since ``WRONG`` makes it fail."""
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
