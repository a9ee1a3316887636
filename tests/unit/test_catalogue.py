"""The catalogue: artifacts found, loaded, followed and removed, without classes and without reading every sidecar again."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import airflow_kart
from airflow_kart import (
    DateParameter,
    DictParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    OptionalIntParameter,
    StrParameter,
    TaskInstanceParameter,
    TaskOnKart,
    Workspace,
    build,
)
from airflow_kart.artifacts.sidecar import sidecar_uri
from airflow_kart.artifacts.target import Target
from airflow_kart.audit.catalogue import rows as catalogue
from airflow_kart.audit.catalogue.rows import Catalogue
from airflow_kart.exceptions import ConfigurationError, ConflictError, IdentityError, MissingArtifactError
from airflow_kart.locks import Holder, locks_for
from airflow_kart.parameters import ParameterVisibility
from airflow_kart.storage import CATALOGUE


class Numbers(TaskOnKart[pd.DataFrame]):
    day: dt.date = DateParameter()
    name: str = StrParameter(default="a, b")
    token: str = StrParameter(default="hunter2hunter2", visibility=ParameterVisibility.PRIVATE, significant=False)

    def output(self) -> Target:
        return self.make_target("tables/numbers.parquet")

    def run(self) -> None:
        self.dump(pd.DataFrame({"x": range(3)}))


class Fit(TaskOnKart[dict[str, int]]):
    numbers: TaskOnKart[pd.DataFrame] = TaskInstanceParameter()
    depth: int = IntParameter(default=3)
    deep: bool = airflow_kart.BoolParameter(default=False)

    def requires(self) -> Any:
        return {"numbers": self.numbers}

    def run(self) -> None:
        self.dump({"rows": len(self.load("numbers")), "depth": self.depth})


EAST = dt.timezone(dt.timedelta(hours=9))
DAYS = [dt.date(2013, 3, 1), dt.date(2013, 3, 2)]


@pytest.fixture
def built(workspace: Path) -> Workspace:
    for day in DAYS:
        for depth in (3, 6):
            build(Fit(numbers=Numbers(day=day), depth=depth))
    return Workspace(str(workspace))


def test_artifacts_by_all_conditions(built: Workspace) -> None:
    assert len(list(built.artifacts())) == 6
    assert {str(one) for one in built.artifacts("Numbers")} == {
        "Numbers(day=2013-03-01, name=a, b, token=***)",
        "Numbers(day=2013-03-02, name=a, b, token=***)",
    }
    for name in (Fit, "Fit", "fit", "F?t", f"{Fit.__module__}.Fit", "*it"):
        assert len(list(built.artifacts(name))) == 4, name
    deep = list(built.artifacts(Fit, parameters={"depth": 6}))
    assert [one.parameters["depth"] for one in deep] == [6, 6]
    assert len(list(built.artifacts("Fit(depth=6, deep=false)"))) == 2
    assert len(list(built.artifacts("Fit(deep=True)"))) == 0
    first = Numbers(day=DAYS[0])
    for held in (first, first.unique_id, first.unique_id[:8], "Numbers*"):
        count = 4 if held == "Numbers*" else 2
        assert len(list(built.artifacts(Fit, parameters={"numbers": held}))) == count, held
    for day in (DAYS[0], "2013-03-01"):
        assert len(list(built.artifacts(Numbers, parameters={"day": day}))) == 1
    assert len(list(built.artifacts('Numbers(name="a, b", day=2013-03-01)'))) == 1
    assert len(list(built.artifacts("Numbers(day=2013-03-0[23])"))) == 1
    assert list(built.artifacts(since=dt.timedelta(hours=-1))) == []
    assert len(list(built.artifacts(since=dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=1)))) == 6
    assert list(built.artifacts(until=dt.date(2020, 1, 1))) == []
    assert list(built.artifacts(dag_id="other")) == list(built.artifacts(outcome="reused")) == []
    assert len(list(built.artifacts(outcome="ran"))) == 6


def test_the_newest_of_a_name_is_narrowed_by_values(built: Workspace) -> None:
    found = built.artifacts().latest(Fit, depth=6)
    assert built.artifacts("Fit").latest(depth=6) == built.artifacts(Fit).latest(depth=6) == found
    with pytest.raises(MissingArtifactError, match="none that fits"):
        built.artifacts(Fit).latest(depth=7)
    with pytest.raises(ConfigurationError, match="depth and no class"):
        built.artifacts().latest(depth=6)


def test_one_artifact(built: Workspace) -> None:
    task = Fit(numbers=Numbers(day=DAYS[1]), depth=6)
    found = built.artifacts().latest(Fit, depth=6)
    assert (found.unique_id, found.uri) == (task.unique_id, task.output().uri)
    assert (
        found
        == built.artifacts().get(found.uri)
        == built.artifacts().get(found.unique_id)
        != built.artifacts().latest("Numbers")
    )
    assert built.artifacts().get(found.unique_id[:9]) == found
    assert found.load() == airflow_kart.load(found.uri) == {"rows": 3, "depth": 6}
    assert found.task() == task
    assert found.sidecar.unique_id == task.unique_id
    (numbers,) = found.upstream()
    assert (numbers.rows, numbers.task_class) == (3, f"{Numbers.__module__}.Numbers")
    assert {one.parameters["depth"] for one in numbers.downstream()} == {3, 6}
    assert list(numbers.load(["x"])["x"]) == [0, 1, 2]
    assert numbers.task().unique_id == numbers.unique_id
    assert numbers.task(token="given").token == "given"
    assert b"hunter2" not in b"".join(path.read_bytes() for path in Path(built.directory, CATALOGUE).glob("*.ndjson"))


def test_a_table_of_artifacts(built: Workspace) -> None:
    frame = built.artifacts(Fit).to_frame()
    assert list(frame["parameters.depth"]) == [6, 3, 6, 3]
    assert set(frame["parameters.numbers"]) == {Numbers(day=day).unique_id for day in DAYS}
    table = built.artifacts().to_frame("polars")
    assert isinstance(table, pl.DataFrame)
    assert table.height == 6
    with pytest.raises(ConfigurationError, match="pandas and polars"):
        built.artifacts().to_frame("arrow")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Fitt", "did you mean Fit?"),
        ("Fit(depth=7)", "artifacts of Fit, but none that fits"),
        ("0123456789", "no artifact of 0123456789"),
        ("/nowhere/x.pkl", "no artifact of /nowhere/x.pkl"),
    ],
)
def test_a_name_that_no_artifact_has(built: Workspace, name: str, words: str) -> None:
    with pytest.raises(MissingArtifactError) as raised:
        built.artifacts().latest(name)
    assert words in str(raised.value)


def test_names_that_cannot_be_understood(built: Workspace, tmp_path: Path) -> None:
    for name, words in (
        ("", "a name is empty"),
        ("Fit(depth)", "write the parameters as"),
        ("Fit", "neither a unique id nor"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            built.artifacts().get(name)
    with pytest.raises(ConfigurationError, match="has no parameter width"):
        built.artifacts(Fit, parameters={"width": 1})
    with pytest.raises(ConfigurationError, match="outcome"):
        built.artifacts(outcome="cached")
    with pytest.raises(MissingArtifactError, match="no artifact at all"):
        Workspace(str(tmp_path / "empty")).artifacts().latest("Fit")
    wrong: list[Any] = [{}, {"artifacts": []}, 5]
    for one in wrong:
        with pytest.raises(ConfigurationError, match="neither a uri nor the result"):
            airflow_kart.load(one)


def test_what_is_no_moment(workspace: Path) -> None:
    wrong: list[Any] = [dt.timedelta.max, dt.timedelta.min, "2013-03-01", 5, dt.datetime.min.replace(tzinfo=EAST)]
    for one in wrong:
        for name in ("since", "until"):
            with pytest.raises(ConfigurationError, match="is no moment in the years 1 to 9999; give a datetime"):
                Workspace(str(workspace)).artifacts(**{name: one})


class Odd(TaskOnKart[int]):
    limit: int | None = OptionalIntParameter(default=None)
    towns: tuple[str, ...] = ListParameter(default=["Köln"])
    places: dict[str, Any] = DictParameter(default={"Köln": [1, None]})  # type: ignore[assignment]
    rate: float = FloatParameter(default=1e22)
    many: int = IntParameter(default=10**17)
    name: str = StrParameter(default="1e5")

    def run(self) -> None:
        self.dump(1)


def test_the_text_of_a_task_names_an_artifact(workspace: Path) -> None:
    artifacts = Workspace(str(workspace)).artifacts
    for task in (Odd(), Odd(limit=3, rate=float("1e-7"), name="a")):
        build(task)
        for text in (repr(task), str(artifacts().get(task.unique_id))):
            assert artifacts(text).latest().unique_id == task.unique_id, text
    assert artifacts('Odd(limit=None, towns=["Köln"])').latest().parameters["name"] == "1e5"
    assert artifacts('Odd(towns=["K\\u00f6ln"], rate=1e22)').latest() == artifacts().latest(Odd, name="1e5")
    assert list(artifacts().of(Odd, name="a")) == [artifacts().latest(Odd, name="a")]


def test_a_class_that_is_gone(built: Workspace) -> None:
    uri = built.artifacts().latest(Fit).uri
    path = sidecar_uri(uri)
    content = json.loads(Path(path).read_text())
    content["task"]["class"] = "gone.Fit"
    content["schema_version"] = 1
    Path(path).write_text(json.dumps(content))
    record = built.artifacts("gone.Fit").latest()
    assert record.load()["rows"] == 3
    with pytest.raises(IdentityError, match=r"no class gone\.Fit here"):
        record.task()


def test_an_artifact_is_removed(built: Workspace) -> None:
    record = built.artifacts().latest(Fit)
    locks = locks_for(built)
    hold = locks.acquire(record.unique_id, Holder("a run"))
    with pytest.raises(ConflictError, match="being made by"):
        record.remove()
    hold.release()  # type: ignore[union-attr]
    record.remove()
    record.remove()
    assert not Path(record.uri).exists()
    assert record not in list(built.artifacts())
    assert not record.is_whole
    other = built.artifacts().latest(Fit)
    build(other.task(), rerun=["Fit"])
    with pytest.raises(ConflictError):
        other.remove()
    assert built.artifacts().latest(Fit).uri == other.uri


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder that has just changed count as one that changed long ago."""
    monkeypatch.setattr(catalogue, "_SETTLED", -(10**12))


def test_an_unchanged_folder_is_not_listed(built: Workspace, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    list(built.artifacts())  # makes the catalogue's folder
    list(built.artifacts())
    expected = sorted(one.uri for one in built.artifacts())
    listed: list[str] = []
    scanned = catalogue._scanned

    def scan(path: str, store: Any) -> Any:
        listed.append(path)
        return scanned(path, store)

    monkeypatch.setattr(catalogue, "_scanned", scan)
    assert sorted(one.uri for one in built.artifacts()) == expected
    assert listed == [f"{built.directory}/"]
    assert len(list(Catalogue(built, fresh=True).rows())) == 6
    assert len(listed) == 4


def test_changes_are_seen(built: Workspace, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(catalogue, "_BETWEEN", 1)

    def count() -> int:
        return sum(1 for _ in Catalogue(built, tell=read.append).rows())

    assert (count(), len(read)) == (6, 6)
    assert (count(), len(read)) == (6, 6)
    build(Fit(numbers=Numbers(day=DAYS[0]), depth=9))
    assert (count(), len(read)) == (7, 7)
    build(Fit(numbers=Numbers(day=DAYS[0]), depth=9), rerun=["Fit"])
    assert (count(), len(read)) == (7, 8)
    built.artifacts().latest(Fit).remove()
    assert (count(), len(read)) == (6, 8)


def test_a_damaged_catalogue_does_no_harm(built: Workspace, settled: None) -> None:
    expected = sorted(one.uri for one in built.artifacts())
    files = list(Path(built.directory, CATALOGUE).glob("*.ndjson"))
    assert files
    whole = {path: path.read_bytes() for path in files}
    for damage in (
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"[1,", b"[99,"),
        lambda data: b'["no", "rows"]\n' + data,
    ):
        for path, data in whole.items():
            path.write_bytes(damage(data))
        assert sorted(one.uri for one in Workspace(built.directory).artifacts()) == expected


def test_strange_sidecars_are_left_out(built: Workspace) -> None:
    folder = Path(built.directory, "tables")
    (folder / "a.kart.json").write_bytes(b"{")
    (folder / "b.kart.json").write_bytes(json.dumps({"schema_version": 2, "artifact": 5}).encode())
    Path(sidecar_uri(Numbers(day=DAYS[0]).output().uri)).write_bytes(b"\xff\xfe")
    os.mkdir(folder / "c.kart.json")
    os.symlink(folder, folder / "loop")
    assert len(list(built.artifacts())) == 5
    states = [row.state for _, row in Catalogue(built).rows()]
    assert states.count("unreadable") == 3


def test_workspaces_that_are_only_read(built: Workspace, tmp_path: Path) -> None:
    mine = Workspace(str(tmp_path / "mine"), read_from=(built.directory, str(tmp_path / "gone")))
    with mine:
        build(Fit(numbers=Numbers(day=DAYS[0]), depth=20))
    assert len(list(mine.artifacts())) == 7
    (numbers,) = mine.artifacts().latest(Fit, depth=20).upstream()
    assert numbers.uri.startswith(built.directory)
    assert not Path(built.directory, CATALOGUE).exists()


def test_a_workspace_copied_with_its_times_has_a_catalogue_of_its_own(
    built: Workspace, tmp_path: Path, settled: None
) -> None:
    with Workspace(str(tmp_path / "other")) as other:
        build(Numbers(day=dt.date(2020, 1, 1)))
    for _ in range(2):
        assert len(list(built.artifacts())) == 6
        assert len(list(other.artifacts())) == 1
    subprocess.run(["cp", "-a", f"{built.directory}/.", other.directory], check=True)
    assert len(list(other.artifacts())) == 7
    other.artifacts().latest(Fit).remove()
    assert len(list(other.artifacts())) == 6


def test_a_folder_whose_name_is_no_text_is_left_alone(built: Workspace) -> None:
    folder = os.path.join(os.fsencode(built.directory), b"caf\xe9")
    os.mkdir(folder)
    assert len(list(built.artifacts())) == len(list(Catalogue(built, fresh=True).rows())) == 6
    assert os.path.isdir(folder)
