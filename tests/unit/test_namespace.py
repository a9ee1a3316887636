"""Namespaces: projects with classes of equal names in one workspace."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import IntParameter, TaskInstanceParameter, TaskOnKart, TaskParameter, Workspace, build
from airflow_kart.exceptions import ConfigurationError, IdentityError
from airflow_kart.identity.lookup import find_class_named
from airflow_kart.identity.names import logical_class_name


class Part(TaskOnKart[int]):
    n: int = IntParameter(default=1)

    def run(self) -> None:
        self.dump(self.n)


class Whole(TaskOnKart[int]):
    part: TaskOnKart[int] = TaskInstanceParameter(default=Part())
    kind: type[TaskOnKart[int]] = TaskParameter(default=Part)

    def run(self) -> None:
        self.dump(self.load("part") + 1)


def id_in(where: Path, namespace: str | None = None) -> str:
    with Workspace(str(where), namespace=namespace):
        return Part().unique_id


def test_each_namespace_has_ids_of_its_own_and_none_leaves_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Part().unique_id
    ids = {namespace: id_in(tmp_path, namespace) for namespace in ("", "team_a", "team_a.churn", "team_b")}
    assert ids[""] == plain == id_in(tmp_path)
    assert len(set(ids.values())) == 4
    monkeypatch.setenv("AIRFLOW__KART__NAMESPACE", "team_a")
    assert Part().unique_id == ids["team_a"] == id_in(tmp_path)
    assert id_in(tmp_path, "team_b") == ids["team_b"]
    assert id_in(tmp_path, "") == plain


def test_names_paths_and_sidecars_have_the_namespace(tmp_path: Path) -> None:
    with Workspace(str(tmp_path), namespace="team.a"):
        whole = Whole(part=Part(n=4))
        assert build(whole) == 5
        assert logical_class_name(Whole) == "team.a.test_namespace.Whole"
        assert whole.output().uri == f"{tmp_path}/team/a/test_namespace/Whole_{whole.unique_id}.pkl"
        sidecar: Any = whole.output().sidecar()
        assert sidecar.content["task"]["class"] == "team.a.test_namespace.Whole"
        assert TaskOnKart.restore(whole.unique_id) == whole
        for name in ("team.a.test_namespace.Part", "test_namespace.Part"):
            assert find_class_named(name) is Part
    assert find_class_named("team.a.test_namespace.Part") is None
    assert logical_class_name(TaskOnKart) == "airflow_kart.TaskOnKart"


def test_worker_processes_are_in_the_namespace(tmp_path: Path) -> None:
    with Workspace(str(tmp_path), namespace="team_a"):
        whole = Whole(part=Part(n=6))
        assert build(whole, workers=2) == 7
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {"team_a"}


def test_a_task_keeps_its_namespace(tmp_path: Path) -> None:
    part = Part()
    assert part.unique_id == Part().unique_id
    with Workspace(str(tmp_path), namespace="team_a"):
        inside = Part()
        assert inside == part
        for use in (part.complete, part.output, lambda: build(part), lambda: build(Whole(part=part))):
            with pytest.raises(
                IdentityError, match=r"Part\(n=1\).* as test_namespace\.Part, and is team_a\.test_namespace\.Part in"
            ):
                use()
        assert build(inside) == 1
    with (
        Workspace(str(tmp_path)),
        pytest.raises(IdentityError, match=r"as team_a\.test_namespace\.Part, and is test_namespace\.Part in"),
    ):
        inside.complete()
    with Workspace(str(tmp_path / "other"), namespace="team_a"):
        assert not inside.complete()


def test_threads_are_in_the_namespace_of_the_process(tmp_path: Path) -> None:
    found: list[object] = []

    def look() -> None:
        try:
            found.append(Part().unique_id)
        except ConfigurationError as error:
            found.append(error)

    def in_thread() -> object:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return found.pop()

    with Workspace(str(tmp_path), namespace="team_a"):
        with Workspace(str(tmp_path / "other"), namespace="team_a"):
            assert in_thread() == Part().unique_id
        with Workspace(str(tmp_path), namespace="team_b"):
            assert "different namespaces" in str(in_thread())
    assert in_thread() == Part().unique_id


def test_a_workspace_takes_its_namespace_along(tmp_path: Path) -> None:
    given = Workspace(str(tmp_path), namespace="team_a")
    assert pickle.loads(pickle.dumps(given)) == given != Workspace(str(tmp_path))
    assert given.as_written() == {"directory": str(tmp_path), "namespace": "team_a"}


@pytest.mark.parametrize(
    "name", ["a b", "a/b", ".a", "a.", "a..b", "../a", "{{ ds }}", "airflow_kart", "airflow_kart.a", "a-b"]
)
def test_a_malformed_namespace_is_an_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"namespace is .*give words of letters, digits and underscores"):
        Workspace(str(tmp_path), namespace=name)
    monkeypatch.setenv("AIRFLOW__KART__NAMESPACE", name)
    with pytest.raises(ConfigurationError, match=r"\[kart\] namespace is"):
        _ = Part().unique_id
