"""Tasks made anew from the sidecars of their artifacts."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import (
    DateParameter,
    DictParameter,
    EnumParameter,
    ExternalTask,
    FloatParameter,
    IntParameter,
    ListTaskInstanceParameter,
    OptionalListTaskInstanceParameter,
    OptionalTaskInstanceParameter,
    ParameterVisibility,
    StrParameter,
    Target,
    TaskInstanceParameter,
    TaskOnKart,
    WrapperTask,
    build,
)
from airflow_kart.exceptions import IdentityError, MissingArtifactError, MissingParameterError


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Source(TaskOnKart[str]):
    day: dt.date = DateParameter()

    def run(self) -> None:
        self.dump(str(self.day))


class Train(TaskOnKart[str]):
    source: TaskOnKart[str] = TaskInstanceParameter()
    others: tuple[Any, ...] = ListTaskInstanceParameter(default=())
    depth: int = IntParameter(default=1)
    rate: float = FloatParameter(default=float("inf"))
    colour: Colour = EnumParameter(enum=Colour, default=Colour.RED)
    options: Mapping[str, Any] = DictParameter(default={})
    note: str = StrParameter(default="", significant=False)

    def output(self) -> Target:
        return self.make_target(f"models/{self.colour.name}/train.pkl")

    def run(self) -> None:
        self.dump("trained")


TASK = Train(
    source=Source(day=dt.date(2024, 1, 2)),
    others=(Source(day=dt.date(2024, 1, 3)), Source(day=dt.date(2024, 1, 4))),
    depth=7,
    colour=Colour.GREEN,
    options={"a": [1, None]},
    note="not significant",
)


def test_every_parameter_comes_back(workspace: Path) -> None:
    build(TASK)
    restored = Train.restore(TASK.unique_id)
    assert restored == TASK
    assert restored.note == "not significant"
    assert restored.complete()


def test_the_class_need_not_be_known(workspace: Path) -> None:
    build(TASK)
    assert TaskOnKart.restore(TASK.unique_id) == TASK


def test_in_another_process(workspace: Path, python: Callable[..., str], script: Callable[[str, str], Path]) -> None:
    script(
        "pipeline.py",
        "from airflow_kart import IntParameter, TaskOnKart, build\nclass Deep(TaskOnKart[int]):\n    depth: int = IntParameter()\n"
        "    def run(self): self.dump(self.depth)\n",
    )
    env = {"AIRFLOW__KART__WORKSPACE_DIRECTORY": str(workspace)}
    made = python(
        code="import pipeline, airflow_kart as k; t = pipeline.Deep(depth=3); k.build(t); print(t.unique_id)", env=env
    )
    code = f"import airflow_kart as k; print(repr(k.TaskOnKart.restore({made.strip()!r})))"
    assert python(code=code, env=env).strip() == "Deep(depth=3)"


def test_an_artifact_whose_name_has_no_id(workspace: Path) -> None:
    class Fixed(TaskOnKart[int]):
        value: int = IntParameter()

        def output(self) -> Target:
            return self.make_target("fixed.json", use_unique_id=False)

        def run(self) -> None:
            self.dump(self.value)

    build(Fixed(value=3))
    assert Fixed.restore(Fixed(value=3).unique_id) == Fixed(value=3)
    with pytest.raises(MissingArtifactError):
        Fixed.restore(Fixed(value=4).unique_id)


def test_an_unknown_id(workspace: Path) -> None:
    with pytest.raises(
        MissingArtifactError, match=rf"Train\.restore\('{'0' * 32}'\): the workspace {workspace} has no artifact"
    ):
        Train.restore("0" * 32)


def test_an_artifact_of_another_class(workspace: Path) -> None:
    build(TASK)
    with pytest.raises(IdentityError, match=r"test_restoration\.Train made .*; it is no Source"):
        Source.restore(TASK.unique_id)


def test_a_class_that_is_gone(workspace: Path, python: Callable[..., str], script: Callable[[str, str], Path]) -> None:
    script(
        "gone.py",
        "from airflow_kart import IntParameter, TaskOnKart, build\nclass Gone(TaskOnKart[int]):\n    def run(self): self.dump(1)\n"
        "t = Gone()\nbuild(t)\nprint(t.unique_id)\n",
    )
    unique_id = python("gone.py", env={"AIRFLOW__KART__WORKSPACE_DIRECTORY": str(workspace)}).strip()
    with pytest.raises(IdentityError, match=r"gone\.Gone made .*; there is no such class here"):
        TaskOnKart.restore(unique_id)


def test_a_class_that_has_changed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(TASK)
    unique_id = TASK.unique_id
    monkeypatch.setattr(Train, "code_version", "2")
    with pytest.raises(IdentityError, match=r"its class, or what it requires, has changed since \d{4}-"):
        Train.restore(unique_id)


def test_private_parameters_have_to_be_given(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__KART__PRIVATE_DIGEST_KEY", "the key")

    class Secretive(TaskOnKart[int]):
        token: str = StrParameter(visibility=ParameterVisibility.PRIVATE)

        def run(self) -> None:
            self.dump(1)

    task = Secretive(token="s3cret")
    build(task)
    with pytest.raises(
        MissingParameterError, match=r"Secretive\.token is private, so no sidecar holds it; give it: restore"
    ):
        Secretive.restore(task.unique_id)
    assert Secretive.restore(task.unique_id, token="s3cret") == task
    with pytest.raises(IdentityError):
        Secretive.restore(task.unique_id, token="wrong")


def test_damaged_sidecars_are_passed_over(workspace: Path) -> None:
    build(TASK)
    (workspace / f"broken_{TASK.unique_id}.pkl.kart.json").write_text("{")
    (workspace / "nameless.pkl.kart.json").write_text("[]")
    assert Train.restore(TASK.unique_id) == TASK


class Delivery(ExternalTask[str]):
    day: dt.date = DateParameter()

    def output(self) -> Target:
        return self.make_target(f"in/{self.day}.txt")


class Deliveries(WrapperTask):
    several: tuple[Any, ...] = ListTaskInstanceParameter()
    source: TaskOnKart[str] = TaskInstanceParameter()


class Unpacked(TaskOnKart[str]):
    delivery: Any = TaskInstanceParameter()
    group: Any = OptionalTaskInstanceParameter(default=None)
    more: Any = OptionalListTaskInstanceParameter(default=None)

    def run(self) -> None:
        self.dump("unpacked")


def test_tasks_without_a_sidecar_come_back_as_parameters(workspace: Path) -> None:
    (workspace / "in").mkdir(parents=True)
    days = [Delivery(day=dt.date(2024, 5, day)) for day in (6, 7)]
    for delivery in days:
        Path(delivery.output().uri).write_text("tea")
    group = Deliveries(several=tuple(days), source=Source(day=dt.date(2024, 5, 6)))
    for task in (
        Unpacked(delivery=days[0]),
        Unpacked(delivery=group, group=days[1], more=[group, days[0], Source(day=dt.date(2024, 5, 6))]),
    ):
        build(task)
        assert TaskOnKart.restore(task.unique_id) == task


def test_optional_tasks_come_back_as_none(workspace: Path) -> None:
    task = Unpacked(delivery=Source(day=dt.date(2024, 1, 2)))
    build(task)
    assert Unpacked.restore(task.unique_id) == task
