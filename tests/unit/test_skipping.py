"""``run()`` that raises ``AirflowSkipException``: its consumers are skipped, the others are made, and build() says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_kart import BoolParameter, ParameterVisibility, StrParameter, TaskOnKart, build
from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.runtime.skipping import is_skip


class NoData(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)
        raise AirflowSkipException("no data today")


class Other(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(2)


class Report(TaskOnKart[int]):
    def requires(self) -> Any:
        return {"data": NoData(), "other": Other()}

    def run(self) -> None:
        raise AssertionError("must not run")


class Silent(TaskOnKart[int]):
    def run(self) -> None:
        raise AirflowSkipException


class Root(TaskOnKart[int]):
    def requires(self) -> Any:
        return [Report(), Silent()]


@pytest.mark.parametrize("workers", [1, 2])
def test_build_skips_consumers_makes_the_rest_and_raises_the_skip(
    workspace: Path, workers: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO", "airflow_kart"), pytest.raises(AirflowSkipException, match=r"^no data today$"):
        build(Report(), workers=workers, progress=True)
    assert Other().complete()
    assert not NoData().complete()
    said = [record.getMessage() for record in caplog.records]
    assert "NoData() is skipped: no data today" in said
    assert "Report() is skipped: NoData(), which it needs, was skipped: no data today" in said
    assert "Report() has no value: NoData(), which it needs, was skipped: no data today" in said
    shown = capsys.readouterr().err
    assert "NoData() skipped" in shown
    assert "[3/3]" in shown
    assert "failed" not in shown


def test_the_first_of_several_skips_counts(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "airflow_kart"), pytest.raises(AirflowSkipException, match="no data today"):
        build(Root())
    skipped = [
        record.getMessage().partition(" is skipped: ")[0] for record in caplog.records if " is skipped: " in record.msg
    ]
    assert skipped == ["NoData()", "Report()", "Root()", "Silent()"]
    assert "Silent() is skipped: its run() raised AirflowSkipException" in caplog.text


def test_a_run_may_go_on_without_a_skipped_task_that_it_asked_for(workspace: Path) -> None:
    class Patient(TaskOnKart[str]):
        def run(self) -> Iterator[Any]:
            try:
                yield NoData()
            except AirflowSkipException as skip:
                self.dump(f"without: {skip}")

    assert build(Patient()) == "without: no data today"


def test_other_errors_of_this_name_are_errors() -> None:
    class AirflowSkipException(Exception):
        pass

    assert not is_skip(AirflowSkipException())
    assert not is_skip(ValueError())


class Input(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1)


class Watchful(TaskOnKart[int]):
    modification_time_check = True

    def requires(self) -> Any:
        return Input()

    def run(self) -> None:
        self.dump(self.load())


def reason(task: TaskOnKart[Any]) -> str:
    target: Any = task.output()
    return str(json.loads(Path(sidecar_uri(target.uri)).read_bytes())["run"]["reason"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sidecar_has_the_reason_of_the_plan(workspace: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    build(Watchful())
    assert reason(Watchful()) == reason(Input()) == "no artifact"
    build(Watchful(), rerun=["Input+"], workers=workers)
    assert reason(Input()) == reason(Watchful()) == "asked to run again"
    monkeypatch.setattr(Watchful, "reuse_equal_inputs", False)
    build(Watchful(), rerun=["Input"])
    assert (reason(Input()), reason(Watchful())) == ("asked to run again", "something it needs runs again")
    monkeypatch.setattr(Input, "run", lambda self: self.dump(2))
    build(Input(), rerun=["Input"])
    build(Watchful())
    target: Any = Input().output()
    assert reason(Watchful()) == f"{target.uri} has changed since it ran"


class Secretive(TaskOnKart[int]):
    token: str = StrParameter(default="s3cret-token", visibility=ParameterVisibility.PRIVATE, significant=False)
    skips: bool = BoolParameter(default=True)

    def run(self) -> None:
        raise (AirflowSkipException if self.skips else ValueError)(f"nothing for {self.token}")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("skips", [True, False])
def test_what_build_says_of_a_skip_or_an_error_holds_no_secret(
    workspace: Path, workers: int, skips: bool, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO", "airflow_kart"), pytest.raises(AirflowSkipException if skips else ValueError):
        build(Secretive(skips=skips), workers=workers, progress=True)
    shown = capsys.readouterr().err
    assert "nothing for ***" in shown
    assert "s3cret" not in shown + caplog.text
