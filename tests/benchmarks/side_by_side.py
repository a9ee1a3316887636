"""What the benchmarks share: fresh processes, alternating rounds, a table of medians, and budgets.

A case is a small script in ``cases/`` that prints one JSON object. Every run of it is a fresh process of this Python
with an empty ``AIRFLOW_HOME``, no other Airflow settings, and bytecode caching on, so that nobody's modules are compiled
over and over.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CASES", "Budget", "Facts", "alternate", "median_of", "print_table", "run_case", "temporary_directory", "verdict"]

CASES = Path(__file__).with_name("cases")

Facts = Mapping[str, Any]
"""What one run of a case printed, its own ``seconds`` among it, and ``process_seconds`` and ``cpu_seconds`` of all of it."""


@dataclass(frozen=True)
class Budget:
    """A number that must not be above, or below, its limit."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the number is within its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        relation = "at least" if self.at_least else "at most"
        outcome = "met" if self.met else "MISSED"
        return f"{outcome}: {self.name} {self.value:.3g}{self.unit} (budget: {relation} {self.limit:g}{self.unit})"


def run_case(script: str, *arguments: object, directory: str | None = None, **options: object) -> Facts:
    """Run a case in a fresh process.

    Args:
        script: its file's name in ``cases/``.
        arguments: its command line.
        directory: its current directory; by default a new temporary one.
        options: of the section ``[kart]``.
    """
    command = [sys.executable, str(CASES / script), *map(str, arguments)]
    with temporary_directory() as home:
        environment = _environment(home)
        environment |= {f"AIRFLOW__KART__{name.upper()}": str(value) for name, value in options.items()}
        started, cpu = time.perf_counter(), _cpu_seconds_of_children()
        done = subprocess.run(command, cwd=directory or home, env=environment, capture_output=True, text=True, check=False)
        total = {"process_seconds": time.perf_counter() - started, "cpu_seconds": _cpu_seconds_of_children() - cpu}
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return {**json.loads(done.stdout.splitlines()[-1]), **total}


def alternate(cases: Mapping[str, Callable[[], Facts]], rounds: int) -> dict[str, list[Facts]]:
    """Run the cases A B A B, so that what slows the machine down for a while slows all of them."""
    runs: dict[str, list[Facts]] = {name: [] for name in cases}
    for number in range(1, rounds + 1):
        for name, case in cases.items():
            _show_progress(f"round {number} of {rounds}: {name}")
            runs[name].append(case())
    _show_progress("")
    return runs


def median_of(runs: Sequence[Facts], fact: str = "seconds") -> float:
    """Return the median of one number over some runs."""
    return statistics.median(float(run[fact]) for run in runs)


@contextmanager
def temporary_directory() -> Iterator[str]:
    """Return a new directory that is removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="kart-bench-", ignore_cleanup_errors=True) as directory:
        yield directory


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below a head: text to the left, numbers to the right with three digits that count."""
    cells = [list(head), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]))


def verdict(budgets: Sequence[Budget]) -> int:
    """Print whether each budget is met; return the exit code, 1 where one is missed."""
    for budget in budgets:
        print(budget)
    return 0 if all(budget.met for budget in budgets) else 1


def _cpu_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _environment(airflow_home: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    harness = str(CASES.parents[1])  # absolute, as cases run elsewhere
    return {**kept, "PYTHONPATH": harness, "AIRFLOW_HOME": airflow_home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


def _show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if cell < 1000 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
