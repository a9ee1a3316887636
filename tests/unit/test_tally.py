"""What became of a run's tasks, in one line, and in the workspace's ledger."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import IntParameter, TaskOnKart, Workspace, build
from airflow_kart.audit.catalogue.savings import sums
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.runtime.ledger import entries
from airflow_kart.runtime.tally import in_words
from airflow_kart.storage import RUNS


class Part(TaskOnKart[int]):
    number: int = IntParameter()

    def run(self) -> None:
        self.dump(self.number)


class Whole(TaskOnKart[int]):
    count: int = IntParameter(default=3)

    def requires(self) -> list[Part]:
        return [Part(number=number) for number in range(self.count)]

    def run(self) -> None:
        if self.count > 8:
            raise ValueError("too many")
        self.dump(sum(self.load()))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.254, "0.25 s"),
        (8.04, "8.0 s"),
        (46.2, "46 s"),
        (59.6, "1 min 0 s"),
        (65, "1 min 5 s"),
        (10_920, "3 h 2 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_build_ends_with_a_line(workspace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    build(Whole())
    assert capfd.readouterr().err == ""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    build(Whole(), progress=False)
    assert capfd.readouterr().err == ""
    build(Whole(), workers=2)
    assert capfd.readouterr().err.splitlines()[-1].startswith("0 ran, 1 cached, 3 not needed; 0 s computed, 0.")
    build(Whole(count=5), workers=2)
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("3 ran, 3 cached; 0.")
    build(Whole(count=5), rerun=["Part"])
    assert capfd.readouterr().err.splitlines()[-1].startswith("5 ran, 1 reused, 0 cached; ")


def test_the_ledger_knows_hits_and_what_they_saved(workspace: Path) -> None:
    build(Whole())
    build(Whole())
    build(Whole(count=4))
    with pytest.raises(ValueError, match="too many"):
        build(Whole(count=9))
    found = list(entries(Workspace.current()))
    assert [(one.dag_id, one.run_id) for one in found] == [(None, None)] * 4
    told = [
        {outcome.value: one.tasks for (name, outcome), one in entry.sums.items() if name.endswith("Part")} for entry in found
    ]
    assert told == [{"ran": 3}, {"not_needed": 3}, {"ran": 1, "cached": 3}, {"ran": 5, "cached": 4}]
    assert {outcome.value for _, outcome in found[3].sums} == {"ran", "cached", "failed"}
    by_task = {one.name.rpartition(".")[2]: one for one in sums(Workspace.current().artifacts())}
    assert {name: (one.artifacts, one.hits) for name, one in by_task.items()} == {"Part": (9, 7), "Whole": (2, 1)}
    assert by_task["Whole"].seconds_saved >= 0
    (day,) = sums(Workspace.current().artifacts("Part"), "day")
    assert (len(day.name), day.artifacts, day.hits) == (10, 9, 7)
    assert [one.name for one in sums(Workspace.current().artifacts(), "dag")] == ["(outside Airflow)"]
    assert sums(Workspace.current().artifacts(dag_id="other"), "run") == []
    with pytest.raises(ConfigurationError, match="by is 'week'"):
        sums(Workspace.current().artifacts(), "week")


def test_a_damaged_ledger_loses_lines_only(workspace: Path) -> None:
    build(Whole())
    (path,) = (workspace / RUNS).glob("*.ndjson")
    with path.open("ab") as file:
        for line in (
            b'["20',
            b"[]",
            b'{"a": 1}',
            json.dumps(["2020", None, None, [["A", "unheard of", 1, 1]]]).encode(),
            b"\xff",
        ):
            file.write(line + b"\n")
    build(Whole())
    assert len(list(entries(Workspace.current()))) == 2
    assert list(entries(Workspace.current(), "2999-01-01")) == []


def test_a_workspace_that_cannot_be_written_still_serves(workspace: Path) -> None:
    build(Whole())
    os.rename(workspace / RUNS, workspace / "gone")
    (workspace / RUNS).write_text("a file in the way")
    assert build(Whole()) == 3


def test_memory_has_a_ledger(tmp_path: Path) -> None:
    with Workspace("memory://tally") as workspace:
        build(Whole())
        build(Whole())
        found: list[Any] = list(entries(workspace))
        assert len(found) == 2
